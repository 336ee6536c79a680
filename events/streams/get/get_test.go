package get_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/hermes-serverless/hermes/events/leaktest"
	"github.com/hermes-serverless/hermes/events/natstest"
	"github.com/hermes-serverless/hermes/events/streams/get"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

// connect starts a server with one stream and n messages, two a subject.
func connect(t *testing.T, n int) jetstream.JetStream {
	t.Helper()
	js := natstest.Connect(t)
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "S", Subjects: []string{"s.>"}, AllowDirect: true}); err != nil {
		t.Fatal(err)
	}
	for i := range n {
		if _, err := js.Publish(t.Context(), fmt.Sprint("s.", i/2), fmt.Append(nil, i)); err != nil {
			t.Fatal(err)
		}
	}
	return js
}

func TestOneMessage(t *testing.T) {
	js, ctx := connect(t, 10), t.Context()
	for _, read := range []func(subject string) (*jetstream.RawStreamMsg, error){
		func(s string) (*jetstream.RawStreamMsg, error) { return get.LeaderLast(ctx, js, "S", s) },
		func(s string) (*jetstream.RawStreamMsg, error) { return get.One(ctx, js, "S", s) },
		func(s string) (*jetstream.RawStreamMsg, error) { return get.LeaderNext(ctx, js, "S", s, 6) },
	} {
		if m, err := read("s.2"); err != nil || m.Sequence != 6 || string(m.Data) != "5" || m.Subject != "s.2" || m.Time.IsZero() {
			t.Errorf("%+v, %v", m, err)
		}
		if _, err := read("s.none"); !errors.Is(err, get.ErrNone) {
			t.Errorf("nothing is %v", err)
		}
	}
	if _, err := get.LeaderNext(ctx, js, "S", "s.2", 7); !errors.Is(err, get.ErrNone) {
		t.Errorf("behind the last is %v", err)
	}
	if m, err := get.LeaderLast(ctx, js, "S", "s.>"); err != nil || m.Sequence != 10 {
		t.Errorf("a wildcard: %+v, %v", m, err)
	}
}

func TestNextPages(t *testing.T) {
	js := connect(t, 25)
	for filter, want := range map[string]int{"": 25, "s.>": 25, "s.3": 2, "s.none": 0} {
		n := 0
		for next, more := uint64(1), true; more; {
			var messages []*jetstream.RawStreamMsg
			var err error
			if messages, more, err = get.Next(t.Context(), js, "S", filter, next, 10); err != nil {
				t.Fatal(err)
			}
			for _, m := range messages {
				if m.Sequence < next {
					t.Fatalf("%d follows %d", m.Sequence, next)
				}
				next = m.Sequence + 1
				n++
			}
		}
		if n != want {
			t.Errorf("%q: %d messages, want %d", filter, n, want)
		}
	}
}

func TestSnapshot(t *testing.T) {
	js := connect(t, 2*get.MaxSubjects+2)
	messages, err := get.Snapshot(t.Context(), js, "S", []string{"s.7", "s.1", "s.none"})
	if err != nil || len(messages) != 2 || string(messages[0].Data) != "3" || string(messages[1].Data) != "15" {
		t.Errorf("%v, %v", messages, err)
	}
	if messages, err = get.Snapshot(t.Context(), js, "S", []string{"s.none"}); err != nil || len(messages) != 0 {
		t.Errorf("nothing is %v, %v", messages, err)
	}
	if _, err = get.Snapshot(t.Context(), js, "S", []string{"s.*"}); !errors.Is(err, get.ErrTooMany) {
		t.Errorf("too many is %v", err)
	}
}

// TestNoStream: a stream that is not there is an error, not an empty one.
func TestNoStream(t *testing.T) {
	js, ctx := connect(t, 0), t.Context()
	_, last := get.LeaderLast(ctx, js, "NONE", "s.1")
	_, one := get.One(ctx, js, "NONE", "s.1")
	_, _, next := get.Next(ctx, js, "NONE", "s.1", 1, 1)
	for _, err := range []error{last, one, next} {
		if err == nil || errors.Is(err, get.ErrNone) {
			t.Errorf("a stream that is not there: %v", err)
		}
	}
}
