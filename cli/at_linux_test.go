package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/hermes-serverless/hermes/cli/iostreams"
	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/events/log/jslog"
	"github.com/hermes-serverless/hermes/events/streams"
	"github.com/hermes-serverless/hermes/projections/executions"
	"github.com/hermes-serverless/hermes/services/api"
)

// maxMoments bounds the pieces of output around whose times a test looks.
const maxMoments = 12

// TestInspectAtEveryMoment looks by the command at executions that ended in different ways, around the
// time of each of their events and pieces of output: it shows the fold of the log's prefix up to then,
// and what had been printed.
func TestInspectAtEveryMoment(t *testing.T) {
	f := newFaulty(t)
	f.asContext(t)
	f.register(jetstreamOf(t, f), "missing")
	ids := []string{
		f.ask(t, "echo", "one\ntwo\n"),
		f.ask(t, "missing", ""),
		f.ask(t, "print", "7\n"),
	}
	for end := time.Now().Add(patience); len(f.chunks(t, ids[2])) < 8; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("it prints nothing")
		}
	}
	if got := f.hermes("execution", "cancel", ids[2]); got.code != 0 {
		t.Fatalf("cancel: %+v", got)
	}
	want := []executions.Status{executions.Success, executions.Error, executions.Cancelled}
	for i, id := range ids {
		e, err := testApp().untilEnd(t.Context(), f.client, api.ExecutionRef{ID: id})
		if err != nil || e.Status != want[i] {
			t.Fatalf("execution %d ended %s, %v", i, e.Status, err)
		}
		f.lookAround(t, e)
	}
}

// lookAround compares the command with the log at each moment at which something changed.
func (f *faulty) lookAround(t *testing.T, e api.Execution) {
	t.Helper()
	var history []events.Record
	for r, err := range jslog.New(jetstreamOf(t, f), streams.Executions).Read(t.Context(), events.ExecutionSubject("ana", e.ID), 1) {
		if err != nil {
			t.Fatal(err)
		}
		history = append(history, r)
	}
	chunks := f.chunks(t, e.ID)
	var moments []time.Time
	for _, r := range history {
		moments = append(moments, r.Time)
	}
	for _, c := range chunks[:min(len(chunks), maxMoments)] {
		moments = append(moments, c.Time)
	}
	for _, around := range moments {
		for _, d := range []time.Duration{-time.Microsecond, 0, time.Microsecond} {
			f.lookAt(t, e, history, chunks, around.Add(d))
		}
	}
	f.lookAt(t, e, history, chunks, e.EndedAt.Add(time.Hour))
	t.Logf("%s: %d events, %d pieces of output", e.Status, len(history), len(chunks))
}

func (f *faulty) lookAt(t *testing.T, e api.Execution, history []events.Record, chunks []api.Chunk, moment time.Time) {
	t.Helper()
	var then executions.Execution
	for _, r := range history {
		if r.Time.After(moment) {
			break
		}
		var err error
		if then, err = executions.Fold(then, r); err != nil {
			t.Fatal(err)
		}
	}
	got := f.hermes("execution", "inspect", e.ID, "--at", moment.Format(time.RFC3339Nano), "-j")
	if then.Status == "" {
		if got.code != exitNotFound {
			t.Errorf("before its first event, at %s: %+v", moment, got)
		}
		return
	}
	var out bytes.Buffer
	for _, c := range chunks {
		if c.Attempt == then.Attempt && !c.Time.After(moment) {
			out.Write(c.Data)
		}
	}
	a := testApp()
	a.now = func() time.Time { return moment }
	var whole api.Execution
	whole.Execution, whole.Number = then, e.Number // which the log has not, but the list
	want, err := json.Marshal(newResult(a.executionJSON(whole), out.Bytes(), nil))
	if err != nil {
		t.Fatal(err)
	}
	var shown bytes.Buffer
	if err := json.Compact(&shown, []byte(got.out)); err != nil || got.code != 0 || shown.String() != string(want) {
		t.Errorf("at %s it shows %v, %+v\n%s\nwant\n%s", moment, err, got.code, shown.String(), want)
	}
}

// chunks are what is stored of an output, piece by piece.
func (f *faulty) chunks(t *testing.T, id string) []api.Chunk {
	t.Helper()
	var all []api.Chunk
	_, err := readOutput(t.Context(), f.client, api.Execution{Execution: executions.Execution{ID: id}}, func(c api.Chunk) error {
		all = append(all, c)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if !slices.IsSortedFunc(all, func(a, b api.Chunk) int { return a.Time.Compare(b.Time) }) {
		t.Errorf("the times of the output of %s run backwards", id)
	}
	return all
}

// ask starts a run with an input.
func (f *faulty) ask(t *testing.T, function, input string) string {
	t.Helper()
	run := api.Run{ID: api.NewID(), Function: events.FunctionRef{Name: function}, Input: events.Input{Inline: []byte(input)}}
	if _, err := send[api.Accepted](t.Context(), f.client, api.OpRun, run); err != nil {
		t.Fatal(err)
	}
	return run.ID
}

// asContext makes the instance the one that commands reach.
func (f *faulty) asContext(t *testing.T) {
	t.Helper()
	dir := t.TempDir()
	t.Setenv("XDG_CONFIG_HOME", dir)
	t.Setenv("HERMES_CONTEXT", "")
	file := filepath.Join(dir, "nats", "context", "faulty.json")
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, fmt.Appendf(nil, `{"url": %q, "inbox_prefix": "_INBOX_ana"}`, f.server.ClientURL()), 0o600); err != nil {
		t.Fatal(err)
	}
}

// hermes runs a command line in this process.
func (f *faulty) hermes(args ...string) result {
	var out, errOut bytes.Buffer
	code := Main(args, &iostreams.Streams{In: bytes.NewReader(nil), Out: &out, Err: &errOut})
	return result{code, out.String(), errOut.String()}
}

func jetstreamOf(t *testing.T, f *faulty) jetstream.JetStream {
	t.Helper()
	js, err := jetstream.New(f.client.Conn())
	if err != nil {
		t.Fatal(err)
	}
	return js
}
