package orchestrator

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/events/streams"
	"github.com/hermes-serverless/hermes/projections"
	"github.com/hermes-serverless/hermes/projections/executions"
	"github.com/hermes-serverless/hermes/projections/projector/views"
	"github.com/hermes-serverless/hermes/services/api"
)

// keepEvents makes the log of executions let go of all but so many, which the history has all, as retention
// sees to it.
func (w *world) keepEvents(n int64) {
	w.t.Helper()
	w.eventually("the history has the log", func() bool {
		live, err := w.js.Stream(w.t.Context(), streams.Executions)
		if err != nil {
			return false
		}
		history, err := w.js.Stream(w.t.Context(), streams.History)
		return err == nil && history.CachedInfo().State.LastSeq >= live.CachedInfo().State.LastSeq
	})
	w.bound(streams.Executions, func(c *jetstream.StreamConfig) { c.MaxMsgs = n })
}

func (w *world) bound(stream string, change func(*jetstream.StreamConfig)) {
	w.t.Helper()
	s, err := w.js.Stream(w.t.Context(), stream)
	if err != nil {
		w.t.Fatal(err)
	}
	config := s.CachedInfo().Config
	change(&config)
	if _, err := w.js.UpdateStream(w.t.Context(), config); err != nil {
		w.t.Fatal(err)
	}
}

// ended runs an execution to its end, which the views know.
func (w *world) ended() string {
	w.t.Helper()
	_, stop := w.orchestrate()
	w1 := w.watcher("w1", 1).hello()
	id := w.run()
	ref := w1.start()
	w.print(ref, "w1", 3, 4)
	tell[api.ReportReply](w1, api.OpReport, api.Report{AttemptRef: ref, Started: true, Outcome: api.Succeeded, Output: events.Output{StdoutBytes: 12, Chunks: 3}})
	w.eventually("the view has its end", func() bool {
		e, err := w.opts.Views.ExecutionByID(w.t.Context(), "ana", id)
		return err == nil && e.Status.Final()
	})
	stop()
	return id
}

// TestWhatTheLogHasLetGoIsKnown: whatever is asked about an execution of which the log has nothing,
// or only the end, is answered as before.
func TestWhatTheLogHasLetGoIsKnown(t *testing.T) {
	w := newWorld(t)
	w.register()
	id := w.ended()
	w.later(time.Hour)
	for _, left := range []int64{2, 1, 0} {
		if left > 0 {
			w.keepEvents(left)
		} else {
			w.append(w.opts.Executions, events.ExecutionSubject("bob", api.NewID()), 0, events.ExecutionRequested{Kind: events.KindRun})
		}
		ref := api.ExecutionRef{ID: id}
		if e, err := ask[api.Execution](w, api.OpExecutionInspect, ref); err != nil || e.Status != executions.Success || e.Number != 1 {
			t.Errorf("with %d events left: inspect %+v, %v", left, e, err)
		}
		if e, err := ask[api.Execution](w, api.OpExecutionWait, api.ExecutionWait{ExecutionRef: ref, WaitMillis: 100}); err != nil || e.Status != executions.Success {
			t.Errorf("with %d events left: wait %+v, %v", left, e, err)
		}
		if _, err := ask[api.Execution](w, api.OpExecutionCancel, ref); !api.IsKind(err, api.State) {
			t.Errorf("with %d events left: cancel %v, want that it has ended", left, err)
		}
		if state := w.state(id); state.Status != executions.Success || state.ID != id {
			t.Errorf("with %d events left: fold %+v", left, state)
		}
	}
}

// letGo puts executions into the archive, and waits until the views have let go of them.
func (w *world) letGo(all ...executions.Execution) {
	w.t.Helper()
	last := uint64(0)
	for _, e := range all {
		raw, err := json.Marshal(e)
		if err != nil {
			w.t.Fatal(err)
		}
		m := &nats.Msg{Subject: events.ArchiveSubject(e.Owner, e.RequestedAt), Data: raw, Header: nats.Header{}}
		m.Header.Set(projections.HeaderLogSequence, fmt.Sprint(e.Sequence))
		ack, err := w.js.PublishMsg(w.t.Context(), m)
		if err != nil {
			w.t.Fatal(err)
		}
		last = ack.Sequence
	}
	if err := w.opts.Views.(*views.Views).WaitForArchived(w.t.Context(), last); err != nil {
		w.t.Fatal(err)
	}
}

