package cli

import (
	"bufio"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hermes-serverless/hermes/cli/natsctx"
	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/events/log/jslog"
	"github.com/hermes-serverless/hermes/events/natstest"
	"github.com/hermes-serverless/hermes/events/streams"
	"github.com/hermes-serverless/hermes/projections/executions"
	"github.com/hermes-serverless/hermes/services/api"
)

// open connects as somebody whose context is in the home.
func (h *home) open(name string) *nats.Conn {
	h.t.Helper()
	c, err := natsctx.Load(filepath.Join(h.dir, ".config"), name)
	if err != nil {
		h.t.Fatal(err)
	}
	options, err := c.Options()
	if err != nil {
		h.t.Fatal(err)
	}
	if c.InboxPrefix != "" {
		options = append(options, nats.CustomInboxPrefix(c.InboxPrefix))
	}
	nc, err := nats.Connect(c.URL, options...)
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(nc.Close)
	return nc
}

// batchOf folds what the log has of a batch, by index, and fails where a place has two executions.
func (h *home) batchOf(js jetstream.JetStream, batch string) map[int64]executions.Execution {
	h.t.Helper()
	all, places := map[string]executions.Execution{}, map[int64]executions.Execution{}
	for record, err := range jslog.New(js, streams.Executions).Read(h.t.Context(), ">", 0) {
		if err != nil {
			h.t.Fatal(err)
		}
		e, err := executions.Fold(all[record.Subject], record)
		if err != nil {
			h.t.Fatal(err)
		}
		all[record.Subject] = e
	}
	for _, e := range all {
		if b := e.Request.Batch; b != nil && b.ID == batch {
			if other, taken := places[b.Index]; taken {
				h.t.Errorf("place %d of %s is that of %s and of %s", b.Index, batch, e.ID, other.ID)
			}
			places[b.Index] = e
		}
	}
	return places
}

// killedAfter runs a command line and kills it when it has printed so many lines; it says whether it
// was killed.
func (h *home) killedAfter(lines int, args ...string) (killed bool) {
	h.t.Helper()
	cmd := h.command(args...)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		h.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		h.t.Fatal(err)
	}
	scanner := bufio.NewScanner(out)
	for seen := 0; seen < lines; seen++ {
		if !scanner.Scan() {
			_ = cmd.Wait()
			return false
		}
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	return true
}

// TestMapRunsEachInputOnce: some inputs were accepted before, the command is killed again and again
// while it works, and goes on. Each input runs once, and the sum at the end is what the log says.
func TestMapRunsEachInputOnce(t *testing.T) {
	h := newHome(t)
	h.serve()
	h.deploySh()
	client := api.NewClient(h.open(defaultContext), "tiago")
	js, err := jetstream.New(h.open("hermes-operator"))
	if err != nil {
		t.Fatal(err)
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	for round := range 6 {
		batch, ran := api.NewID(), filepath.Join(h.dir, fmt.Sprint("ran", round))
		n := 1 + random.IntN(40)
		var lines strings.Builder
		code := make([]int, n+1)
		for i := 1; i <= n; i++ {
			code[i] = random.IntN(4) / 3 * 3
			line := fmt.Sprintf("echo %d >> %s; exit %d\n", i, ran, code[i])
			lines.WriteString(line)
			// The first is always sent first: its version is that of all.
			if i == 1 || random.IntN(3) == 0 {
				h.accept(client, events.BatchRef{ID: batch, Index: int64(i)}, line)
			}
		}
		h.write("inputs", lines.String())
		args := []string{"hermes", "function", "map", "sh", "--inputs", "inputs", "--resume", batch, "--concurrency", strconv.Itoa(1 + random.IntN(8))}
		kills := 0
		for kills < 5 && h.killedAfter(random.IntN(n+1), append(args, "-o", "jsonl")...) {
			kills++
		}
		cmd := h.command(append(args, "-j")...)
		out, err := cmd.Output()
		var report mapReport
		if jsonErr := json.Unmarshal(out, &report); jsonErr != nil {
			t.Fatalf("printed %s: %v, %v", out, jsonErr, err)
		}
		places, failed := h.batchOf(js, batch), int64(0)
		statuses := map[string]int64{}
		for i := 1; i <= n; i++ {
			e := places[int64(i)]
			statuses[string(e.Status)]++
			if e.Status != executions.Success {
				failed++
			}
			if e.Attempt != 1 || e.ExitCode != code[i] || (e.Status == executions.Success) != (code[i] == 0) {
				t.Errorf("input %d of %d: %+v, want exit code %d", i, n, e, code[i])
			}
		}
		want := mapReport{Inputs: int64(n), Statuses: statuses, FailedCount: failed}
		if len(places) != n || report.Inputs != want.Inputs || report.FailedCount != failed || fmt.Sprint(report.Statuses) != fmt.Sprint(statuses) {
			t.Errorf("%d places; the sum is %+v, want %+v", len(places), report, want)
		}
		if wantCode := min(int(failed), 1); cmd.ProcessState.ExitCode() != wantCode {
			t.Errorf("exit code %d, want %d", cmd.ProcessState.ExitCode(), wantCode)
		}
		h.ranOnce(ran, n)
		t.Logf("round %d: %d inputs, %d failed, %d kills", round, n, failed, kills)
	}
}

func (h *home) accept(client *api.Client, ref events.BatchRef, line string) {
	h.t.Helper()
	id, err := api.BatchExecutionID(ref)
	if err != nil {
		h.t.Fatal(err)
	}
	_, err = api.Call[api.Accepted](h.t.Context(), client, api.OpRun, api.Run{
		ID: id, Function: events.FunctionRef{Name: "sh"}, Input: events.Input{Inline: []byte(line)}, Batch: &ref,
	})
	if err != nil {
		h.t.Fatal(err)
	}
}

// ranOnce reads what the runs have left: each its number.
func (h *home) ranOnce(path string, n int) {
	h.t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		h.t.Fatal(err)
	}
	times := map[string]int{}
	for _, word := range strings.Fields(string(raw)) {
		times[word]++
	}
	for i := 1; i <= n; i++ {
		if got := times[strconv.Itoa(i)]; got != 1 {
			h.t.Errorf("input %d ran %d times", i, got)
		}
	}
	if len(times) != n {
		h.t.Errorf("%d ran, of %d: %v", len(times), n, times)
	}
}

