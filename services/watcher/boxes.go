package watcher

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/services/watcher/pool"
	"github.com/hermes-serverless/hermes/services/watcher/sandbox"
)

const (
	// createFor is how long a runtime that does not answer is tried again.
	createFor = 20 * time.Second
	// removeTries is how often a sandbox's removal is tried before it is left to the next Reap.
	removeTries = 3
)

// takeBox takes a sandbox that is ready, or makes one.
func (w *Watcher) takeBox(ctx context.Context, a *attempt, p *prepared) (err error) {
	key := spareKeyOf(a)
	if len(a.Devices) > 0 || a.outdated.Load() {
		// What a GPU's run holds is known only now, and costs more to start than a sandbox does: none is made
		// ahead. Nor for what will not be asked for again.
		key.reuse = false
		done := w.spares.Cold(key)
		defer done()
		p.Ready, err = w.makeRunBox(ctx, a.sandboxID(), key, a.Devices, w.telling(a))
		return err
	}
	p.taken = w.spares.Take(ctx, key)
	if a.outdated.Load() { // since a moment ago: what was thrown away has begun again
		w.spares.Forget(func(k spareKey) bool { return k == key })
	}
	if p.Ready = p.taken.Ready; p.Box != nil {
		return nil
	}
	done := w.spares.Cold(key)
	defer done()
	p.Ready, err = w.makeRunBox(ctx, a.sandboxID(), key, nil, w.telling(a))
	return err
}

// makingRest: where others use the machine too, making one user's sandboxes takes at most half of the time.
const makingRest = 1

func (w *Watcher) makeRunBox(ctx context.Context, id string, key spareKey, devices []string, tell func(string)) (pool.Ready, error) {
	dir, release, err := w.artifact(ctx, key.artifact)
	if err != nil {
		return pool.Ready{}, err
	}
	var ready pool.Ready
	err = w.making.Through(ctx, key.user, func() (err error) {
		ready, err = w.createBox(ctx, sandbox.Spec{
			ID: id, Kind: sandbox.Run, Base: key.base, Dir: dir, Limits: key.limits, Renewable: key.reuse, Network: key.network,
			Devices: devices,
		}, tell)
		return err
	})
	if err != nil {
		release()
		return pool.Ready{}, err
	}
	standing := ready.Release
	ready.Release = func() { standing(); release() }
	ready.Made = time.Now()
	return ready, nil
}

func (w *Watcher) artifact(ctx context.Context, artifact events.Blob) (dir string, release func(), err error) {
	err = persist(ctx, fetchFor, permanentContent, func() (err error) {
		dir, release, err = w.Artifacts.Dir(ctx, artifact)
		return err
	})
	if err != nil {
		return "", nil, inputError("the built function", err)
	}
	return dir, release, nil
}

func sandboxLimits(l events.Limits) sandbox.Limits {
	return sandbox.Limits{MemoryBytes: l.MemoryBytes, CPUs: float64(l.CPUMillis) / 1000, PIDs: l.PIDs, TmpBytes: l.TmpBytes, ResultsBytes: l.ResultsBytes}
}

func (w *Watcher) buildSpec(a *attempt) sandbox.Spec {
	return sandbox.Spec{
		ID: a.sandboxID(), Kind: sandbox.Build, Base: a.Request.Base, WorkBytes: w.BuildBytes,
		Limits: buildLimits(a.Request.Limits),
	}
}

// buildLimits are without a folder of results: what a build leaves is its artifact.
func buildLimits(l events.Limits) sandbox.Limits {
	limits := sandboxLimits(l)
	limits.ResultsBytes = 0
	return limits
}

// createBox makes a sandbox on its base, which it brings here first.
func (w *Watcher) createBox(ctx context.Context, spec sandbox.Spec, tell func(string)) (ready pool.Ready, err error) {
	on, err := w.stand(ctx, spec.Base, tell)
	if err != nil {
		return ready, err
	}
	spec.Root, ready = on.root, pool.Ready{Env: on.env, Release: on.release}
	if ready.Box, err = w.createBoxThere(ctx, spec); err != nil {
		on.release()
		return pool.Ready{}, err
	}
	return ready, nil
}

// permanentRuntime: only a runtime that does not answer is asked again.
func permanentRuntime(err error) bool { return !errors.Is(err, sandbox.ErrUnavailable) }

func (w *Watcher) createBoxThere(ctx context.Context, spec sandbox.Spec) (box sandbox.Sandbox, err error) {
	err = persist(ctx, createFor, permanentRuntime, func() (err error) {
		call, cancel := context.WithTimeout(ctx, runtimeTimeout)
		defer cancel()
		box, err = w.Runtime.Create(call, spec)
		return err
	})
	switch {
	case errors.Is(err, sandbox.ErrDevice):
		return nil, gpuError(err)
	case err != nil:
		return nil, &preparing{events.ReasonSandbox, fmt.Errorf("the watcher could not make the sandbox: %w", err)}
	}
	return box, nil
}

// giveBack renews the sandbox of an execution that has ended and puts it where the next of its kind
// finds it. It is false when that cannot be.
func (w *Watcher) giveBack(p *prepared) bool {
	if p.taken == nil || !p.taken.Returns() {
		return false
	}
	if err := w.bounded(p.Box.Renew); err != nil {
		w.Log.Debug("a sandbox is not used again", "sandbox", p.Box.ID(), "why", err)
		return false
	}
	return w.spares.Return(p.taken, p.Ready, true)
}

// discardBox removes a sandbox and then lets go of what it stood on. One that cannot be removed is
// left to the runtime's next Reap, loudly.
func (w *Watcher) discardBox(r pool.Ready) {
	if r.Box != nil {
		// Not the context of the attempt: what was made is removed even when all else is given up.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(w.life), removeTries*runtimeTimeout)
		defer cancel()
		var err error
		for range removeTries {
			if err = r.Box.Remove(ctx); err == nil {
				break
			}
		}
		if err != nil {
			w.Log.Error("cannot remove a sandbox; it stays until the watcher starts again", "sandbox", r.Box.ID(), "err", err)
			return // its folder may still be mounted
		}
	}
	if r.Release != nil {
		r.Release()
	}
}
