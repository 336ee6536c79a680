package orchestrator

import (
	"testing"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/projections/executions"
	"github.com/hermes-serverless/hermes/services/api"
)

// place asks for the execution of an input in a batch, until somebody answers.
func (w *world) place(batch events.BatchRef, in events.Input, change func(*api.Run)) (id string, err error) {
	w.t.Helper()
	if id, err = api.BatchExecutionID(batch); err != nil {
		w.t.Fatal(err)
	}
	run := api.Run{ID: id, Function: events.FunctionRef{Name: "pi"}, Input: in, Batch: &batch}
	if change != nil {
		change(&run)
	}
	w.eventually("a run is answered", func() bool {
		_, err = ask[api.Accepted](w, api.OpRun, run)
		return !api.IsKind(err, api.Unavailable)
	})
	return id, err
}

// events counts those of an execution of ana.
func (w *world) events(id string) (n int) {
	w.t.Helper()
	for _, err := range w.opts.Executions.Read(w.t.Context(), events.ExecutionSubject("ana", id), 0) {
		if err != nil {
			w.t.Fatal(err)
		}
		n++
	}
	return n
}

// TestPlaceInABatchIsOneInput: whatever has become of its execution, the same input may be sent
// again, and no other takes its place.
func TestPlaceInABatchIsOneInput(t *testing.T) {
	w := newWorld(t)
	w.orchestrate()
	w.register()
	five, six := events.Input{Inline: []byte("5")}, events.Input{Inline: []byte("6")}
	stored := events.Input{Blob: &events.Blob{Digest: uploaded, SizeBytes: 1}}
	third := events.BatchRef{ID: batchA, Index: 3}
	id, err := w.place(third, five, nil)
	if err != nil {
		t.Fatal(err)
	}
	check := func(when string) {
		t.Helper()
		before := w.events(id)
		if again, err := w.place(third, five, nil); err != nil || again != id {
			t.Errorf("%s, the same input: %s, %v", when, again, err)
		}
		for name, in := range map[string]events.Input{"another": six, "none": {}, "a stored one": stored} {
			if _, err := w.place(third, in, nil); !api.IsKind(err, api.Exists) {
				t.Errorf("%s, %s: %v", when, name, err)
			}
		}
		if e := w.state(id); w.events(id) != before || string(e.Request.Input.Inline) != "5" || *e.Request.Batch != third {
			t.Errorf("%s it has become %+v", when, e)
		}
	}
	check("queued")
	w1 := w.watcher("w1", 1).hello()
	ref := w1.start()
	check("running")
	w1.report(ref, api.Succeeded)
	check("ended")
	if e := w.state(id); e.Status != executions.Success || e.Attempt != 1 {
		t.Errorf("it ended %+v", e)
	}
	if e, err := ask[api.Execution](w, api.OpExecutionInspect, api.ExecutionRef{ID: id}); err != nil || *e.Request.Batch != third {
		t.Errorf("inspected: %+v, %v", e.Request.Batch, err)
	}
}

func TestPlaceInABatchIsRefused(t *testing.T) {
	w := newWorld(t)
	w.orchestrate()
	w.register()
	first := events.BatchRef{ID: batchA, Index: 1}
	id, err := api.BatchExecutionID(first)
	if err != nil {
		t.Fatal(err)
	}
	// The id is taken by a run that is of no batch.
	w.runAs("ana", id)
	if _, err := w.place(first, events.Input{}, nil); !api.IsKind(err, api.Exists) {
		t.Errorf("a place that is taken: %v", err)
	}
	second := events.BatchRef{ID: batchA, Index: 2}
	for name, change := range map[string]func(*api.Run){
		"an id of its own":  func(r *api.Run) { r.ID = api.NewID() },
		"no index":          func(r *api.Run) { r.Batch = &events.BatchRef{ID: batchA} },
		"a batch with a *":  func(r *api.Run) { r.Batch = &events.BatchRef{ID: "*", Index: 2} },
		"too large a place": func(r *api.Run) { r.Batch = &events.BatchRef{ID: batchA, Index: api.MaxBatch + 1} },
	} {
		if _, err := w.place(second, events.Input{}, change); !api.IsKind(err, api.Invalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestRerunLeavesTheBatch: a place has one execution.
func TestRerunLeavesTheBatch(t *testing.T) {
	w := newWorld(t)
	w.orchestrate()
	w.register()
	id, err := w.place(events.BatchRef{ID: batchA, Index: 1}, events.Input{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	again := api.NewID()
	if _, err := ask[api.Accepted](w, api.OpRerun, api.Rerun{ID: again, Of: api.ExecutionRef{ID: id}}); err != nil {
		t.Fatal(err)
	}
	if r := w.state(again).Request; r.Batch != nil || r.Origin != id {
		t.Errorf("it is of batch %+v, with the origin %q", r.Batch, r.Origin)
	}
}

// TestSameOfBatch: a batch goes on with its version, also when that is not the highest any more.
func TestSameOfBatch(t *testing.T) {
	ref := &events.BatchRef{ID: batchA, Index: 1}
	pi := events.FunctionRef{Owner: "ana", Name: "pi", Version: "1.0.0"}
	state := executions.Execution{ID: someID, Status: executions.Running, Request: events.ExecutionRequested{Kind: events.KindRun, Function: pi, Batch: ref}}
	ask := func(change func(*events.ExecutionRequested)) error {
		requested := state.Request
		change(&requested)
		data, err := acceptOnce(state, requested)
		if data != nil {
			t.Errorf("it would be accepted twice: %+v", data)
		}
		return err
	}
	if err := ask(func(r *events.ExecutionRequested) { r.Function.Version = "1.1.0" }); err != nil {
		t.Errorf("with a new version: %v", err)
	}
	if err := ask(func(r *events.ExecutionRequested) { r.Function.Name = "e" }); !api.IsKind(err, api.Exists) {
		t.Errorf("with another function: %v", err)
	}
	if err := ask(func(r *events.ExecutionRequested) { r.Batch = &events.BatchRef{ID: batchB, Index: 1} }); !api.IsKind(err, api.Exists) {
		t.Errorf("in another batch: %v", err)
	}
}
