package projector

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/events/leaktest"
	"github.com/hermes-serverless/hermes/events/log"
	"github.com/hermes-serverless/hermes/events/log/jslog"
	"github.com/hermes-serverless/hermes/events/natstest"
	"github.com/hermes-serverless/hermes/events/streams"
	"github.com/hermes-serverless/hermes/projections/executions"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

// Connect starts a server with everything provisioned.
func Connect(t testing.TB) jetstream.JetStream {
	t.Helper()
	js := natstest.Connect(t)
	if _, err := streams.Ensure(t.Context(), js, streams.Options{OutputBytes: 1 << 20}); err != nil {
		t.Fatal(err)
	}
	return js
}

// NewExecutions returns a projector of executions on the server.
func NewExecutions(js jetstream.JetStream) *Projector {
	return New(Options{
		JS: js, Log: jslog.New(js, streams.Executions), Projection: executions.Projection,
		Standby: 5 * time.Millisecond,
	})
}

// Fold folds the executions of a log up to the sequence, as Verify does.
func Fold(t testing.TB, l log.Log, to uint64) {
	t.Helper()
	f, err := newFold(Options{Log: l, Projection: executions.Projection})
	if err != nil {
		t.Fatal(err)
	}
	defer f.close()
	if err := errors.Join(f.advance(t.Context(), to, 0), f.settle()); err != nil {
		t.Fatal(err)
	}
}

// Start runs the projector until the test ends or stop is called.
func Start(t testing.TB, p *Projector) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-done; err != nil {
			t.Errorf("projector: %v", err)
		}
	}
	t.Cleanup(stop)
	return stop
}

// Writer appends random legal histories of executions.
type Writer struct {
	Log log.Log
	// Live and Count are by owner.
	Count  map[string]int64
	random *rand.Rand
	live   []executions.Execution
	events int
}

// NewWriter returns a writer that does the same for the same seed.
func NewWriter(l log.Log, seed uint64) *Writer {
	return &Writer{Log: l, Count: map[string]int64{}, random: rand.New(rand.NewPCG(seed, 0))}
}

// Write appends n events and returns the last sequence.
func (w *Writer) Write(t testing.TB, n int) uint64 {
	t.Helper()
	var last uint64
	for range n {
		last = w.one(t)
	}
	return last
}

func (w *Writer) one(t testing.TB) uint64 {
	t.Helper()
	w.events++
	i := w.random.IntN(20)
	if i >= len(w.live) {
		i = len(w.live)
		owner := []string{"alice", "bob", "carol"}[w.random.IntN(3)]
		id := fmt.Sprintf("01JDY%020dX", w.random.Uint64()%1e18+uint64(w.events))
		w.live = append(w.live, executions.Execution{ID: id, Owner: owner})
		w.Count[owner]++
	}
	e := w.live[i]
	subject := events.ExecutionSubject(e.Owner, e.ID)
	event := events.Event{
		ID: fmt.Sprint("event-", e.ID, "-", w.events), Source: "test",
		Time: time.Unix(int64(w.events), 0).UTC(), Data: nextEvent(w.random, e),
	}
	sequence, err := w.Log.Append(context.WithoutCancel(t.Context()), subject, e.Sequence, event)
	if err != nil {
		t.Fatal(err)
	}
	e, err = executions.Fold(e, events.Record{Event: event, Subject: subject, Sequence: sequence})
	if err != nil {
		t.Fatal(err)
	}
	if w.live[i] = e; e.Status.Final() {
		w.live = append(w.live[:i], w.live[i+1:]...)
	}
	return sequence
}

// nextEvent is an event that may follow the state.
func nextEvent(random *rand.Rand, e executions.Execution) events.Data {
	switch {
	case e.Status == "":
		return events.ExecutionRequested{Kind: events.KindRun, Handler: "run", Retries: 1}
	case e.Status == executions.Queued && e.CancelRequestedBy != "":
		return events.ExecutionCancelled{}
	case e.Status == executions.Queued:
		return events.ExecutionStarted{Attempt: e.Attempt + 1, Watcher: "w", Sandbox: "cold"}
	case e.CancelRequestedBy != "":
		return events.ExecutionCancelled{Attempt: e.Attempt, Signal: "SIGTERM"}
	}
	switch random.IntN(4) {
	case 0:
		return events.ExecutionCancelRequested{By: e.Owner}
	case 1:
		if e.RetriesUsed() < e.Request.Retries {
			return events.ExecutionRetried{Attempt: e.Attempt, Watcher: "w"}
		}
		return events.ExecutionLost{Attempt: e.Attempt, Watcher: "w"}
	case 2:
		return events.ExecutionFailed{Attempt: e.Attempt, Reason: events.ReasonExit, ExitCode: 3}
	}
	return events.ExecutionSucceeded{Attempt: e.Attempt}
}

// WaitUntil returns when the bucket's checkpoint has reached the sequence.
func WaitUntil(t testing.TB, p *Projector, sequence uint64) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for {
		at, changed := p.Progress()
		if at >= sequence {
			return
		}
		select {
		case <-changed:
		case <-ctx.Done():
			t.Fatalf("the projection is at %d, never at %d", at, sequence)
		}
	}
}

// WantVerified fails the test if the bucket is not what the log says.
func WantVerified(t testing.TB, p *Projector) {
	t.Helper()
	found, err := p.Verify(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range found {
		t.Errorf("%s holds %s, want %s", d.Key, d.Have, d.Want)
	}
}
