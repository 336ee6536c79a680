package orchestrator

import (
	"context"
	"iter"
	"testing"
	"time"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/events/log"
	"github.com/hermes-serverless/hermes/events/log/memlog"
	"github.com/hermes-serverless/hermes/projections/foldtest"
)

// purged is a log of which everything was removed.
type purged struct{ log.Log }

func (purged) Head(context.Context, string) (uint64, error) { return 0, nil }

func (purged) Read(context.Context, string, uint64) iter.Seq2[events.Record, error] {
	return func(func(events.Record, error) bool) {}
}

// TestAFunctionOfWhoLeftIsNotKept: who has folded it before it was deleted does not run it when its events are gone.
func TestAFunctionOfWhoLeftIsNotKept(t *testing.T) {
	l := memlog.New()
	for i, data := range []events.Data{events.FunctionRegistered{Version: "1.0.0", Build: "b"}, events.FunctionBuilt{Version: "1.0.0", Build: "b", BuiltBy: "b"}} {
		event := foldtest.Record("", uint64(i)+1, data).Event
		if _, err := l.Append(t.Context(), events.FunctionSubject("ana", "pi"), uint64(i), event); err != nil {
			t.Fatal(err)
		}
	}
	c := newFunctionCache(l)
	for range 2 {
		if f, err := c.get(t.Context(), "ana", "pi"); err != nil || len(f.Versions) != 1 {
			t.Fatalf("it is %+v, %v", f, err)
		}
	}
	c.log = purged{l}
	for range 2 {
		if f, err := c.get(t.Context(), "ana", "pi"); err != nil || f.Exists() || f.Sequence != 0 {
			t.Errorf("it is %+v, %v", f, err)
		}
	}
}

// TestALeaderForgetsWhoLeft: what it has not seen to end neither waits nor holds anything; others' does.
func TestALeaderForgetsWhoLeft(t *testing.T) {
	s, sequence := newState(), uint64(0)
	follow := func(subject string, data events.Data) {
		t.Helper()
		sequence++
		if _, err := s.follow(foldtest.Record(subject, sequence, data)); err != nil {
			t.Fatal(err)
		}
	}
	for _, owner := range []string{"ana", "bob"} {
		waits, runs := events.ExecutionSubject(owner, "01JDY3M8WZ0000000000000001"), events.ExecutionSubject(owner, "01JDY3M8WZ0000000000000002")
		follow(waits, events.ExecutionRequested{Kind: events.KindRun})
		follow(runs, events.ExecutionRequested{Kind: events.KindRun})
		follow(runs, events.ExecutionStarted{Attempt: 1, Watcher: "w1"})
	}
	follow(events.ExecutionsForgottenSubject("ana"), events.ExecutionsForgotten{})
	if len(s.execs) != 2 || len(s.held) != 1 || s.followed != sequence {
		t.Errorf("it has %d executions, %d of which hold a slot, up to %d", len(s.execs), len(s.held), s.followed)
	}
	queues, _ := s.planInput(time.Now(), func(*node) bool { return true }, func(string) Room { return Room{} })
	for _, q := range queues {
		if q.User != "bob" {
			t.Errorf("%s has a queue of %d", q.User, len(q.Waiting))
		}
	}
	if len(queues) != 1 {
		t.Errorf("there are %d queues", len(queues))
	}
}
