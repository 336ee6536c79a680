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
	enough := errors.New("enough")
	if err := (consume.Stream{JS: js, Name: "S"}).Each(t.Context(), 1, 0, func(consume.Message) error { return enough }); !errors.Is(err, enough) {
		t.Errorf("it ends with %v, want what take said", err)
	}
	if err := (consume.Stream{JS: js, Name: "none"}).Each(t.Context(), 1, 3, nil); !errors.Is(err, jetstream.ErrStreamNotFound) {
		t.Errorf("a stream that is not there: %v", err)
	}
}
