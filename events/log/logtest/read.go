package logtest

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"testing"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/events/log"
)

func testRead(t *testing.T, s Subject) {
	a1 := mustAppend(t, s.Log, "hermes.x.a", 0, "a1")
	b1 := mustAppend(t, s.Log, "hermes.x.b", 0, "b1")
	a2 := mustAppend(t, s.Log, "hermes.x.a", a1, "a2")
	mustAppend(t, s.Log, "hermes.y", 0, "y1")
	for _, c := range []struct {
		filter string
		from   uint64
		want   []string
	}{
		{"hermes.x.a", 0, []string{"a1", "a2"}},
		{"hermes.x.a", 1, []string{"a1", "a2"}},
		{"hermes.x.a", a1 + 1, []string{"a2"}},
		{"hermes.x.a", a2 + 1, nil},
		{"hermes.x.a", a2 + 100, nil},
		{"hermes.x.none", 0, nil},
		{"hermes.x.*", 0, []string{"a1", "b1", "a2"}},
		{"hermes.x.*", b1, []string{"b1", "a2"}},
		{"hermes.x.*", a2 + 1, nil},
		{"hermes.*", 0, []string{"y1"}},
		{"hermes.>", 0, []string{"a1", "b1", "a2", "y1"}},
		{"hermes.z.>", 0, nil},
	} {
		if got := ids(t, s.Log, c.filter, c.from); !slices.Equal(got, c.want) {
			t.Errorf("read %s from %d: %v, want %v", c.filter, c.from, got, c.want)
		}
	}
	for r, err := range s.Log.Read(testContext(t), "hermes.y", 0) {
		if want := (events.Record{Event: newEvent("y1"), Subject: "hermes.y", Sequence: 4}); err != nil || !reflect.DeepEqual(r, want) {
			t.Errorf("read %+v, %v, want %+v", r, err, want)
		}
	}
}

// testReadLong reads more than one batch of anything holds.
func testReadLong(t *testing.T, s Subject) {
	const n = 600
	fill(t, s.Log, "hermes.a", "a", n)
	for _, filter := range []string{"hermes.a", "hermes.*"} {
		got := ids(t, s.Log, filter, 0)
		if len(got) != n || got[n-1] != fmt.Sprint("a", n-1) {
			t.Fatalf("read %s: %d events", filter, len(got))
		}
	}
}

// testReadBounded appends while it reads: a read ends at what was stored when it began.
func testReadBounded(t *testing.T, s Subject) {
	for _, filter := range []string{"hermes.a", "hermes.*"} {
		before, err := s.Log.Head(testContext(t), "hermes.a")
		if err != nil {
			t.Fatal(err)
		}
		last := fill(t, s.Log, "hermes.a", filter, 3)
		n := 0
		for r, err := range s.Log.Read(testContext(t), filter, before+1) {
			if err != nil {
				t.Fatal(err)
			}
			if r.Sequence > last {
				t.Fatalf("read %s: %d was stored after the call", filter, r.Sequence)
			}
			n++
			fill(t, s.Log, "hermes.a", fmt.Sprint(filter, "-later", n, "-"), 1)
		}
		if n != 3 {
			t.Fatalf("read %s: %d events, want 3", filter, n)
		}
	}
}

func testReadUndecodable(t *testing.T, s Subject) {
	foreign := events.Message{
		Header: map[string]string{events.HeaderType: "io.hermes.execution.v9.imagined", events.HeaderID: "x", events.HeaderMsgID: "x"},
		Data:   []byte(`{"far":"future"}`),
	}
	first := mustAppend(t, s.Log, "hermes.a", 0, "one")
	s.Inject(t, "hermes.a", foreign)
	s.Inject(t, "hermes.a", events.Message{Data: []byte("\x00 not an event")})
	mustAppend(t, s.Log, "hermes.a", first+2, "two")
	for _, filter := range []string{"hermes.a", "hermes.*"} {
		var got []string
		for r, err := range s.Log.Read(testContext(t), filter, 0) {
			var undecodable *log.UndecodableError
			if errors.As(err, &undecodable) {
				if r.Sequence != undecodable.Sequence || r.Subject != "hermes.a" || undecodable.Subject != "hermes.a" {
					t.Errorf("record %+v of %+v", r, undecodable)
				}
				var unknown *events.UnknownTypeError
				if !errors.As(err, &unknown) {
					t.Errorf("why is %v, want an unknown type", err)
				}
				if r.Sequence == first+1 && (string(undecodable.Message.Data) != string(foreign.Data) ||
					undecodable.Message.Header[events.HeaderType] != foreign.Header[events.HeaderType]) {
					t.Errorf("the stored message was not handed on: %+v", undecodable.Message)
				}
				got = append(got, fmt.Sprint("?", r.Sequence-first))
				continue
			}
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, r.ID)
		}
		if want := []string{"one", "?1", "?2", "two"}; !slices.Equal(got, want) {
			t.Errorf("read %s: %v, want %v", filter, got, want)
		}
	}
}

func testReadStops(t *testing.T, s Subject) {
	fill(t, s.Log, "hermes.a", "a", 5)
	for _, filter := range []string{"hermes.a", "hermes.*"} {
		n := 0
		for range s.Log.Read(testContext(t), filter, 0) {
			if n++; n == 2 {
				break
			}
		}
		if n != 2 {
			t.Errorf("read %s: %d", filter, n)
		}
		ctx, cancel := context.WithCancel(testContext(t))
		cancel()
		for _, err := range s.Log.Read(ctx, filter, 0) {
			if !errors.Is(err, context.Canceled) {
				t.Errorf("read %s with a cancelled context: %v", filter, err)
			}
		}
	}
}
