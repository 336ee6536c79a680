package jslog_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/hermes-serverless/hermes/events"
)

// TestFollowIsHeardInACluster: who follows is delivered to although the server that they are on may not
// have been told yet where the consumer listens. Without that, one of a hundred heard nothing until
// heartbeats were missed, which takes 10 s.
func TestFollowIsHeardInACluster(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a cluster")
	}
	servers := cluster(t)
	l := newSubject(t, connect(t, servers[0].ClientURL()), 3).Log
	if _, err := l.Append(t.Context(), "hermes.a", 0, events.Event{ID: "event", Source: "test", Data: events.WatcherLeft{}}); err != nil {
		t.Fatal(err)
	}
	const followers, each = 8, 60
	var work sync.WaitGroup
	for range followers {
		work.Go(func() {
			for range each {
				ctx, cancel := context.WithTimeout(t.Context(), 8*time.Second)
				for r, err := range l.Follow(ctx, "hermes.*", 1) {
					if err != nil || r.ID != "event" {
						t.Errorf("followed %q, %v", r.ID, err)
					}
					break
				}
				cancel()
			}
		})
	}
	work.Wait()
}
