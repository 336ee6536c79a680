package watcher

import (
	"context"
	"time"

	"github.com/hermes-serverless/hermes/services/api"
)

// saveAfter is how long the orchestrator has to take a report before it is written to disk. Most are
// taken in a few milliseconds, and the disk is what executions wait for most.
const saveAfter = 50 * time.Millisecond

// report has the end of an attempt with the orchestrator or on disk when it returns.
func (w *Watcher) report(a *attempt, r api.Report) {
	taken, saved := make(chan struct{}), make(chan struct{})
	defer close(saved)
	w.work.Go(func() { w.deliver(r, taken, saved) })
	wait := time.NewTimer(saveAfter)
	defer wait.Stop()
	select {
	case <-taken:
		return
	case <-w.life.Done():
	case <-wait.C:
	}
	if err := w.reports.save(r); err != nil {
		w.Log.Error("a report cannot be written to disk; it is lost if the watcher dies before it is taken",
			"execution", a.ID, "err", err)
	}
}

// redeliver sends a report of an earlier session.
func (w *Watcher) redeliver(r api.Report) {
	a := newAttempt(api.RunRequest{AttemptRef: r.AttemptRef}, time.Now())
	a.exit()
	w.held.add(a)
	saved := make(chan struct{})
	close(saved)
	w.work.Go(func() { w.deliver(r, make(chan struct{}), saved) })
}

// deliver sends a report until it is taken, and says so, or the watcher's life ends; then it stays on
// disk. What is on disk is removed, once it is known whether it is.
func (w *Watcher) deliver(r api.Report, taken chan<- struct{}, saved <-chan struct{}) {
	reply, err := untilAnswered[api.ReportReply](w.life, w.asker, api.OpReport, r)
	if err != nil {
		w.Log.Warn("a report was not taken yet and stays on disk", "execution", r.ID, "attempt", r.Attempt)
		return
	}
	if reply.Why != "" {
		w.Log.Info("a report was of no use", "execution", r.ID, "attempt", r.Attempt, "why", reply.Why)
	}
	close(taken)
	<-saved
	if err := w.reports.remove(r.AttemptRef); err != nil {
		w.Log.Warn("a report that was taken cannot be removed", "execution", r.ID, "err", err)
	}
	w.held.remove(r.AttemptRef)
}

// drain brings everything here to its end and says goodbye. graceful gives what runs its grace
// period. It is true when nothing is held any more and the orchestrator knows.
func (w *Watcher) drain(graceful bool) (clean bool) {
	defer w.endLife()
	w.lease.drain()
	idle := make(chan struct{})
	go func() {
		w.serving.Wait()
		close(idle)
	}()
	if !graceful || !within(idle, w.Grace) {
		w.Log.Info("ending what still runs", "held", len(w.held.refs()))
		for _, a := range w.held.all() {
			a.halt(shutdown)
		}
		// The time to stop, to be killed, and to store what was printed.
		if !within(idle, w.StopGrace+w.ReportGrace) {
			w.endStoring()
			<-idle // within KillWait: what survives that is given up
		}
	}
	if !within(w.held.none(), w.ReportGrace) {
		w.Log.Warn("reports were not taken; they stay on disk until this watcher starts again", "held", len(w.held.refs()))
		return false
	}
	if !graceful {
		return false
	}
	ctx, cancel := context.WithTimeout(w.life, w.ReportGrace)
	defer cancel()
	if _, err := untilAnswered[api.LeaveReply](ctx, w.asker, api.OpLeave, api.Leave{Session: w.session}); err != nil {
		w.Log.Warn("no orchestrator heard that this watcher leaves", "err", err)
	}
	return true
}

// within waits for a channel to close; nil is closed already.
func within(closed <-chan struct{}, d time.Duration) bool {
	if closed == nil {
		return true
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-closed:
		return true
	case <-timer.C:
		return false
	}
}
