package watcher

import (
	"encoding/json"
	"fmt"
	"slices"
	"sync"

	"github.com/nats-io/nats.go"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/services/api"
)

// notices is how far the leader was heard about what is of no use any more.
type notices struct {
	mu     sync.Mutex
	leader string
	number uint64
}

// hearStale throws away what is kept ready for versions that are not what they were, as soon as the leader
// says so. It would only lie there: what a run needs, artifact and limits, stands in its request.
func (w *Watcher) hearStale() (unsubscribe func(), err error) {
	sub, err := w.Conn.Subscribe(api.StaleSubject(w.Name), func(m *nats.Msg) {
		var said api.Stale
		if err := json.Unmarshal(m.Data, &said); err != nil {
			w.Log.Warn("a notice of what is of no use any more cannot be read; the next one, or a hello, makes up for it", "err", err)
			return
		}
		w.heard(said.Leader, said.Number, said.Functions)
	})
	if err != nil {
		return nil, fmt.Errorf("listen for what is of no use any more: %w", err)
	}
	return func() { _ = sub.Unsubscribe() }, nil
}

// heard takes a notice. Behind one that was missed, or of another leader, nothing that is kept is known to
// be of use.
func (w *Watcher) heard(leader string, number uint64, versions []events.FunctionRef) {
	n := &w.notices
	n.mu.Lock()
	defer n.mu.Unlock()
	switch {
	case leader == n.leader && number <= n.number:
		return // a hello spoke of it, and everything is gone
	case leader == n.leader && number == n.number+1 && len(versions) > 0:
		w.outdate(func(f events.FunctionRef) bool { return slices.Contains(versions, f) })
	default:
		w.outdate(func(events.FunctionRef) bool { return true })
	}
	n.leader, n.number = leader, number
}

// compareNotices takes what the leader says to a hello of how many notices it has sent.
func (w *Watcher) compareNotices(reply api.HelloReply) {
	if reply.Leader != "" { // else it is the answer to an older hello
		w.heard(reply.Leader, reply.Notices, nil)
	}
}

// outdate throws away what is kept ready for these versions, and keeps nothing of what is prepared for them
// or runs.
func (w *Watcher) outdate(is func(events.FunctionRef) bool) {
	for _, a := range w.held.all() {
		if is(a.Request.Function) {
			a.outdated.Store(true)
		}
	}
	w.spares.Forget(func(k spareKey) bool { return is(k.function) })
}
