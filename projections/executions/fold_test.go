package executions_test

import (
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/projections/executions"
	"github.com/hermes-serverless/hermes/projections/foldtest"
)

const id = "01JDY3M8WZ0000000000000000"

var subject = events.ExecutionSubject("alice", id)

func TestFold(t *testing.T) {
	foldtest.Check(t, foldtest.Case[executions.Execution]{
		Subject: subject, Fold: executions.Fold, Projection: executions.Projection, Next: next,
	})
}

// next draws what may follow; nil at the end.
func next(t *rapid.T, e executions.Execution) events.Data {
	if e.Status.Final() {
		return nil
	}
	if e.Status == "" {
		if rapid.Bool().Draw(t, "interactive") {
			return events.ExecutionRequested{Kind: events.KindRun, Interactive: true}
		}
		r := events.ExecutionRequested{Kind: events.KindRun, Retries: rapid.IntRange(0, 3).Draw(t, "retries")}
		if rapid.Bool().Draw(t, "of a batch") {
			r.Batch = &events.BatchRef{ID: id, Index: rapid.Int64Range(1, 9).Draw(t, "index")}
		}
		return r
	}
	may := []events.Data{events.ExecutionFailed{Reason: events.ReasonInput}}
	if e.CancelRequestedBy == "" {
		may = append(may, events.ExecutionCancelRequested{By: "alice"})
	}
	switch {
	case e.Status == executions.Queued && e.CancelRequestedBy == "":
		may = append(may, events.ExecutionStarted{Attempt: e.Attempt + 1, Watcher: "w", Sandbox: "warm", Devices: []string{"GPU-1"}, Hardware: events.Hardware{CPUModel: "c", GPUModels: []string{"g"}, Driver: "550"}})
	case e.Status == executions.Queued:
		may = append(may, events.ExecutionCancelled{})
	default:
		may = []events.Data{
			events.ExecutionSucceeded{Attempt: e.Attempt, Artifact: &events.Blob{Digest: "d"}},
			events.ExecutionFailed{Attempt: e.Attempt, Reason: events.ReasonOOM},
			events.ExecutionTimedOut{Attempt: e.Attempt, Results: &events.Results{Files: 1}}, events.ExecutionLost{Attempt: e.Attempt, Watcher: e.Watcher},
		}
		if e.Request.Interactive {
			may = append(may, events.ExecutionFailed{Attempt: e.Attempt, Given: &events.Given{Bytes: 1}})
		}
		if e.CancelRequestedBy != "" {
			may = append(may, events.ExecutionCancelled{Attempt: e.Attempt})
		} else {
			may = append(may, events.ExecutionCancelRequested{By: "root"})
		}
		if e.RetriesUsed() < e.Request.Retries {
			may = append(may, events.ExecutionRetried{Attempt: e.Attempt, Watcher: e.Watcher})
		}
	}
	return rapid.SampledFrom(may).Draw(t, "event")
}

// every is one event of each type, about the given attempt.
func every(attempt int) []events.Data {
	return []events.Data{
		events.ExecutionRequested{}, events.ExecutionStarted{Attempt: attempt, Watcher: "w"},
		events.ExecutionSucceeded{Attempt: attempt}, events.ExecutionFailed{Attempt: attempt},
		events.ExecutionCancelRequested{By: "x"}, events.ExecutionCancelled{Attempt: attempt},
		events.ExecutionTimedOut{Attempt: attempt}, events.ExecutionLost{Attempt: attempt, Watcher: "w"},
		events.ExecutionRetried{Attempt: attempt, Watcher: "w"},
	}
}

