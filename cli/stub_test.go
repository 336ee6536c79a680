package cli

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/hermes-serverless/hermes/cli/iostreams"
	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/events/natstest"
	"github.com/hermes-serverless/hermes/projections/executions"
	"github.com/hermes-serverless/hermes/services/api"
)

// patience is how long a test waits for something to appear before it fails.
const patience = 3 * time.Minute

// stub is a NATS server with as many of the API's operations as the test answers by hand: for
// what a whole instance does only on a bad day.
type stub struct {
	t   *testing.T
	nc  *nats.Conn
	api *api.Server
}

func newStub(t *testing.T) *stub {
	t.Helper()
	nc := natstest.Connect(t).Conn()
	dir := t.TempDir()
	t.Setenv("XDG_CONFIG_HOME", dir)
	t.Setenv("HERMES_CONTEXT", "")
	file := filepath.Join(dir, "nats", "context", "stub.json")
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		t.Fatal(err)
	}
	context := fmt.Sprintf(`{"url": %q, "inbox_prefix": "_INBOX_ana"}`, nc.ConnectedUrl())
	if err := os.WriteFile(file, []byte(context), 0o600); err != nil {
		t.Fatal(err)
	}
	return &stub{t: t, nc: nc}
}

func answer[Request, Reply any](s *stub, op string, h func(Request) (Reply, error)) {
	s.t.Helper()
	if s.api == nil {
		var err error
		if s.api, err = api.NewServer(s.nc, "stub", "0.0.1", "", slog.New(slog.DiscardHandler)); err != nil {
			s.t.Fatal(err)
		}
		s.t.Cleanup(func() { _ = s.api.Stop() })
	}
	err := api.HandleUser(s.api, op, func(_ context.Context, _ string, r Request) (Reply, error) { return h(r) })
	if err == nil {
		err = s.nc.Flush() // who asks next must be heard
	}
	if err != nil {
		s.t.Fatal(err)
	}
}

// result is what a command line left behind.
type result struct {
	code     int
	out, err string
}

// run runs a command line in this process, with the input in a pipe.
func (s *stub) run(input string, args ...string) result {
	var out, errOut safeBuffer
	code := Main(args, &iostreams.Streams{In: strings.NewReader(input), Out: &out, Err: &errOut})
	return result{code, out.String(), errOut.String()}
}

type safeBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *safeBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *safeBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func TestNobodyAnswers(t *testing.T) {
	s := newStub(t)
	got := s.run("", "remote", "whoami")
	if got.code != exitUnavailable || !strings.Contains(got.err, "no Hermes service answers") || strings.Contains(got.err, "nats: ") {
		t.Errorf("%+v", got)
	}
}

func TestErrorsOfTheServerKeepTheirNames(t *testing.T) {
	s := newStub(t)
	refusals := map[string]*api.Error{
		"1": api.Errorf(api.Unauthorized, "NotYours", "not yours"),
		"2": api.Errorf(api.LimitReached, "RunsLimitReached", "too many").WithDetail("line 1\nline 2").WithHint("wait"),
		"3": api.Errorf(api.State, api.ProcessFinished, "it has ended"),
		"4": api.Errorf(api.Internal, api.InternalError, "the server failed on this request"),
	}
	answer(s, api.OpExecutionCancel, func(r api.ExecutionRef) (api.Execution, error) {
		return api.Execution{}, refusals[fmt.Sprint(r.Number)]
	})
	for number, code := range map[string]int{"1": 5, "2": 6, "3": 4, "4": 1} {
		got := s.run("", "execution", "cancel", number)
		if got.code != code || !strings.HasPrefix(got.err, "hermes: "+refusals[number].Message+"\n") || got.out != "" {
			t.Errorf("%s: %+v", number, got)
		}
		got = s.run("", "execution:cancel", number, "-j")
		var e api.Error
		if err := json.Unmarshal([]byte(got.err), &e); err != nil || e != *refusals[number] || got.code != code {
			t.Errorf("%s as JSON: %+v, %v", number, got, err)
		}
	}
	if got := s.run("", "execution", "cancel", "2"); got.err != "hermes: too many\n  line 1\n  line 2\n→ wait\n" {
		t.Errorf("printed %q", got.err)
	}
}

