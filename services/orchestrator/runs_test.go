package orchestrator

import (
	"testing"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/projections/executions"
	"github.com/hermes-serverless/hermes/services/api"
)

// TestUnheardRequestIsSentAgain: a request is heard by who listens when it is sent. A hello that
// does not name it brings it again, one that names it does not.
func TestUnheardRequestIsSentAgain(t *testing.T) {
	w := newWorld(t)
	w.orchestrate()
	w.register()
	w1 := w.watcher("w1", 2).hello()
	w.run()
	first := w1.next()
	delete(w1.held, first.AttemptRef) // it was not heard
	w1.hello()
	if again := w1.next(); again.AttemptRef != first.AttemptRef || again.Request.Handler != first.Request.Handler {
		t.Errorf("sent again: %+v", again)
	}
	w1.hello(first.AttemptRef)
	second := w.run()
	delete(w1.held, first.AttemptRef)
	if next := w1.next(); next.ID != second {
		t.Errorf("after a hello that names it %s is sent", next.ID)
	}
}

func TestDecidedRequestLeavesTheQueue(t *testing.T) {
	w := newWorld(t)
	w.orchestrate()
	w.register()
	w1 := w.watcher("w1", 1).hello()
	empty := func(when string) {
		t.Helper()
		w.eventually("the queue is empty after "+when, func() bool { return w.placed() == 0 })
	}
	w.run()
	ref := w1.start()
	empty("a grant")
	w1.report(ref, api.Succeeded)

	w.run()
	ref = w1.next().AttemptRef
	reply := tell[api.ReportReply](w1, api.OpReport, api.Report{AttemptRef: ref, Outcome: api.Failed, Reason: events.ReasonSandbox})
	if reply.Why != "" {
		t.Errorf("the report was of no use: %s", reply.Why)
	}
	empty("a report of what never started")

	w.run()
	ref = w1.next().AttemptRef
	late := ref
	late.Attempt = 7
	if w1.claim(late).Granted {
		t.Fatal("an attempt was granted that is not due")
	}
	delete(w1.held, ref)
	w1.report(w1.start(), api.Succeeded) // placed anew
	empty("a refusal and a grant")
}

// TestNextLeaderTidiesTheQueue: a leader that dies between a decision and the queue leaves requests
// behind that nobody waits for.
func TestNextLeaderTidiesTheQueue(t *testing.T) {
	w := newWorld(t)
	_, stop := w.orchestrate()
	w.register()
	w1 := w.watcher("w1", 2).hello()
	ended, running := w.run(), w.run()
	refs := map[string]api.AttemptRef{}
	for range 2 {
		ref := w1.start()
		refs[ref.ID] = ref
	}
	w1.report(refs[ended], api.Succeeded)
	w.eventually("the queue is empty", func() bool { return w.placed() == 0 })
	stop()
	for _, subject := range []string{
		events.RunSubject("w1", "ana", ended), events.RunSubject("w1", "ana", running), events.RunSubject("w1", "ana", api.NewID()), "hermes.run.w1." + ended,
	} {
		if _, err := w.js.Publish(t.Context(), subject, []byte("{}")); err != nil {
			t.Fatal(err)
		}
	}
	w.orchestrate()
	w.eventually("the next leader has tidied the queue", func() bool { return w.placed() == 0 })
	w1.hello(refs[running])
	w1.report(refs[running], api.Succeeded)
	if got := w.state(running); got.Status != executions.Success || got.Attempt != 1 {
		t.Errorf("what ran on is %s in attempt %d", got.Status, got.Attempt)
	}
}

// TestTwoUsersMayUseOneID: users make the ids of their executions, so one who knows another's must
// not disturb it by using it too.
func TestTwoUsersMayUseOneID(t *testing.T) {
	w := newWorld(t)
	w.orchestrate()
	w.register()
	w1 := w.watcher("w1", 3).hello()
	id := w.run()
	anas := w1.start()
	w.runAs("bob", id)
	bobs := w1.start()
	if anas.Owner != "ana" || bobs.Owner != "bob" || anas.ID != bobs.ID {
		t.Fatalf("started %+v and %+v", anas, bobs)
	}
	if _, err := askAs[api.Execution](w, "bob", api.OpExecutionCancel, api.ExecutionRef{ID: id}); err != nil {
		t.Fatal(err)
	}
	w1.report(bobs, api.Cancelled)
	if got := w.state(id); got.Status != executions.Running || got.CancelRequestedBy != "" {
		t.Errorf("ana's is %s after bob cancelled his, cancelled by %q", got.Status, got.CancelRequestedBy)
	}
	w1.report(anas, api.Succeeded)
	if a, b := w.stateOf("ana", id).Status, w.stateOf("bob", id).Status; a != executions.Success || b != executions.Cancelled {
		t.Errorf("ana's ended %s, bob's %s", a, b)
	}
}
