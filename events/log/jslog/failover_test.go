package jslog_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/events/log"
)

// TestFailover ends the server that the client is on, in the middle of appends and a follow: every
// acknowledged event is followed once, in order, and stored once.
func TestFailover(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a cluster")
	}
	servers := cluster(t)
	js := connect(t, servers[0].ClientURL())
	l := newSubject(t, js, 3).Log
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	followed := make(chan string, 1000)
	ended := make(chan error, 1)
	go func() {
		for r, err := range l.Follow(ctx, "hermes.a", 1) {
			if err != nil {
				ended <- err
				return
			}
			followed <- r.ID
		}
	}()
	const n = 100
	last := uint64(0)
	for i := range n {
		event := events.Event{ID: fmt.Sprint("event", i), Source: "test", Data: events.WatcherLeft{}}
		eventually(t, "the append is acknowledged", func(ctx context.Context) bool {
			sequence, err := l.Append(ctx, "hermes.a", last, event)
			if errors.Is(err, log.ErrConflict) {
				t.Fatalf("append %d: %v, and nobody else appends", i, err)
			}
			if err == nil {
				last = sequence
			}
			return err == nil
		})
		if i == n/2 {
			stop(servers[0])
		}
	}
	for i := range n {
		select {
		case got := <-followed:
			if want := fmt.Sprint("event", i); got != want {
				t.Fatalf("followed %s, want %s", got, want)
			}
		case err := <-ended:
			t.Fatal(err)
		}
	}
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) || len(followed) != 0 {
		t.Errorf("ended with %v, %d too many", err, len(followed))
	}
}