// TestFoldRefuses tries every event, about every attempt, in every state: what is not allowed
// here is refused.
func TestFoldRefuses(t *testing.T) {
	requested := events.ExecutionRequested{Retries: 1}
	started := events.ExecutionStarted{Attempt: 1, Watcher: "w"}
	cancel := events.ExecutionCancelRequested{By: "x"}
	for name, c := range map[string]struct {
		given   []events.Data
		allowed []string
	}{
		"nothing":          {nil, []string{"requested 0", "requested 1", "requested 2", "requested 3"}},
		"queued":           {[]events.Data{requested}, []string{"started 1", "failed 0", "cancel_requested 0"}},
		"queued, cancel":   {[]events.Data{requested, cancel}, []string{"failed 0", "cancelled 0"}},
		"running":          {[]events.Data{requested, started}, []string{"succeeded 1", "failed 1", "timed_out 1", "lost 1", "retried 1", "cancel_requested 0"}},
		"running, cancel":  {[]events.Data{requested, started, cancel}, []string{"succeeded 1", "failed 1", "timed_out 1", "lost 1", "retried 1", "cancelled 1"}},
		"queued again":     {[]events.Data{requested, started, events.ExecutionRetried{Attempt: 1, Watcher: "w"}}, []string{"started 2", "failed 0", "cancel_requested 0"}},
		"no retry is left": {[]events.Data{requested, started, events.ExecutionRetried{Attempt: 1, Watcher: "w"}, events.ExecutionStarted{Attempt: 2, Watcher: "w"}}, []string{"succeeded 2", "failed 2", "timed_out 2", "lost 2", "cancel_requested 0"}},
		"succeeded":        {[]events.Data{requested, started, events.ExecutionSucceeded{Attempt: 1}}, nil},
		"failed":           {[]events.Data{requested, events.ExecutionFailed{}}, nil},
		"cancelled":        {[]events.Data{requested, cancel, events.ExecutionCancelled{}}, nil},
		"timed out":        {[]events.Data{requested, started, events.ExecutionTimedOut{Attempt: 1}}, nil},
		"lost":             {[]events.Data{requested, started, events.ExecutionLost{Attempt: 1, Watcher: "w"}}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			state := foldtest.Given(t, executions.Fold, subject, c.given...)
			allowed := map[string]bool{}
			for _, a := range c.allowed {
				allowed[a] = true
			}
			for attempt := range 4 {
				for _, d := range every(attempt) {
					short := string(d.Type())[len("io.hermes.execution.v1."):]
					if allowed[fmt.Sprint(short, " ", attempt)] || allowed[short+" 0"] && short == "cancel_requested" {
						if _, err := executions.Fold(state, foldtest.Record(subject, 100, d)); err != nil {
							t.Errorf("%s of attempt %d: %v", short, attempt, err)
						}
						continue
					}
					foldtest.WantRefused(t, executions.Fold, state, foldtest.Record(subject, 100, d))
				}
			}
		})
	}
}

func TestFoldRefusesAnInlineInputOfAnySize(t *testing.T) {
	large := events.ExecutionRequested{Input: events.Input{Inline: make([]byte, events.MaxInlineInputBytes+1)}}
	foldtest.WantRefused(t, executions.Fold, executions.Execution{}, foldtest.Record(subject, 1, large))
}

// TestFoldOfWhatAnInteractiveOneIsGiven: it is known at the end, and of an interactive one only.
func TestFoldOfWhatAnInteractiveOneIsGiven(t *testing.T) {
	requested := events.ExecutionRequested{Interactive: true}
	started := events.ExecutionStarted{Attempt: 1, Watcher: "w"}
	given := &events.Given{Input: events.Input{Inline: []byte("yes\n")}, Bytes: 4}
	cancel := events.ExecutionCancelRequested{By: "x"}
	for name, end := range map[string]events.Data{
		"succeeded": events.ExecutionSucceeded{Attempt: 1, Given: given}, "failed": events.ExecutionFailed{Attempt: 1, Given: given},
		"timed out": events.ExecutionTimedOut{Attempt: 1, Given: given}, "cancelled": events.ExecutionCancelled{Attempt: 1, Given: given},
	} {
		state := foldtest.Given(t, executions.Fold, subject, requested, started, cancel, end)
		if state.Given != given {
			t.Errorf("%s: given %+v", name, state.Given)
		}
		plain := foldtest.Given(t, executions.Fold, subject, events.ExecutionRequested{}, started, cancel)
		foldtest.WantRefused(t, executions.Fold, plain, foldtest.Record(subject, 100, end))
	}
	large := events.ExecutionSucceeded{Attempt: 1, Given: &events.Given{Input: events.Input{Inline: make([]byte, events.MaxInlineInputBytes+1)}}}
	foldtest.WantRefused(t, executions.Fold, foldtest.Given(t, executions.Fold, subject, requested, started), foldtest.Record(subject, 3, large))
	for _, r := range []events.ExecutionRequested{
		{Interactive: true, Retries: 1}, {Interactive: true, Input: events.Input{Inline: []byte("x")}}, {Interactive: true, Input: events.Input{Blob: &events.Blob{}}},
	} {
		foldtest.WantRefused(t, executions.Fold, executions.Execution{}, foldtest.Record(subject, 1, r))
	}
}

