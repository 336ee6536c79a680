package projector

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/events/log/jslog"
	"github.com/hermes-serverless/hermes/events/log/memlog"
	"github.com/hermes-serverless/hermes/events/streams"
	"github.com/hermes-serverless/hermes/projections/executions"
)

// TestCrashPoints stops a projector at every one of its first operations on the bucket, before and
// after the operation took effect, starts another and compares the bucket with the log.
func TestCrashPoints(t *testing.T) {
	const events = 400
	for _, effect := range []bool{false, true} {
		for n := range 40 {
			t.Run(fmt.Sprint(n, effect), func(t *testing.T) {
				l, s := memlog.New(), newMemStore()
				w := NewWriter(l, uint64(n))
				last := w.Write(t, events)
				crashAt(t, newMem(l, s), n, effect)
				p := newMem(l, s)
				Start(t, p)
				WaitUntil(t, p, last)
				last = w.Write(t, events)
				WaitUntil(t, p, last)
				WantVerified(t, p)
				wantCounts(t, p, w)
			})
		}
	}
}

// TestCrashPointsOnServer does the same on a bucket, at fewer points.
func TestCrashPointsOnServer(t *testing.T) {
	js := Connect(t)
	w := NewWriter(jslog.New(js, streams.Executions), 7)
	for n := range 12 {
		last := w.Write(t, 150)
		crashed := NewExecutions(js)
		crashAt(t, crashed, n/2, n%2 == 0)
		p := NewExecutions(js)
		stop := Start(t, p)
		WaitUntil(t, p, last)
		stop()
		WantVerified(t, p)
		wantCounts(t, p, w)
	}
}

