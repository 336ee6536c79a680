package watcher

import (
	"context"
	"time"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/services/api"
	"github.com/hermes-serverless/hermes/services/watcher/pool"
)

// serve takes one attempt from its request to the end of its report. It returns true when the
// attempt's place must not be used again: its command cannot be killed.
func (w *Watcher) serve(a *attempt) (stuck bool) {
	w.counters.busy.Add(1)
	defer w.counters.busy.Add(-1)
	w.making.Enter(a.Owner)
	defer w.making.Leave(a.Owner)
	defer a.closeInput()
	p, failed := w.prepareUnlessHalted(a)
	if failed != nil && a.why() == none && !w.isLeaving() {
		if failed.reason == events.ReasonGPU {
			w.helloFirst() // one that was given a broken GPU goes elsewhere, and this report is of no use
		}
		w.report(a, api.Report{AttemptRef: a.AttemptRef, Outcome: api.Failed, Reason: failed.reason, Message: failed.message})
		return false
	}
	if w.claim(a, p) {
		report, e := w.run(a, p)
		if p != nil {
			w.letGo(p, e)
		}
		w.report(a, report)
		w.spares.Ended()
		return e.stuck
	}
	if p != nil {
		w.discard(p)
	}
	w.held.remove(a.AttemptRef)
	return false
}

// letGo comes before the report: the next run may come right behind it, and finds the sandbox then.
func (w *Watcher) letGo(p *prepared, e ending) {
	switch {
	case e.stuck:
		w.spares.Return(p.taken, pool.Ready{}, false)
		w.freeGPUs(p, e)
	case p.hold != nil:
		w.discard(p)
	case e.ordinary() && w.giveBack(p):
		p.closeInput()
	default:
		w.work.Go(func() { w.discard(p) })
	}
}

// prepareUnlessHalted prepares until the attempt is halted or the watcher leaves; it fails then.
func (w *Watcher) prepareUnlessHalted(a *attempt) (*prepared, *failure) {
	ctx, cancel := w.until(a.halted, w.leaving)
	defer cancel()
	return w.prepare(ctx, a)
}

// until returns a context that ends when one of the two channels is closed. It must be cancelled.
func (w *Watcher) until(one, other <-chan struct{}) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(w.life)
	w.work.Go(func() {
		select {
		case <-one:
		case <-other:
		case <-ctx.Done():
		}
		cancel()
	})
	return ctx, cancel
}

// claim asks for the attempt until it is answered, and is true when it is this watcher's. Only a
// watcher at its end stops asking; then nobody knows, and the attempt goes where the orchestrator
// sends it.
func (w *Watcher) claim(a *attempt, p *prepared) bool {
	claim := api.Claim{AttemptRef: a.AttemptRef, Session: w.session, Sandbox: string(pool.Cold), SandboxMicros: time.Since(a.arrived).Microseconds(), Devices: a.Devices}
	if p != nil {
		claim.Sandbox, claim.SandboxMicros = string(p.how()), p.took.Microseconds()
	}
	ctx, cancel := w.until(a.rushed, w.leaving)
	defer cancel()
	for tries := 0; ctx.Err() == nil; tries++ {
		reply, err := w.claimOnce(ctx, claim)
		switch {
		case err == nil && reply.Granted:
			return true
		case err == nil:
			w.Log.Info("claim refused", "execution", a.ID, "attempt", a.Attempt, "why", reply.Why)
			w.greet() // if it is this session that is not known, nothing else would mend it
			return false
		case askBackoff(tries, err) == refusedBackoff:
			w.Log.Error("the orchestrator cannot read a claim", "execution", a.ID, "err", err)
			return false
		}
		pause(ctx, askBackoff(tries, err))
	}
	return false
}

// claimOnce asks once, while no hello is unanswered: an orchestrator that gets a hello believes
// lost what it does not name, so nothing may be granted between the two.
func (w *Watcher) claimOnce(ctx context.Context, claim api.Claim) (api.ClaimReply, error) {
	if err := w.gate.Acquire(ctx, 1); err != nil {
		return api.ClaimReply{}, err
	}
	defer w.gate.Release(1)
	if !w.leaseHeld.Load() {
		return api.ClaimReply{}, errNoLease
	}
	// Its answer is waited for even by a watcher at its end: it may be a grant.
	return once[api.ClaimReply](w.life, w.asker, api.OpClaim, claim)
}

// run runs a granted attempt; p is nil when it was cancelled before everything was ready.
func (w *Watcher) run(a *attempt, p *prepared) (report api.Report, e ending) {
	report = api.Report{AttemptRef: a.AttemptRef, Started: true}
	limits := a.Request.Limits
	pipes, err := newOutputPipes()
	if err != nil {
		report.Outcome, report.Reason, report.Message = api.Failed, events.ReasonSandbox, err.Error()
		return report, ending{failure: failuref(report.Reason, "%v", err)}
	}
	out := w.openOutput(a, pipes)
	timer := time.AfterFunc(time.Duration(limits.TimeoutMillis)*time.Millisecond, func() { a.halt(timedOut) })
	r := &runner{watcher: w, attempt: a, prepared: p, pipes: pipes}
	stopGPUs := w.useGPUs(a, p)
	if p != nil {
		r.run()
	}
	r.usage.GPU = stopGPUs()
	timer.Stop()
	a.exit()
	pipes.closeWriters()
	report.Output = out.Finish()
	w.counters.output.Add(uint64(report.Output.StdoutBytes + report.Output.StderrBytes))
	r.ending.cause, r.ending.detail, r.ending.gpus = a.why(), a.details(), gpusOf(a)
	v := decide(r.ending, limits)
	report.Outcome, report.ExitCode, report.Signal = v.outcome, v.exitCode, v.signal
	report.Reason, report.Message = v.reason, v.message
	report.Usage = r.usage
	report.Given = w.given(a)
	if p != nil && !r.ending.stuck {
		report.Results = w.results(a, p.Box)
	}
	if v.outcome == api.Succeeded {
		report.Artifact = r.artifact
	}
	if r.ending.stuck {
		w.Log.Error("A COMMAND SURVIVES SIGKILL. Its sandbox and its place are lost until this machine is looked after.",
			"execution", a.ID, "sandbox", a.sandboxID())
	}
	return report, r.ending
}
