package logtest

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/hermes-serverless/hermes/events/log"
)

// follower collects what a Follow yields, in a goroutine of its own.
type follower struct {
	ids chan string
	end chan error
}

func follow(ctx context.Context, l log.Log, filter string, from uint64) *follower {
	f := &follower{ids: make(chan string, 10000), end: make(chan error, 1)}
	go func() {
		var last error
		for r, err := range l.Follow(ctx, filter, from) {
			if last = err; err == nil {
				f.ids <- r.ID
			}
		}
		f.end <- last
	}()
	return f
}

func (f *follower) want(t *testing.T, ids ...string) {
	t.Helper()
	for _, want := range ids {
		select {
		case got := <-f.ids:
			if got != want {
				t.Fatalf("followed %s, want %s", got, want)
			}
		case err := <-f.end:
			t.Fatalf("follow ended: %v", err)
		case <-testContext(t).Done():
			t.Fatalf("%s never came", want)
		}
	}
}

func testFollow(t *testing.T, s Subject) {
	ctx, cancel := context.WithCancel(testContext(t))
	defer cancel()
	one := mustAppend(t, s.Log, "hermes.a", 0, "one")
	mustAppend(t, s.Log, "hermes.b", 0, "other")
	all := follow(ctx, s.Log, "hermes.>", 0)
	a := follow(ctx, s.Log, "hermes.a", 0)
	later := follow(ctx, s.Log, "hermes.*", one+2)
	all.want(t, "one", "other")
	a.want(t, "one")
	two := mustAppend(t, s.Log, "hermes.a", one, "two")
	mustAppend(t, s.Log, "hermes.a", two, "three")
	all.want(t, "two", "three")
	a.want(t, "two", "three")
	later.want(t, "two", "three")
	for range s.Log.Follow(ctx, "hermes.>", 0) {
		break // the caller may leave
	}
	cancel()
	for _, f := range []*follower{all, a, later} {
		if err := <-f.end; !errors.Is(err, context.Canceled) {
			t.Errorf("follow ended with %v", err)
		}
	}
}

func testFollowEnds(t *testing.T, s Subject) {
	ctx, cancel := context.WithCancel(testContext(t))
	f := follow(ctx, s.Log, "hermes.>", 0)
	cancel()
	if err := <-f.end; !errors.Is(err, context.Canceled) {
		t.Errorf("follow ended with %v", err)
	}
}

// testFollowDisturbed breaks the connection again and again while events arrive: each is
// followed once, in order.
func testFollowDisturbed(t *testing.T, s Subject) {
	if s.Disturb == nil {
		t.Skip("nothing to disturb")
	}
	ctx, cancel := context.WithCancel(testContext(t))
	defer cancel()
	f := follow(ctx, s.Log, "hermes.a", 0)
	last := uint64(0)
	var want []string
	for round := range 3 {
		for i := range 50 {
			name := fmt.Sprint(round, "-", i)
			for {
				sequence, err := s.Log.Append(ctx, "hermes.a", last, newEvent(name))
				if err == nil {
					last = sequence
					break
				}
				if ctx.Err() != nil || errors.Is(err, log.ErrConflict) {
					t.Fatalf("append %s: %v", name, err)
				}
			}
			want = append(want, name)
			if i == 25 {
				s.Disturb(t)
			}
		}
	}
	f.want(t, want...)
	cancel()
	if err := <-f.end; !errors.Is(err, context.Canceled) {
		t.Errorf("follow ended with %v", err)
	}
	if len(f.ids) != 0 {
		t.Errorf("%d too many", len(f.ids))
	}
}

func testClosed(t *testing.T, s Subject) {
	ctx := testContext(t)
	f := follow(ctx, s.Log, "hermes.>", 0)
	mustAppend(t, s.Log, "hermes.a", 0, "one")
	f.want(t, "one")
	s.Close()
	if err := <-f.end; !errors.Is(err, log.ErrClosed) {
		t.Errorf("follow ended with %v, want ErrClosed", err)
	}
	if _, err := s.Log.Append(ctx, "hermes.a", 1, newEvent("two")); !errors.Is(err, log.ErrClosed) {
		t.Errorf("append: %v, want ErrClosed", err)
	}
	if _, err := s.Log.Head(ctx, "hermes.a"); !errors.Is(err, log.ErrClosed) {
		t.Errorf("head: %v, want ErrClosed", err)
	}
	for _, err := range s.Log.Read(ctx, "hermes.a", 0) {
		if !errors.Is(err, log.ErrClosed) {
			t.Errorf("read: %v, want ErrClosed", err)
		}
	}
}