// crashAt runs the projector until it crashes in its n-th operation or has nothing left to do.
func crashAt(t *testing.T, p *Projector, n int, effect bool) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	p.store = &crashingStore{store: p.store, left: n, effect: effect, crash: cancel}
	head, err := p.o.Log.Head(ctx, ">")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	for at, changed := p.Progress(); at < head && ctx.Err() == nil; at, changed = p.Progress() {
		select {
		case <-changed:
		case <-ctx.Done():
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

func newMem(l *memlog.Log, s store) *Projector {
	p := New(Options{Log: l, Projection: executions.Projection, Standby: 1})
	p.store = s
	return p
}

// wantCounts compares the numbers given out with what was written: none twice, none left out.
func wantCounts(t *testing.T, p *Projector, w *Writer) {
	t.Helper()
	for owner, want := range w.Count {
		snap, err := p.store.snapshot(t.Context(), []string{executions.UserKey(owner)})
		if err != nil {
			t.Fatal(err)
		}
		if got := string(snap.values[executions.UserKey(owner)]); got != fmt.Sprintf(`{"last":%d}`, want) {
			t.Errorf("%s has %s, want %d", owner, got, want)
		}
	}
}

func TestTwoProjectors(t *testing.T) {
	js := Connect(t)
	a, b := NewExecutions(js), NewExecutions(js)
	Start(t, a)
	Start(t, b)
	w := NewWriter(jslog.New(js, streams.Executions), 1)
	last := w.Write(t, 1000)
	WaitUntil(t, a, last)
	WantVerified(t, a)
	wantCounts(t, b, w)
}

func TestRestart(t *testing.T) {
	js := Connect(t)
	w := NewWriter(jslog.New(js, streams.Executions), 2)
	for range 5 {
		p := NewExecutions(js)
		stop := Start(t, p)
		WaitUntil(t, p, w.Write(t, 50))
		stop()
		w.Write(t, 50)
	}
	p := NewExecutions(js)
	Start(t, p)
	WaitUntil(t, p, w.Write(t, 1))
	WantVerified(t, p)
	wantCounts(t, p, w)
}

func TestQuarantine(t *testing.T) {
	js := Connect(t)
	p := NewExecutions(js)
	Start(t, p)
	w := NewWriter(p.o.Log, 3)
	w.Write(t, 30)
	foreign := nats.NewMsg(events.ExecutionSubject("alice", "01JDY3M8WZ0000000000000000"))
	foreign.Header.Set(events.HeaderType, "io.hermes.execution.v7.dreamt")
	publish(t, js, foreign)
	publish(t, js, nats.NewMsg("hermes.execution.1.x.y"))
	if _, err := p.o.Log.Append(t.Context(), "hermes.execution.99.A%.b", 0, events.Event{
		ID: "x", Source: "test", Data: events.ExecutionCancelRequested{By: "mallory"},
	}); err != nil {
		t.Fatal(err)
	}
	WaitUntil(t, p, w.Write(t, 30))
	WantVerified(t, p)
	snap, err := p.store.snapshot(t.Context(), []string{"quarantine.31", "quarantine.32", "quarantine.33"})
	if err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]string{
		"quarantine.31": `{"subject":"` + foreign.Subject + `","type":"io.hermes.execution.v7.dreamt","why":"unknown event type \"io.hermes.execution.v7.dreamt\""}`,
		"quarantine.32": `{"subject":"hermes.execution.1.x.y","type":"","why":"unknown event type \"\""}`,
		"quarantine.33": `{"subject":"hermes.execution.99.A%.b","type":"io.hermes.execution.v1.cancel_requested","why":"impossible event io.hermes.execution.v1.cancel_requested: subject \"hermes.execution.99.A%.b\": partition 99 is not the id's"}`,
	} {
		if got := string(snap.values[key]); got != want {
			t.Errorf("%s holds %s, want %s", key, got, want)
		}
	}
}

func publish(t *testing.T, js jetstream.JetStream, m *nats.Msg) {
	t.Helper()
	if _, err := js.PublishMsg(t.Context(), m); err != nil {
		t.Fatal(err)
	}
}

func TestRunRefusesACheckpointAhead(t *testing.T) {
	js := Connect(t)
	p := NewExecutions(js)
	w := NewWriter(p.o.Log, 4)
	last := w.Write(t, 20)
	for _, bad := range []string{"1000", "many"} {
		m := nats.NewMsg(streams.BucketSubject(streams.BucketExecutions, "checkpoint"))
		m.Data = []byte(bad)
		publish(t, js, m)
		if err := p.Run(t.Context()); !errors.Is(err, ErrAhead) {
			t.Errorf("run with checkpoint %s: %v", bad, err)
		}
		if _, err := p.Verify(t.Context()); !errors.Is(err, ErrAhead) {
			t.Errorf("verify with checkpoint %s: %v", bad, err)
		}
		if _, err := p.Rebuild(t.Context()); err != nil {
			t.Fatal(err)
		}
		WantVerified(t, p)
	}
	Start(t, p)
	WaitUntil(t, p, last)
	WaitUntil(t, p, w.Write(t, 20))
	WantVerified(t, p)
}

// TestLostBucket takes all views away under a projector at work: it makes them anew.
func TestLostBucket(t *testing.T) {
	js := Connect(t)
	p := NewExecutions(js)
	Start(t, p)
	w := NewWriter(p.o.Log, 9)
	WaitUntil(t, p, w.Write(t, 300))
	bucket, err := js.Stream(t.Context(), streams.BucketStream(streams.BucketExecutions))
	if err != nil {
		t.Fatal(err)
	}
	if err := bucket.Purge(t.Context()); err != nil {
		t.Fatal(err)
	}
	last := w.Write(t, 10)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for {
		snap, err := p.store.snapshot(ctx, nil)
		if err != nil {
			t.Fatal(err)
		}
		if snap.checkpoint >= last {
			break
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			t.Fatalf("the checkpoint is at %d, never at %d", snap.checkpoint, last)
		}
	}
	WantVerified(t, p)
	wantCounts(t, p, w)
}