// scripted answers a run with states in turn, and with output that no live message brought.
type scripted struct {
	states []api.Execution
	output string
	// asked counts the waits.
	mu    sync.Mutex
	asked int
}

func (s *scripted) serve(stub *stub) {
	answer(stub, api.OpRun, func(r api.Run) (api.Accepted, error) {
		return api.Accepted{ID: r.ID, Sequence: 1, RequestedAt: time.Now()}, nil
	})
	answer(stub, api.OpExecutionWait, func(api.ExecutionWait) (api.Execution, error) {
		s.mu.Lock()
		defer s.mu.Unlock()
		e := s.states[min(s.asked, len(s.states)-1)]
		s.asked++
		e.Sequence = uint64(s.asked)
		return e, nil
	})
	err := stub.api.Handle(api.OpExecutionOutput, "hermes.api.*."+api.OpExecutionOutput,
		func(_ context.Context, _ string, raw []byte) (nats.Header, []byte, error) {
			var ask api.ExecutionOutput
			if err := json.Unmarshal(raw, &ask); err != nil {
				return nil, nil, err
			}
			rest := s.output[min(ask.From, int64(len(s.output))):]
			page := api.OutputPage{Attempt: 1, Next: int64(len(s.output))}
			if rest != "" {
				page.Pieces = []api.OutputPiece{{Stream: api.Stdout, Offset: ask.From, Bytes: len(rest)}}
			}
			header, err := json.Marshal(page)
			return nats.Header{api.HeaderPage: {string(header)}}, []byte(rest), err
		})
	if err == nil {
		err = stub.nc.Flush()
	}
	if err != nil {
		stub.t.Fatal(err)
	}
}

func state(status executions.Status, change func(*api.Execution)) api.Execution {
	var e api.Execution
	e.Status, e.Number, e.Attempt = status, 15, 1
	e.Request.Function = events.FunctionRef{Owner: "ana", Name: "pi", Version: "1.0.0"}
	if change != nil {
		change(&e)
	}
	return e
}

func printed(text string) func(*api.Execution) {
	sum := sha256.Sum256([]byte(text))
	return func(e *api.Execution) {
		e.Output = events.Output{StdoutBytes: int64(len(text)), Chunks: 1, SHA256: hex.EncodeToString(sum[:])}
	}
}

func TestRunsThatEndOddly(t *testing.T) {
	for _, c := range []struct {
		name   string
		script *scripted
		code   int
		out    string
		err    string
	}{
		{"queued for long",
			&scripted{output: "3.14", states: []api.Execution{
				state(executions.Queued, func(e *api.Execution) { e.Attempt, e.Position = 0, 4 }), state(executions.Success, printed("3.14")),
			}}, 0, "3.14", "hermes: queued, position 4\n"},
		{"lost",
			&scripted{output: "3.", states: []api.Execution{
				state(executions.Lost, func(e *api.Execution) { e.Message = "the watcher w fell silent" }),
			}}, exitHermes, "3.", "hermes: execution 15 ended with lost: the watcher w fell silent\n"},
		{"other output than was printed",
			&scripted{output: "3.15", states: []api.Execution{state(executions.Success, printed("3.14"))}},
			exitHermes, "3.15", "hermes: the output that was shown is not what the execution printed\n"},
		{"cancelled while queued",
			&scripted{states: []api.Execution{state(executions.Cancelled, func(e *api.Execution) { e.Attempt, e.CancelRequestedBy = 0, "ana" })}},
			exitCancelled, "", "hermes: execution 15 ended with cancelled: cancelled by ana\n"},
		{"handler missing",
			&scripted{states: []api.Execution{state(executions.Error, func(e *api.Execution) {
				e.Reason, e.ExitCode, e.Message = events.ReasonHandler, 127, "there is no ./a.out"
			})}}, 127, "", "hermes: execution 15 ended with error (handler): there is no ./a.out\n"},
		{"cut",
			&scripted{output: "3.14", states: []api.Execution{state(executions.Success, func(e *api.Execution) {
				printed("3.14")(e)
				e.Output.Cut = "the disk is full"
			})}}, 0, "3.14", "hermes: the output was cut: the disk is full\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newStub(t)
			c.script.serve(s)
			got := s.run("100", "function", "run", "pi")
			if got.code != c.code || got.out != c.out || !strings.HasPrefix(got.err, c.err) {
				t.Errorf("%+v, want %d %q %q", got, c.code, c.out, c.err)
			}
		})
	}
}

