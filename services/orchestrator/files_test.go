package orchestrator

import (
	"bytes"
	"strings"
	"testing"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/projections/executions"
	"github.com/hermes-serverless/hermes/services/api"
)

func TestResultsAreHadBack(t *testing.T) {
	w := newWorld(t)
	w.orchestrate()
	w.register()
	w1 := w.watcher("w1", 1).hello()
	end := func(left *events.Results) api.ExecutionRef {
		id := w.run()
		tell[api.ReportReply](w1, api.OpReport, api.Report{AttemptRef: w1.start(), Started: true, Outcome: api.Failed, Reason: events.ReasonExit, Results: left})
		return api.ExecutionRef{ID: id}
	}
	client := api.NewClient(w.nc, "ana")
	archive := blobOf(theArchive)
	ref := end(&events.Results{Archive: &archive, Files: 1, Bytes: 7, Cut: "evil\x1b[2J"})
	var got bytes.Buffer
	left, err := client.Results(t.Context(), ref, &got)
	if err != nil || got.String() != string(theArchive) || left.Files != 1 || left.Cut != "evil[2J" {
		t.Errorf("had back %d bytes, %+v, %v", got.Len(), left, err)
	}
	if left, err := client.Results(t.Context(), end(nil), &got); err != nil || left != nil {
		t.Errorf("of a run that left nothing: %+v, %v", left, err)
	}
	other := archive
	other.SizeBytes--
	if _, err := client.Results(t.Context(), end(&events.Results{Archive: &other}), &got); errorName(err) != api.InternalError {
		t.Errorf("other bytes than were promised: %v", err)
	}
	gone := events.Blob{Digest: collected, SizeBytes: 1}
	for what, c := range map[string]struct {
		user string
		ref  api.ExecutionRef
		want string
	}{
		"somebody else's": {"bob", ref, api.NoSuchRun},
		"no longer kept":  {"ana", end(&events.Results{Archive: &gone}), api.NoSuchBlob},
		"not ended":       {"ana", api.ExecutionRef{ID: w.run()}, api.NotEnded},
		"nothing":         {"ana", api.ExecutionRef{}, api.InvalidArguments},
	} {
		_, err := api.NewClient(w.nc, c.user).Results(t.Context(), c.ref, &got)
		if errorName(err) != c.want {
			t.Errorf("%s: %v, want %s", what, err, c.want)
		}
	}
}

func TestResultsAsReported(t *testing.T) {
	run := executions.Execution{Request: events.ExecutionRequested{Kind: events.KindRun}}
	for what, r := range map[string]*events.Results{
		"no digest":     {Archive: &events.Blob{Digest: "x"}},
		"fewer than no": {Files: -1},
	} {
		if got := reportedResults(run, r); got.Cut == "" || got.Archive != nil || got.Files != 0 {
			t.Errorf("%s: %+v", what, got)
		}
	}
	build := executions.Execution{Request: events.ExecutionRequested{Kind: events.KindBuild}}
	if reportedResults(build, &events.Results{}) != nil || reportedResults(run, nil) != nil {
		t.Error("results are kept of what has none")
	}
	long := reportedResults(run, &events.Results{Cut: strings.Repeat("é", 10_000)})
	if len([]rune(long.Cut)) != maxCut {
		t.Errorf("a cut of %d bytes is kept", len(long.Cut))
	}
}