// TestMapOutlivesTheServer: it waits until the server is back, and goes on.
func TestMapOutlivesTheServer(t *testing.T) {
	h := newHome(t)
	address, err := natstest.Address()
	if err != nil {
		t.Fatal(err)
	}
	start := func() *exec.Cmd {
		cmd := h.command("hermesd", filepath.Join(h.dir, "data"), address)
		cmd.Stderr = os.Stderr
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		return cmd
	}
	server := start()
	t.Cleanup(func() { _ = server.Process.Kill(); _ = server.Wait() })
	h.ready()
	h.deploySh()
	h.write("inputs", strings.Repeat("true\n", 60))
	cmd := h.command("hermes", "function", "map", "sh", "--inputs", "inputs", "--concurrency", "3", "-o", "jsonl")
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	seen, lost := map[int64]bool{}, 0
	for scanner := bufio.NewScanner(out); scanner.Scan(); {
		var e executionJSON
		if err := json.Unmarshal(scanner.Bytes(), &e); err != nil {
			t.Fatal(err)
		}
		if seen[e.BatchIndex] = true; e.Status != string(executions.Success) {
			lost++ // it ran when its watcher died
		}
		if len(seen) == 20 {
			_ = server.Process.Kill()
			_ = server.Wait()
			server = start()
		}
	}
	err = cmd.Wait()
	if len(seen) != 60 || lost > 3 || (err == nil) != (lost == 0) {
		t.Errorf("%d have ended, %d not well, and then %v", len(seen), lost, err)
	}
}

func TestMapAtATerminal(t *testing.T) {
	h := newHome(t)
	h.serve()
	h.deploySh()
	h.write("inputs", strings.Repeat("echo started; exec sleep 600\n", 9))
	for name, c := range map[string]struct {
		answer, shows string
		live          int
	}{
		"cancel": {"c\r", "3 cancelled", 0}, // nothing more was sent
		"detach": {"d\r", "3 inputs were accepted and go on; nothing more is sent", 3},
		"again":  {interrupt, "--resume 0", 3},
	} {
		t.Run(name, func(t *testing.T) {
			h := h.at(t)
			term := h.terminal("hermes", "function", "map", "sh", "--inputs", "inputs", "--concurrency", "3")
			term.shows("begins: 9 inputs of sh")
			batch := strings.Fields(term.text()[strings.Index(term.text(), "batch ")+len("batch "):])[0]
			for end := time.Now().Add(patience); strings.Count(h.output("hermes", "execution", "list", "--batch", batch, "-o", "jsonl"), `"running"`) < 3; {
				if time.Now().After(end) {
					t.Fatal("they do not run")
				}
			}
			term.types(interrupt)
			term.shows("c: cancel the batch, d: detach")
			term.types("\r")
			term.shows("going on")
			term.types(interrupt)
			term.showsTimes("c: cancel the batch, d: detach", 2)
			term.types(c.answer)
			term.shows(c.shows)
			term.exits(exitCancelled)
			live := strings.Count(h.output("hermes", "execution", "list", "--batch", batch, "--status", "queued,running", "-o", "jsonl"), "\n")
			if live != c.live {
				t.Errorf("%d of batch %s live, want %d", live, batch, c.live)
			}
			if live > 0 {
				h.output("hermes", "execution", "cancel", "--batch", batch)
				_ = h.command("hermes", "execution", "wait", "--batch", batch).Run()
			}
		})
	}
}