// TestProjectionNumbers gives two owners' executions their numbers in the order of the log.
func TestProjectionNumbers(t *testing.T) {
	tx := foldtest.Tx{}
	// Two owners use one id.
	ids := []string{"01JDY3M8WZ0000000000000001", "01JDY3M8WZ0000000000000001", "01JDY3M8WZ0000000000000003"}
	for i, owner := range []string{"alice", "bob", "alice"} {
		r := foldtest.Record(events.ExecutionSubject(owner, ids[i]), uint64(i)+1, events.ExecutionRequested{})
		if err := executions.Projection.Step(tx, r, nil); err != nil {
			t.Fatal(err)
		}
	}
	end := foldtest.Record(events.ExecutionSubject("bob", ids[1]), 4, events.ExecutionFailed{})
	if err := executions.Projection.Step(tx, end, nil); err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]string{
		"id.alice." + ids[0]: "1", "id.bob." + ids[1]: "1", "id.alice." + ids[2]: "2",
		"active.alice." + ids[0]: "alice.1", "active.bob." + ids[1]: "<nil>", "active.alice." + ids[2]: "alice.2",
		"user.alice": fmt.Sprint(executions.User{Last: 2}), "user.bob": fmt.Sprint(executions.User{Last: 1}),
	} {
		if got := fmt.Sprint(tx[key]); got != want {
			t.Errorf("%s holds %s, want %s", key, got, want)
		}
	}
	if len(tx) != 12 { // with a view of each, and a block of each owner
		t.Errorf("keys: %v", tx)
	}
}

func TestFoldRefusesABatchThatIsNoKey(t *testing.T) {
	for _, ref := range []events.BatchRef{{}, {ID: id}, {ID: "*", Index: 1}, {ID: "a.b", Index: 1}} {
		bad := events.ExecutionRequested{Batch: &ref}
		foldtest.WantRefused(t, executions.Fold, executions.Execution{}, foldtest.Record(subject, 1, bad))
	}
}

// TestProjectionKnowsWhereABatchIs, among its owner's executions; another owner's of the same id is another.
func TestProjectionKnowsWhereABatchIs(t *testing.T) {
	tx := foldtest.Tx{}
	batch := func(index int64) *events.BatchRef { return &events.BatchRef{ID: id, Index: index} }
	sequence := uint64(0)
	for i, r := range []struct {
		owner string
		batch *events.BatchRef
	}{{"alice", nil}, {"alice", batch(2)}, {"bob", batch(1)}, {"alice", nil}, {"alice", batch(1)}, {"alice", nil}} {
		sequence++
		one := fmt.Sprintf("01JDY3M8WZ000000000000000%d", i)
		r := foldtest.Record(events.ExecutionSubject(r.owner, one), sequence, events.ExecutionRequested{Batch: r.batch})
		for range 2 { // delivered twice
			if err := executions.Projection.Step(tx, r, nil); err != nil {
				t.Fatal(err)
			}
		}
	}
	for key, want := range map[string]executions.Batch{
		executions.BatchKey("alice", id): {First: 2, Last: 4, Count: 2}, executions.BatchKey("bob", id): {First: 1, Last: 1, Count: 1},
	} {
		if got := tx[key]; got != any(want) {
			t.Errorf("%s holds %+v, want %+v", key, got, want)
		}
	}
}
