package watcher

import (
	"context"
	goruntime "runtime"
	"time"

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
