package orchestrator

import (
	"strings"
	"testing"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/events/streams"
	"github.com/hermes-serverless/hermes/projections/executions"
	"github.com/hermes-serverless/hermes/services/api"
)

// foldOf folds what the API gives of an execution's history.
func foldOf(t *testing.T, h api.History) executions.Execution {
	t.Helper()
	var state executions.Execution
	for _, e := range h.Events {
		r, err := e.Record()
		if err != nil {
			t.Fatal(err)
		}
		if state, err = executions.Fold(state, r); err != nil {
			t.Fatal(err)
		}
	}
	return state
}

func typesOf(h api.History) string {
	var names []string
	for _, e := range h.Events {
		names = append(names, string(e.Type[strings.LastIndex(string(e.Type), ".")+1:]))
	}
	return strings.Join(names, " ")
}

func TestHistoryIsTheEvents(t *testing.T) {
	w := newWorld(t)
	w.orchestrate()
	w.register()
	w1 := w.watcher("w1", 1).hello()
	id := w.run()
	w1.report(w1.start(), api.Failed)
	h, err := ask[api.History](w, api.OpExecutionHistory, api.ExecutionRef{ID: id})
	if err != nil || typesOf(h) != "requested started failed" || h.ID != id {
		t.Fatalf("%+v, %v", h, err)
	}
	if got, want := foldOf(t, h), w.state(id); got.Status != want.Status || got.Sequence != want.Sequence || got.Watcher != "w1" {
		t.Errorf("its fold is %+v, the log's %+v", got, want)
	}
	if !strings.Contains(string(h.Events[0].Data), "LEVEL") {
		t.Errorf("the owner is not shown the environment: %s", h.Events[0].Data)
	}
}

func TestHistoryIsTheOwnersAlone(t *testing.T) {
	w := newWorld(t)
	w.orchestrate()
	w.register()
	id := api.NewID()
	w.runAs("bob", id)
	for _, ref := range []api.ExecutionRef{{ID: id}, {Number: 1}} {
		if h, err := ask[api.History](w, api.OpExecutionHistory, ref); !api.IsKind(err, api.NotFound) {
			t.Errorf("ana is shown bob's %+v: %+v, %v", ref, h, err)
		}
	}
	h, err := askAs[api.History](w, "bob", api.OpExecutionHistory, api.ExecutionRef{ID: id})
	if err != nil || typesOf(h) != "requested" {
		t.Fatalf("%+v, %v", h, err)
	}
	if strings.Contains(string(h.Events[0].Data), "LEVEL") {
		t.Errorf("bob is shown the environment of ana's function: %s", h.Events[0].Data)
	}
}

// TestHistoryOutlivesTheLog takes events out of the log of executions as its age does.
func TestHistoryOutlivesTheLog(t *testing.T) {
	w := newWorld(t)
	w.orchestrate()
	w.register()
	w1 := w.watcher("w1", 1).hello()
	var ids []string
	for range 3 {
		ids = append(ids, w.run())
		w1.report(w1.start(), api.Succeeded)
	}
	w.eventually("the archive has everything", func() bool {
		s, err := w.js.Stream(t.Context(), streams.History)
		return err == nil && s.CachedInfo().State.Msgs == 9
	})
	w.eventually("the view has everything", func() bool {
		e, err := ask[api.Execution](w, api.OpExecutionInspect, api.ExecutionRef{ID: ids[2]})
		return err == nil && e.Status.Final()
	})
	for _, left := range []int64{4, 1} {
		s, err := w.js.Stream(t.Context(), streams.Executions)
		if err != nil {
			t.Fatal(err)
		}
		config := s.CachedInfo().Config
		config.MaxMsgs = left
		if _, err := w.js.UpdateStream(t.Context(), config); err != nil {
			t.Fatal(err)
		}
		for _, id := range ids {
			h, err := ask[api.History](w, api.OpExecutionHistory, api.ExecutionRef{ID: id})
			if err != nil || typesOf(h) != "requested started succeeded" {
				t.Fatalf("with %d events in the log, %s has %q, %v", left, id, typesOf(h), err)
			}
			if e := foldOf(t, h); e.ID != id || e.Owner != "ana" || !e.Status.Final() {
				t.Errorf("its fold is %+v", e)
			}
		}
	}
}

func TestEventThatIsNoneIsNamed(t *testing.T) {
	w := newWorld(t)
	w.orchestrate()
	w.register()
	id := w.run()
	w.eventually("the view has it", func() bool {
		e, err := w.opts.Views.ExecutionByID(t.Context(), "ana", id)
		return err == nil && e.Number == 1
	})
	subject := events.ExecutionSubject("ana", id)
	if _, err := w.js.Publish(t.Context(), subject, []byte("what is this")); err != nil {
		t.Fatal(err)
	}
	h, err := ask[api.History](w, api.OpExecutionHistory, api.ExecutionRef{ID: id})
	if err != nil || len(h.Events) != 2 || h.Events[1].Undecodable == "" {
		t.Errorf("%+v, %v", h, err)
	}
	if _, err := h.Events[1].Record(); err == nil {
		t.Error("what is no event was decoded")
	}
}
