package watcher

import (
	"context"
	"time"

	"github.com/nats-io/nats.go"
)

// takeRequests takes run requests until the context ends. What it leaves untaken is not lost: it
// goes elsewhere when this watcher leaves, and comes again when it is back.
func (w *Watcher) takeRequests(ctx context.Context, requests *nats.Subscription) {
	select {
	case <-w.greeted:
	case <-ctx.Done():
		return
	}
	for w.places.Acquire(ctx, 1) == nil {
		m, err := requests.NextMsgWithContext(ctx)
		if err != nil {
			w.places.Release(1)
			if ctx.Err() == nil {
				w.Log.Warn("run requests cannot be taken; trying again", "err", err)
				pause(ctx, maxAskBackoff)
			}
			continue
		}
		w.take(m)
	}
}

// take starts to work on a request. The caller has taken a place for it.
func (w *Watcher) take(m *nats.Msg) {
	request, err := parseRequest(m, w.Name)
	if err != nil {
		w.places.Release(1)
		w.Log.Error("a run request is of no use and was thrown away", "subject", m.Subject, "err", err)
		return
	}
	a := newAttempt(request, time.Now())
	if !w.held.add(a) {
		w.places.Release(1) // sent again before a hello named it
		return
	}
	w.serving.Go(func() {
		if stuck := w.serve(a); !stuck {
			w.places.Release(1)
		}
	})
}