func TestRequestIsRepeatedWithItsID(t *testing.T) {
	s := newStub(t)
	var ids []string
	var mu sync.Mutex
	answer(s, api.OpRun, func(r api.Run) (api.Accepted, error) {
		mu.Lock()
		defer mu.Unlock()
		ids = append(ids, r.ID)
		if len(ids) < 3 {
			return api.Accepted{}, api.Errorf(api.Unavailable, api.ServerUnavailable, "restarting")
		}
		return api.Accepted{ID: r.ID, Sequence: 7}, nil
	})
	answer(s, api.OpExecutionInspect, func(r api.ExecutionRef) (api.Execution, error) {
		if r.MinSequence != 7 {
			t.Errorf("inspects with MinSequence %d", r.MinSequence)
		}
		return state(executions.Queued, nil), nil
	})
	got := s.run("100", "function", "run", "pi", "-a", "-j")
	if got.code != 0 || !strings.Contains(got.out, `"runID": 15`) || len(ids) != 3 || ids[0] != ids[2] {
		t.Errorf("%+v, ids %v", got, ids)
	}
}

func TestAnswerThatCannotBeRead(t *testing.T) {
	s := newStub(t)
	answer(s, api.OpInfo, func(api.InfoRequest) (string, error) { return "surprise", nil })
	if got := s.run("", "remote", "info"); got.code != exitFailed || !strings.Contains(got.err, "compare `hermes version`") {
		t.Errorf("%+v", got)
	}
}

func TestListingFetchesPages(t *testing.T) {
	s := newStub(t)
	var asked []api.ExecutionList
	answer(s, api.OpExecutionList, func(r api.ExecutionList) (api.Executions, error) {
		asked = append(asked, r)
		from := r.Before
		if from == 0 {
			from = 1001
		}
		var page api.Executions
		for n := from - 1; n > 0 && len(page.Executions) < r.Limit; n-- {
			page.Executions = append(page.Executions, state(executions.Success, func(e *api.Execution) { e.Number = n }))
			page.More = n > 1
		}
		return page, nil
	})
	got := s.run("", "execution", "list", "--limit", "700", "-o", "jsonl")
	if lines := strings.Count(got.out, "\n"); got.code != 0 || lines != 700 || len(asked) != 2 || asked[1].Before != 501 || asked[1].Limit != 200 {
		t.Errorf("code %d, %d lines, asked %+v", got.code, lines, asked)
	}
}

func TestUploadShowsABarToWhoWaits(t *testing.T) {
	var errOut safeBuffer
	now := time.Unix(0, 0)
	a := newApp(&iostreams.Streams{Err: &errOut, ErrTerminal: true})
	a.now = func() time.Time { return now }
	bar := &lazyBar{app: a, total: 1000, what: "upload", start: now}
	bar.set(100)
	if errOut.String() != "" {
		t.Errorf("shown at once: %q", errOut.String())
	}
	now = now.Add(2 * barAfter)
	bar.set(500)
	bar.finish()
	if !strings.Contains(errOut.String(), "upload") {
		t.Errorf("not shown: %q", errOut.String())
	}
	a.streams.ErrTerminal = false
	silent := &lazyBar{app: a, total: 1000, what: "upload", start: time.Unix(0, 0)}
	before := errOut.String()
	silent.set(500)
	silent.finish()
	if errOut.String() != before {
		t.Error("shown where nobody looks")
	}
}
