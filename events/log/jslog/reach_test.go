package jslog_test

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/hermes-serverless/hermes/events"
)

// TestFollowIsHeardInACluster: who follows is delivered to although the server that they are on may not
// have been told yet where the consumer listens. Without that, one of a hundred heard nothing until
// heartbeats were missed, and then made another consumer.
func TestFollowIsHeardInACluster(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a cluster")
	}
	servers := cluster(t)
	js := connect(t, servers[0].ClientURL())
	l := newSubject(t, js, 3).Log
	if _, err := l.Append(t.Context(), "hermes.a", 0, events.Event{ID: "event", Source: "test", Data: events.WatcherLeft{}}); err != nil {
		t.Fatal(err)
	}
	var made atomic.Int64
	if _, err := js.Conn().Subscribe("$JS.EVENT.ADVISORY.CONSUMER.CREATED.>", func(*nats.Msg) { made.Add(1) }); err != nil {
		t.Fatal(err)
	}
	const followers, each = 8, 60
	var work sync.WaitGroup
	for range followers {
		work.Go(func() {
			for range each {
				for r, err := range l.Follow(t.Context(), "hermes.*", 1) {
					if err != nil || r.ID != "event" {
						t.Errorf("followed %q, %v", r.ID, err)
					}
					break
				}
			}
		})
	}
	work.Wait()
	eventually(t, "all consumers are heard of", func(context.Context) bool { return made.Load() >= followers*each })
	if n := made.Load(); n > followers*each {
		t.Errorf("%d consumers for %d followers: some were not heard at once", n, followers*each)
	}
}
