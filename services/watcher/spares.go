package watcher

import (
	"context"
	goruntime "runtime"
	"slices"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/services/api"
	"github.com/hermes-serverless/hermes/services/watcher/pool"
	"github.com/hermes-serverless/hermes/services/watcher/sandbox"
)

// spareKey is what one prepared sandbox can be used for: one user's runs of one built version under
// the same limits, and nothing else.
type spareKey struct {
	user     string
	function events.FunctionRef
	artifact events.Blob
	base     string
	limits   sandbox.Limits
	network  sandbox.Network
	// reuse: its sandboxes come back.
	reuse bool
}

// A sandbox that is used again is thrown away after so many runs, or at this age. Whatever the runs
// leave in the kernel's memory is so bounded. Making one takes the time of some fifty runs on it: of a
// thousand, a twentieth. A function that runs seldom meets the hour first.
const (
	mostUses = 1000
	mostAge  = time.Hour
)

func spareKeyOf(a *attempt) spareKey {
	return spareKey{
		user: a.Owner, function: a.Request.Function, artifact: a.Request.Source, base: a.Request.Base,
		limits: sandboxLimits(a.Request.Limits), reuse: a.Request.ReuseSandbox, network: sandbox.Network(a.Request.Network),
	}
}

func (w *Watcher) newSpares() *pool.Pool[spareKey] {
	return pool.New(pool.Options[spareKey]{
		Reused: func(k spareKey) bool { return k.reuse }, MostUses: mostUses, MostAge: mostAge,
		Make: w.makeSpare, Discard: w.discardBox, Most: w.Warm, MostEach: max(w.Machine.Slots, 1),
		// Half of the machine stays with what runs.
		Makers: max(goruntime.NumCPU()/2, 1), Idle: w.WarmIdle, Log: w.Log,
	})
}

// closeSpares throws away what waits, and says what it was good for.
func (w *Watcher) closeSpares() {
	w.spares.Close()
	s := w.spares.Stats()
	w.Log.Debug("prepared sandboxes", "warm", s.Warm, "reused", s.Reused, "adopted", s.Adopted, "cold", s.Cold, "made", s.Made, "unused", s.Unused, "worn", s.Worn, "failed", s.Failed)
}

// makeSpare prepares a sandbox for a run that is still to come.
func (w *Watcher) makeSpare(ctx context.Context, key spareKey) (pool.Ready, error) {
	return w.makeRunBox(ctx, "spare-"+api.NewID(), key, nil, func(string) {})
}

// forgetChanged throws away what was prepared for a version that was built anew or deleted, as soon
// as that is published. A message that is missed costs the memory of what nobody asks for any more:
// a new build, or other limits, are another key.
func (w *Watcher) forgetChanged() (unsubscribe func(), err error) {
	sub, err := w.Conn.Subscribe(events.FunctionSubject("*", "*"), func(m *nats.Msg) {
		owner, name, err := events.ParseFunctionSubject(m.Subject)
		if err != nil {
			return
		}
		if versions := changedVersions(m); len(versions) > 0 {
			w.spares.Forget(func(k spareKey) bool {
				return k.function.Owner == owner && k.function.Name == name && slices.Contains(versions, k.function.Version)
			})
		}
	})
	if err != nil {
		return nil, err
	}
	return func() { _ = sub.Unsubscribe() }, nil
}

// changedVersions are those that do not run any more what they did before an event.
func changedVersions(m *nats.Msg) []string {
	stored := events.Message{Header: map[string]string{}, Data: m.Data}
	for name := range m.Header {
		stored.Header[name] = m.Header.Get(name)
	}
	event, err := events.Decode(stored)
	if err != nil {
		return nil // of a later version of Hermes; who reads the log says so
	}
	switch change := event.Data.(type) {
	case events.FunctionBuilt:
		return []string{change.Version}
	case events.FunctionDeleted:
		return change.Versions
	}
	return nil
}