// TestWhatTheArchiveHasIsKnown: whatever is asked about an execution whose view was let go is answered as
// before, and it can be run again.
func TestWhatTheArchiveHasIsKnown(t *testing.T) {
	w := newWorld(t)
	w.register()
	id := w.ended()
	w.later(time.Hour)
	ref := api.ExecutionRef{ID: id}
	answers := func() map[string]string {
		all := map[string]string{}
		note := func(what string, answer any, err error) {
			raw, jsonErr := json.Marshal(answer)
			if all[what] = string(raw); errors.Join(err, jsonErr) != nil {
				t.Errorf("%s: %v", what, errors.Join(err, jsonErr))
			}
		}
		answer, err := ask[api.Execution](w, api.OpExecutionInspect, ref)
		note("inspect by id", answer, err)
		answer, err = ask[api.Execution](w, api.OpExecutionInspect, api.ExecutionRef{Number: 1})
		note("inspect by number", answer, err)
		answer, err = ask[api.Execution](w, api.OpExecutionWait, api.ExecutionWait{ExecutionRef: ref, WaitMillis: 100})
		note("wait", answer, err)
		list, err := ask[api.Executions](w, api.OpExecutionList, api.ExecutionList{})
		note("list", list, err)
		list, err = ask[api.Executions](w, api.OpExecutionList, api.ExecutionList{ExecutionFilter: api.ExecutionFilter{Watcher: "w1", Since: time.Now().Add(-time.Hour)}})
		note("list with a filter", list, err)
		history, err := ask[api.History](w, api.OpExecutionHistory, ref)
		note("history", history, err)
		events, err := ask[api.Events](w, api.OpEvents, api.EventsRequest{Since: time.Now().Add(-time.Hour), WaitMillis: 1})
		note("events", events, err)
		output, chunks, err := api.NewClient(w.nc, "ana").Output(t.Context(), api.ExecutionOutput{ExecutionRef: ref})
		note("output", output, err)
		note("chunks", chunks, nil)
		return all
	}
	before := answers()
	e, err := w.opts.Views.Execution(t.Context(), "ana", 1)
	if err != nil {
		t.Fatal(err)
	}
	w.letGo(e)
	after := answers()
	for what, answer := range after {
		if answer != before[what] {
			t.Errorf("%s is answered with\n%s\nand before with\n%s", what, answer, before[what])
		}
	}
	if _, err := ask[api.Execution](w, api.OpExecutionCancel, ref); !api.IsKind(err, api.State) {
		t.Errorf("cancel %v, want that it has ended", err)
	}
	again, err := ask[api.Accepted](w, api.OpRerun, api.Rerun{ID: api.NewID(), Of: ref})
	if err != nil || again.Function != e.Request.Function {
		t.Errorf("rerun %+v, %v", again, err)
	}
	w.keepEvents(1)
	if history, err := ask[api.History](w, api.OpExecutionHistory, ref); err != nil || len(history.Events) != 3 {
		t.Errorf("without the log the history has %+v, %v", history, err)
	}
	length, err := w.opts.Executions.Head(t.Context(), ">")
	if err != nil {
		t.Fatal(err)
	}
	w.runAs("ana", id) // the same request once more
	if head, err := w.opts.Executions.Head(t.Context(), ">"); err != nil || head != length {
		t.Errorf("its id was taken again: the log went from %d to %d, %v", length, head, err)
	}
}

// TestAnIDIsUsedOnce: a request that is repeated when the log knows nothing of it any more is the
// same execution still.
func TestAnIDIsUsedOnce(t *testing.T) {
	w := newWorld(t)
	w.register()
	id := w.ended()
	w.keepEvents(1)
	w.append(w.opts.Executions, events.ExecutionSubject("bob", api.NewID()), 0, events.ExecutionRequested{Kind: events.KindRun})
	before, err := w.opts.Executions.Head(t.Context(), ">")
	if err != nil {
		t.Fatal(err)
	}
	w.later(time.Hour)
	w.runAs("ana", id)
	if _, err := ask[api.Accepted](w, api.OpFunctionBuild, api.FunctionBuild{Build: id, Bundle: events.Blob{Digest: uploaded, SizeBytes: 1}}); !api.IsKind(err, api.Exists) {
		t.Errorf("a build under its id is answered with %v", err)
	}
	if after, err := w.opts.Executions.Head(t.Context(), ">"); err != nil || after != before {
		t.Errorf("the log went from %d to %d, %v", before, after, err)
	}
}

