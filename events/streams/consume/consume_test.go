package consume_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/hermes-serverless/hermes/events/leaktest"
	"github.com/hermes-serverless/hermes/events/natstest"
	"github.com/hermes-serverless/hermes/events/streams/consume"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

// TestEach reads a stream of which parts are gone, also those where the reading was to end: that is
// noticed at once, not when heartbeats are missed.
func TestEach(t *testing.T) {
	js := natstest.Connect(t)
	s, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "S", Subjects: []string{"a.*", "b"}})
	if err != nil {
		t.Fatal(err)
	}
	for n := range 12 {
		subject := fmt.Sprint("a.", n+1)
		if n == 5 {
			subject = "b"
		}
		if _, err := js.Publish(t.Context(), subject, []byte(fmt.Sprint(n+1))); err != nil {
			t.Fatal(err)
		}
	}
	for _, gone := range []uint64{3, 9, 10} {
		if err := s.DeleteMsg(t.Context(), gone); err != nil {
			t.Fatal(err)
		}
	}
	for _, test := range []struct {
		filter      string
		from, until uint64
		want        []uint64
	}{
		{"", 1, 12, []uint64{1, 2, 4, 5, 6, 7, 8, 11, 12}},
		{"", 0, 10, []uint64{1, 2, 4, 5, 6, 7, 8}},
		{"a.*", 4, 11, []uint64{4, 5, 7, 8, 11}},
		{"a.*", 12, 20, []uint64{12}},
		{"b", 1, 12, []uint64{6}},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 8*time.Second)
		var got []uint64
		err := consume.Stream{JS: js, Name: "S", Filter: test.filter}.Each(ctx, test.from, test.until, func(m consume.Message) error {
			if string(m.Data) != fmt.Sprint(m.Sequence) {
				t.Errorf("message %d is %q", m.Sequence, m.Data)
			}
			got = append(got, m.Sequence)
			return nil
		})
		cancel()
		if err != nil || !slices.Equal(got, test.want) {
			t.Errorf("%q from %d until %d: %v, %v, want %v", test.filter, test.from, test.until, got, err, test.want)
		}
	}
	// What is left of it goes when the reading has begun.
	ctx, cancel := context.WithTimeout(t.Context(), 8*time.Second)
	defer cancel()
	if err := s.Purge(t.Context(), jetstream.WithPurgeSubject("a.*")); err != nil {
		t.Fatal(err)
	}
	if err := (consume.Stream{JS: js, Name: "S", Filter: "a.*"}).Each(ctx, 1, 12, nil); err != nil {
		t.Errorf("of what is gone: %v", err)
	}
	enough := errors.New("enough")
	if err := (consume.Stream{JS: js, Name: "S"}).Each(t.Context(), 1, 0, func(consume.Message) error { return enough }); !errors.Is(err, enough) {
		t.Errorf("it ends with %v, want what take said", err)
	}
	if err := (consume.Stream{JS: js, Name: "none"}).Each(t.Context(), 1, 3, nil); !errors.Is(err, jetstream.ErrStreamNotFound) {
		t.Errorf("a stream that is not there: %v", err)
	}
}

// TestStuckConsumer: a consumer that lives and does not deliver is left for another one.
func TestStuckConsumer(t *testing.T) {
	if testing.Short() {
		t.Skip("waits until that is noticed")
	}
	js := natstest.Connect(t)
	s, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "S", Subjects: []string{"a"}})
	if err != nil {
		t.Fatal(err)
	}
	publish := func() {
		t.Helper()
		if _, err := js.Publish(t.Context(), "a", nil); err != nil {
			t.Fatal(err)
		}
	}
	publish()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	taken, ended := make(chan uint64), make(chan error, 1)
	go func() {
		ended <- consume.Stream{JS: js, Name: "S"}.Each(ctx, 1, 0, func(m consume.Message) error { taken <- m.Sequence; return nil })
	}()
	if n := <-taken; n != 1 {
		t.Fatalf("took %d, want 1", n)
	}
	for info := range s.ListConsumers(ctx).Info() {
		if _, err := js.PauseConsumer(ctx, "S", info.Name, time.Now().Add(time.Hour)); err != nil {
			t.Fatal(err)
		}
	}
	publish()
	select {
	case n := <-taken:
		if n != 2 {
			t.Errorf("took %d, want 2", n)
		}
	case err := <-ended:
		t.Fatalf("it ended: %v", err)
	}
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("it ends with %v", err)
	}
}
