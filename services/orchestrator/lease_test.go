package orchestrator

import (
	"context"
	"errors"
	"log/slog"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/hermes-serverless/hermes/events/natstest"
	"github.com/hermes-serverless/hermes/events/streams"
)

// TestRenewBehindALostAnswer: a renewal whose answer never came has moved the lease, and the next one
// holds it all the same; unless it is somebody else's by now.
func TestRenewBehindALostAnswer(t *testing.T) {
	js := natstest.Connect(t)
	if _, err := streams.Ensure(t.Context(), js, streams.Options{OutputBytes: 1 << 20}); err != nil {
		t.Fatal(err)
	}
	kv, err := js.KeyValue(t.Context(), streams.BucketLeases)
	if err != nil {
		t.Fatal(err)
	}
	held, err := acquire(t.Context(), js, kv)
	if err != nil || held == nil {
		t.Fatal(held, err)
	}
	unanswered := *held
	if err := unanswered.publish(t.Context()); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := held.renew(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if held.revision <= unanswered.revision || !held.until.After(unanswered.until) {
		t.Errorf("it is held at %d until %s, behind %d until %s", held.revision, held.until, unanswered.revision, unanswered.until)
	}
	if err := kv.Delete(t.Context(), leaderKey); err != nil {
		t.Fatal(err)
	}
	if err := held.renew(t.Context()); !errors.Is(err, errLost) {
		t.Errorf("a lease that was given up: %v", err)
	}
	other, err := acquire(t.Context(), js, kv)
	if err != nil || other == nil {
		t.Fatal(other, err)
	}
	if err := held.keep(t.Context()); !errors.Is(err, errLost) {
		t.Errorf("keep somebody else's lease: %v", err)
	}
	if err := other.renew(t.Context()); err != nil {
		t.Errorf("whose it is: %v", err)
	}
	over, end := context.WithCancel(t.Context())
	end()
	if err := other.keep(over); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if _, err := kv.Get(t.Context(), leaderKey); !errors.Is(err, jetstream.ErrKeyNotFound) {
		t.Errorf("the lease of a leader that has ended: %v", err)
	}
}

// noAnswer is a bucket whose watches end when somebody answers, which nobody does.
type noAnswer struct {
	jetstream.KeyValue
	answer <-chan struct{}
}

func (n noAnswer) Watch(context.Context, string, ...jetstream.WatchOpt) (jetstream.KeyWatcher, error) {
	return unanswered{n.answer}, nil
}

type unanswered struct{ answer <-chan struct{} }

func (unanswered) Updates() <-chan jetstream.KeyValueEntry { return nil }
func (u unanswered) Stop() error                           { <-u.answer; return nil }

// TestWithoutAConnectionALeaderEndsAtOnce: the end of its watch needs no answer.
func TestWithoutAConnectionALeaderEndsAtOnce(t *testing.T) {
	answer := make(chan struct{})
	defer close(answer)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	l := newLeader(&parts{Options: Options{Leases: noAnswer{answer: answer}, Log: slog.New(slog.DiscardHandler)}})
	if err := l.watchLeases(ctx); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