func TestOutputThatIsGoneSaysSo(t *testing.T) {
	w := newWorld(t)
	w.register()
	id := w.ended()
	w.later(8 * 24 * time.Hour)
	ended, err := w.opts.Views.ExecutionByID(t.Context(), "ana", id)
	if err != nil {
		t.Fatal(err)
	}
	went := ended.EndedAt.Add(7 * 24 * time.Hour).UTC().Format("2006-01-02 15:04")
	c := api.NewClient(w.nc, "ana")
	read := func() (api.OutputPage, string) {
		t.Helper()
		page, chunks, err := c.Output(t.Context(), api.ExecutionOutput{ExecutionRef: api.ExecutionRef{ID: id}})
		if err != nil {
			t.Fatal(err)
		}
		var all strings.Builder
		for _, chunk := range chunks {
			all.Write(chunk.Data)
		}
		return page, all.String()
	}
	if page, got := read(); got != "aaaabbbbcccc" || page.Gone != nil || page.Begin != 0 {
		t.Fatalf("whole: %q, %+v", got, page)
	}
	// Of what print stores, the chunk at 8 is third, and again the last but two.
	w.bound(streams.Output, func(c *jetstream.StreamConfig) { c.MaxMsgs = 2 })
	page, got := read()
	if got != "cccc" || page.Begin != 8 || page.Gone == nil || page.Gone.Bytes != 8 || page.End == nil || page.Next != 12 {
		t.Errorf("without its beginning: %q, %+v, gone %+v", got, page, page.Gone)
	}
	w.bound(streams.Output, func(c *jetstream.StreamConfig) { c.MaxMsgs = 1 })
	if page, got = read(); got != "" || page.Gone == nil || page.Gone.Bytes != 12 || page.End == nil {
		t.Errorf("only its end: %q, %+v, gone %+v", got, page, page.Gone)
	}
	output, err := w.js.Stream(t.Context(), streams.Output)
	if err != nil {
		t.Fatal(err)
	}
	if err := output.Purge(t.Context()); err != nil {
		t.Fatal(err)
	}
	why := "it went on " + went + " UTC, output is kept for 7d"
	if page, got = read(); got != "" || page.Gone == nil || page.Gone.Bytes != 12 || page.Gone.Why != why || !strings.Contains(page.End.Cut, why) {
		t.Errorf("nothing: %q, %+v, gone %+v, want %q", got, page, page.Gone, why)
	}
}

func TestWhyOutputIsGone(t *testing.T) {
	at := time.Date(2026, 11, 29, 14, 3, 0, 0, time.UTC)
	e := executions.Execution{
		Status: executions.Success, StartedAt: at.Add(-48 * time.Hour), EndedAt: at, Output: events.Output{StdoutBytes: 100},
	}
	live := executions.Execution{Status: executions.Running, StartedAt: at.Add(-48 * time.Hour)}
	for name, c := range map[string]struct {
		e      executions.Execution
		to     int64
		bounds jetstream.StreamConfig
		now    time.Time
		want   string
	}{
		"all, by age":        {e, 100, jetstream.StreamConfig{MaxAge: 168 * time.Hour, MaxBytes: 4 << 30}, at.Add(200 * time.Hour), "it went on 2026-12-06 14:03 UTC, output is kept for 7d"},
		"the first, by age":  {e, 50, jetstream.StreamConfig{MaxAge: 90 * time.Minute}, at, "it went on 2026-11-27 15:33 UTC, output is kept for 1h30m"},
		"of a live one":      {live, 50, jetstream.StreamConfig{MaxAge: 12 * time.Hour}, at, "it went on 2026-11-28 02:03 UTC, output is kept for 12h"},
		"too young, by size": {e, 100, jetstream.StreamConfig{MaxAge: 168 * time.Hour, MaxBytes: 4 << 30}, at.Add(time.Hour), "it was let go to keep the output of all below 4.0 GiB"},
		"no age, by size":    {e, 100, jetstream.StreamConfig{MaxBytes: 1 << 20}, at.Add(2000 * time.Hour), "it was let go to keep the output of all below 1.0 MiB"},
		"by hand":            {e, 100, jetstream.StreamConfig{}, at, "the operator has removed it"},
	} {
		if got := whyGone(c.e, c.to, c.bounds, c.now); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}
