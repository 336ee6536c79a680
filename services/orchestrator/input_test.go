package orchestrator

import (
	"encoding/json"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/projections/executions"
	"github.com/hermes-serverless/hermes/services/api"
)

// converse requests an interactive execution.
func (w *world) converse() string {
	w.t.Helper()
	id := api.NewID()
	w.eventually("a run is accepted", func() bool {
		_, err := ask[api.Accepted](w, api.OpRun, api.Run{ID: id, Function: events.FunctionRef{Owner: "ana", Name: "pi"}, Interactive: true})
		return err == nil
	})
	return id
}

// takesInput has the watcher answer pieces of input, and returns those that it gets.
func (w *watch) takesInput(answer func(api.RunInput) api.RunInputReply) <-chan api.RunInput {
	w.t.Helper()
	got := make(chan api.RunInput, 100)
	sub, err := w.nc.Subscribe(api.InputSubject(w.name), func(m *nats.Msg) {
		var piece api.RunInput
		if err := json.Unmarshal(m.Data, &piece); err != nil {
			w.t.Error(err)
		}
		got <- piece
		raw, _ := json.Marshal(answer(piece))
		_ = m.Respond(raw)
	})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = sub.Unsubscribe() })
	return got
}

func takeAll(p api.RunInput) api.RunInputReply {
	return api.RunInputReply{Known: true, Offset: p.Offset + int64(len(p.Data)), Closed: p.End}
}

func TestInputGoesToTheWatcherThatRunsIt(t *testing.T) {
	w := newWorld(t)
	w.orchestrate()
	w.register()
	w1 := w.watcher("w1", 1).hello()
	got := w1.takesInput(takeAll)
	id := w.converse()
	first := make(chan api.InputTaken, 1)
	go func() { // before it has started: it waits for that
		for {
			taken, err := ask[api.InputTaken](w, api.OpExecutionInput, api.ExecutionInput{ID: id, Data: []byte("hello")})
			if err != nil {
				t.Error(err)
			}
			if err != nil || !taken.Waiting {
				first <- taken
				return
			}
		}
	}()
	ref := w1.start()
	if taken := <-first; taken != (api.InputTaken{Offset: 5}) {
		t.Errorf("the first piece: %+v", taken)
	}
	if p := <-got; p.AttemptRef != ref || string(p.Data) != "hello" || p.Offset != 0 || p.End {
		t.Errorf("the watcher got %+v", p)
	}
	taken, err := ask[api.InputTaken](w, api.OpExecutionInput, api.ExecutionInput{ID: id, Offset: 5, End: true})
	if err != nil || taken != (api.InputTaken{Offset: 5, Closed: true}) {
		t.Errorf("the end: %+v, %v", taken, err)
	}
	<-got
	given := &events.Given{Input: events.Input{Inline: []byte("hello")}, Bytes: 5}
	tell[api.ReportReply](w1, api.OpReport, api.Report{AttemptRef: ref, Started: true, Outcome: api.Succeeded, Given: given})
	if e := w.state(id); e.Given == nil || string(e.Given.Input.Inline) != "hello" {
		t.Errorf("recorded %+v", e.Given)
	}
	if _, err := ask[api.InputTaken](w, api.OpExecutionInput, api.ExecutionInput{ID: id, Offset: 5}); errorName(err) != api.ProcessFinished {
		t.Errorf("input behind the end: %v", err)
	}
	page, err := ask[api.Executions](w, api.OpExecutionList, api.ExecutionList{MinSequence: w.state(id).Sequence})
	if err != nil || page.Executions[0].Given == nil || page.Executions[0].Given.Input.Inline != nil {
		t.Errorf("in a list: %+v, %v", page, err)
	}
	again := api.NewID()
	if _, err := ask[api.Accepted](w, api.OpRerun, api.Rerun{ID: again, Of: api.ExecutionRef{ID: id}}); err != nil {
		t.Fatal(err)
	}
	if r := w.state(again).Request; r.Interactive || string(r.Input.Inline) != "hello" {
		t.Errorf("it is repeated as %+v", r)
	}
}

func errorName(err error) string {
	e, ok := api.AsError(err)
	if !ok {
		return ""
	}
	return e.Name
}

