package orchestrator

import (
	"context"
	"testing"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/projections/executions"
	"github.com/hermes-serverless/hermes/services/api"
)

// changed asks for what follows an event, and hands over the answer.
func (w *world) changed(id string, after uint64) <-chan api.Execution {
	w.t.Helper()
	told := make(chan api.Execution, 1)
	go func() {
		e, err := ask[api.Execution](w, api.OpExecutionWait, api.ExecutionWait{
			ExecutionRef: api.ExecutionRef{ID: id}, WaitMillis: maxWait.Milliseconds(), Changes: true, After: after,
		})
		if err != nil {
			w.t.Errorf("wait for a change of %s: %v", id, err)
		}
		told <- e
	}()
	return told
}

func TestEachChangeIsTold(t *testing.T) {
	w := newWorld(t)
	w.orchestrate()
	w.register()
	w1 := w.watcher("w1", 1).hello()
	id := api.NewID()
	queued := w.changed(id, 0) // nobody has seen it yet
	w.runAs("ana", id)
	e := <-queued
	if e.Status != executions.Queued || e.Sequence == 0 {
		t.Fatalf("told of the request as %+v", e)
	}
	started := w.changed(id, e.Sequence)
	ref := w1.start()
	if e = <-started; e.Status != executions.Running || e.Watcher != "w1" || e.Attempt != 1 {
		t.Fatalf("told of the start as %+v", e)
	}
	ended := w.changed(id, e.Sequence)
	w1.report(ref, api.Succeeded)
	if e = <-ended; e.Status != executions.Success {
		t.Fatalf("told of the end as %+v", e)
	}
	if again := <-w.changed(id, e.Sequence+9); again.Status != executions.Success {
		t.Errorf("asked for what follows the end, told %+v", again)
	}
	other := api.ExecutionWait{ExecutionRef: api.ExecutionRef{ID: id}, WaitMillis: 1, Changes: true}
	if _, err := askAs[api.Execution](w, "bob", api.OpExecutionWait, other); !api.IsKind(err, api.NotFound) {
		t.Errorf("somebody else is told %v", err)
	}
}

// TestWhoHeardOfAChangeFindsIt: in the list and by inspect, whatever the view had seen then.
func TestWhoHeardOfAChangeFindsIt(t *testing.T) {
	w := newWorld(t)
	w.orchestrate()
	w.register()
	w1 := w.watcher("w1", 1).hello()
	for n := range int64(20) {
		id := w.run()
		ref := w1.start()
		w1.report(ref, api.Succeeded)
		<-w.changed(id, w.state(id).Sequence)
		page, err := ask[api.Executions](w, api.OpExecutionList, api.ExecutionList{Limit: 1})
		if err != nil || len(page.Executions) != 1 || page.Executions[0].ID != id || page.Executions[0].Status != executions.Success {
			t.Fatalf("list: %+v, %v", page, err)
		}
		e, err := ask[api.Execution](w, api.OpExecutionInspect, api.ExecutionRef{Number: n + 1})
		if err != nil || e.ID != id || e.Status != executions.Success {
			t.Fatalf("inspect: %+v, %v", e, err)
		}
	}
}

// TestChangesAreToldWhereNobodyLeads: by the log.
func TestChangesAreToldWhereNobodyLeads(t *testing.T) {
	w := newWorld(t)
	w.orchestrate()
	w.register()
	w1 := w.watcher("w1", 1).hello()
	id := w.run()
	ref := w1.start()
	bystander := New(w.opts)
	ask := api.ExecutionWait{ExecutionRef: api.ExecutionRef{ID: id}, WaitMillis: maxWait.Milliseconds(), Changes: true}
	e, err := bystander.change(t.Context(), "ana", ask)
	if err != nil || e.Sequence == 0 {
		t.Fatalf("told %+v, %v", e, err)
	}
	w1.report(ref, api.Succeeded)
	for e.Status != executions.Success {
		ask.After = e.Sequence
		if e, err = bystander.change(t.Context(), "ana", ask); err != nil || e.Sequence <= ask.After {
			t.Fatalf("told %+v, %v", e, err)
		}
	}
	page, err := bystander.list(t.Context(), "ana", api.ExecutionList{})
	if err != nil || len(page.Executions) != 1 || page.Executions[0].Status != executions.Success {
		t.Errorf("list: %+v, %v", page, err)
	}
}

func TestWhoWaitsHearsThatTheLeaderIsOver(t *testing.T) {
	w := newWorld(t)
	w.orchestrate()
	w.register()
	id := w.run()
	l := newLeader(&parts{Options: w.opts})
	heard := make(chan bool, 1)
	go func() {
		_, over, err := l.wait(context.Background(), "ana", id, func(executions.Execution) bool { return false })
		heard <- over && err == nil
	}()
	w.eventually("somebody waits", func() bool { return l.changes.listeners() > 0 })
	l.end()
	if !<-heard {
		t.Error("the waiting ended otherwise")
	}
}

func (c *changes) listeners() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.waiting)
}

func TestTheNewestChangeIsTold(t *testing.T) {
	var c changes
	k := key{owner: "ana", id: "1"}
	state := func(sequence uint64) executions.Execution {
		return executions.Execution{Owner: k.owner, ID: k.id, Sequence: sequence, Request: events.ExecutionRequested{}}
	}
	c.tell(state(1)) // nobody listens
	first, stopFirst := c.listen(k)
	second, stopSecond := c.listen(k)
	c.tell(state(2))
	if e := <-second; e.Sequence != 2 {
		t.Errorf("told %d", e.Sequence)
	}
	c.tell(state(4))
	c.tell(state(3)) // overtaken
	for _, news := range []<-chan executions.Execution{first, second} {
		if e := <-news; e.Sequence != 4 {
			t.Errorf("told %d, want the newest", e.Sequence)
		}
	}
	stopFirst()
	stopSecond()
	if n := c.listeners(); n != 0 {
		t.Errorf("%d are left", n)
	}
}
