package watcher

import (
	"context"
	"encoding/json"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/hermes-serverless/hermes/services/api"
)

const (
	// gateAll is the gate's whole width: more claims than can ever be under way at once.
	gateAll = 1 << 20
	// helloEvery bounds how long an orchestrator can have forgotten this watcher: one that did not
	// hear it for a while believes it lost, and a renewed lease alone does not bring it back.
	helloEvery = 30 * time.Second
)

// greet asks for a hello.
func (w *Watcher) greet() {
	select {
	case w.greetings <- struct{}{}:
	default:
	}
}

// Greeted is closed when an orchestrator has answered the first hello: from then on it knows what this
// watcher has.
func (w *Watcher) Greeted() <-chan struct{} { return w.greeted }

// hellos says hello when it is asked to, and now and then.
func (w *Watcher) hellos(ctx context.Context) {
	first := true
	for {
		timer := time.NewTimer(helloEvery)
		select {
		case <-w.greetings:
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return
		}
		timer.Stop()
		if !w.hello(ctx) {
			return
		}
		if first {
			close(w.greeted)
			first = false
		}
	}
}

// hello repeats itself until it is answered. Meanwhile nothing is claimed: an orchestrator believes
// lost what runs here and is not named, so what it grants must be in what it hears next. It is
// false when the context ended.
func (w *Watcher) hello(ctx context.Context) bool {
	if w.gate.Acquire(ctx, gateAll) != nil {
		return false
	}
	defer w.gate.Release(gateAll)
	for tries := 0; ; tries++ {
		w.helloNumber++
		hello := api.Hello{Session: w.session, Number: w.helloNumber, Machine: w.machine(), Holds: w.held.refs()}
		reply, err := once[api.HelloReply](ctx, w.asker, api.OpHello, hello)
		if err == nil {
			w.compareNotices(reply)
			w.drop(reply.Drop)
			return true
		}
		if tries == 3 {
			w.Log.Warn("no orchestrator has answered yet; taking nothing new until one does", "err", err)
		}
		// Never the long wait of a refusal: nothing runs until this is answered.
		if !pause(ctx, min(minAskBackoff<<min(tries, 10), maxAskBackoff)) {
			return false
		}
	}
}

// drop ends what runs here and is nobody's any more.
func (w *Watcher) drop(refs []api.AttemptRef) {
	for _, ref := range refs {
		if a := w.held.get(ref); a != nil {
			w.Log.Warn("an attempt has ended without this watcher, ending it here", "execution", ref.ID, "attempt", ref.Attempt)
			a.halt(leaseLost)
		}
	}
}

// watchConnection says hello after each reconnect.
func (w *Watcher) watchConnection(fatal chan<- error) {
	status := w.Conn.StatusChanged(nats.CONNECTED, nats.CLOSED)
	defer w.Conn.RemoveStatusListener(status)
	for {
		select {
		case <-w.life.Done():
			return
		case s, open := <-status:
			if !open || s == nats.CLOSED {
				fatal <- ErrConnectionClosed
				return
			}
			w.lease.renewNow() // a server that keeps leases in memory may have come back without it
			w.greet()
		}
	}
}

// takeCancels answers requests to end an attempt.
func (w *Watcher) takeCancels() (unsubscribe func(), err error) {
	sub, err := w.Conn.Subscribe(api.CancelSubject(w.Name), func(m *nats.Msg) {
		var ask api.CancelRun
		if err := json.Unmarshal(m.Data, &ask); err != nil {
			w.Log.Warn("a cancel request cannot be read", "err", err)
			return
		}
		a := w.held.get(ask.AttemptRef)
		if a != nil {
			a.halt(cancelled)
		}
		raw, err := json.Marshal(api.CancelRunReply{Known: a != nil})
		if err == nil {
			err = m.Respond(raw)
		}
		if err != nil {
			w.Log.Warn("cannot answer a cancel request", "execution", ask.ID, "err", err)
		}
	})
	if err != nil {
		return nil, err
	}
	return func() { _ = sub.Unsubscribe() }, nil
}