func TestInputIsRefused(t *testing.T) {
	w := newWorld(t)
	w.orchestrate()
	w.register()
	w1 := w.watcher("w1", 2).hello()
	w1.takesInput(func(p api.RunInput) api.RunInputReply {
		t.Errorf("the watcher got %+v", p)
		return api.RunInputReply{}
	})
	id, plain := w.converse(), w.run()
	w1.start()
	w1.start()
	most := policy.MaxInputBytes
	for what, c := range map[string]struct {
		user string
		ask  api.ExecutionInput
		want string
	}{
		"somebody else's":   {"bob", api.ExecutionInput{ID: id}, api.NoSuchRun},
		"nobody's":          {"ana", api.ExecutionInput{ID: api.NewID()}, api.NoSuchRun},
		"not interactive":   {"ana", api.ExecutionInput{ID: plain}, api.InvalidArguments},
		"no id":             {"ana", api.ExecutionInput{ID: "x.>"}, api.InvalidArguments},
		"a large piece":     {"ana", api.ExecutionInput{ID: id, Data: make([]byte, api.MaxInputPiece+1)}, api.InvalidArguments},
		"a negative offset": {"ana", api.ExecutionInput{ID: id, Offset: -1}, api.InvalidArguments},
		"more than allowed": {"ana", api.ExecutionInput{ID: id, Offset: most, Data: []byte("x")}, api.InputTooLarge},
		"far more":          {"ana", api.ExecutionInput{ID: id, Offset: 1<<63 - 1, Data: []byte("x")}, api.InputTooLarge},
	} {
		if _, err := askAs[api.InputTaken](w, c.user, api.OpExecutionInput, c.ask); errorName(err) != c.want {
			t.Errorf("%s: %v, want %s", what, err, c.want)
		}
	}
	ahead := api.Run{ID: api.NewID(), Function: events.FunctionRef{Name: "pi"}, Interactive: true, Input: events.Input{Inline: []byte("x")}}
	if _, err := ask[api.Accepted](w, api.OpRun, ahead); errorName(err) != api.InvalidArguments {
		t.Errorf("interactive, with an input ahead: %v", err)
	}
	_, err := ask[api.Accepted](w, api.OpRerun, api.Rerun{ID: api.NewID(), Of: api.ExecutionRef{ID: id}})
	if errorName(err) != api.NotEnded {
		t.Errorf("a rerun of what is still given something: %v", err)
	}
}

// TestInputForAWatcherThatIsAway: the client is to ask again, and hears when the attempt is over.
func TestInputForAWatcherThatIsAway(t *testing.T) {
	w := newWorld(t)
	w.orchestrate()
	w.register()
	w1 := w.watcher("w1", 1).hello()
	id := w.converse()
	w1.start()
	if _, err := ask[api.InputTaken](w, api.OpExecutionInput, api.ExecutionInput{ID: id}); !api.IsKind(err, api.Unavailable) {
		t.Errorf("no watcher listens: %v", err)
	}
	w1.takesInput(func(api.RunInput) api.RunInputReply { return api.RunInputReply{} })
	taken, err := ask[api.InputTaken](w, api.OpExecutionInput, api.ExecutionInput{ID: id, Offset: 3})
	if err != nil || taken != (api.InputTaken{Offset: 3, Closed: true}) {
		t.Errorf("the watcher does not hold it: %+v, %v", taken, err)
	}
}

func TestGivenAsReportedAndRepeated(t *testing.T) {
	interactive := executions.Execution{Status: executions.Success, Request: events.ExecutionRequested{Kind: events.KindRun, Interactive: true}}
	plain := executions.Execution{}
	small := &events.Given{Input: events.Input{Inline: []byte("x")}, Bytes: 1}
	for what, g := range map[string]*events.Given{
		"too much inline": {Input: events.Input{Inline: make([]byte, events.MaxInlineInputBytes+1)}},
		"no digest":       {Input: events.Input{Blob: &events.Blob{Digest: "x"}}},
	} {
		if got := reportedGiven(interactive, g); got.Cut == "" || got.Input.Inline != nil || got.Input.Blob != nil {
			t.Errorf("%s: %+v", what, got)
		}
	}
	if reportedGiven(plain, small) != nil || reportedGiven(interactive, nil) != nil || reportedGiven(interactive, small) != small {
		t.Error("what a watcher reports is not kept as it should be")
	}
	for what, c := range map[string]struct {
		change func(*executions.Execution)
		want   string
	}{
		"kept":       {func(e *executions.Execution) { e.Given = small }, ""},
		"never ran":  {func(e *executions.Execution) { e.Status = executions.Cancelled }, ""},
		"lost":       {func(e *executions.Execution) { e.Status = executions.Lost }, api.NoSuchBlob},
		"not kept":   {func(e *executions.Execution) { e.Given = &events.Given{Cut: "disk full"} }, api.NoSuchBlob},
		"still runs": {func(e *executions.Execution) { e.Status = executions.Running }, api.NotEnded},
	} {
		e := interactive
		c.change(&e)
		_, err := givenTo(e)
		if errorName(err) != c.want {
			t.Errorf("%s: %v, want %s", what, err, c.want)
		}
		// Another input can be given, whatever became of the first.
		r, err := rerunRequest(policy, e, pi("public", ""), "", api.Rerun{Input: &events.Input{Inline: []byte("y")}})
		if err == nil && (r.Interactive || string(r.Input.Inline) != "y") {
			t.Errorf("%s, with another input: %+v, %v", what, r, err)
		}
	}
}
