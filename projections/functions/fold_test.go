package functions_test

import (
	"fmt"
	"reflect"
	"testing"

	"pgregory.net/rapid"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/projections/foldtest"
	"github.com/hermes-serverless/hermes/projections/functions"
)

var subject = events.FunctionSubject("alice", "vadd")

func TestFold(t *testing.T) {
	foldtest.Check(t, foldtest.Case[functions.Function]{
		Subject: subject, Fold: functions.Fold, Projection: functions.Projection, Next: next,
	})
}

func next(t *rapid.T, f functions.Function) events.Data {
	var may []events.Data
	for _, v := range []string{"1.0.0", "1.1.0", "2.0.0"} {
		_, exists := f.Versions[v]
		pending, builds := f.Pending[v]
		_, failed := f.Failed[v]
		if builds {
			may = append(may, events.FunctionBuilt{Version: v, Build: pending.Build, BuiltBy: pending.Build},
				events.FunctionBuildFailed{Version: v, Build: pending.Build, Reason: events.ReasonMake})
		} else {
			may = append(may, events.FunctionRegistered{Version: v, Build: fmt.Sprint("B", f.Sequence), Replaces: exists})
		}
		if exists || builds {
			may = append(may, events.FunctionAliasSet{Alias: "latest", Version: v})
		}
		if exists || builds || failed {
			may = append(may, events.FunctionDeleted{Versions: []string{v}})
		}
	}
	return rapid.SampledFrom(may).Draw(t, "event")
}

func registered(version, build string) events.Data {
	return events.FunctionRegistered{Version: version, Build: build, Bundle: events.Blob{Digest: "bundle of " + build}}
}

func TestReplacedVersionStaysUntilItsBuildSucceeds(t *testing.T) {
	given := []events.Data{
		registered("1.0.0", "A"), events.FunctionBuilt{Version: "1.0.0", Build: "A", BuiltBy: "A"},
		events.FunctionRegistered{Version: "1.0.0", Build: "B", Replaces: true},
	}
	f := foldtest.Given(t, functions.Fold, subject, given...)
	if f.Versions["1.0.0"].Build != "A" || f.Pending["1.0.0"].Build != "B" {
		t.Errorf("while it builds: %+v", f)
	}
	f = foldtest.Given(t, functions.Fold, subject, append(given, events.FunctionBuildFailed{Version: "1.0.0", Build: "B", Reason: "make"})...)
	if f.Versions["1.0.0"].Build != "A" || f.Failed["1.0.0"].Build != "B" || len(f.Pending) != 0 {
		t.Errorf("after it failed: %+v", f)
	}
	f = foldtest.Given(t, functions.Fold, subject, append(given, events.FunctionBuilt{Version: "1.0.0", Build: "B", BuiltBy: "A"})...)
	if v := f.Versions["1.0.0"]; v.Build != "B" || v.BuiltBy != "A" || len(f.Pending)+len(f.Failed) != 0 {
		t.Errorf("after it was built: %+v", f)
	}
}

func TestFailedBuildKeepsWhatItWouldHaveBeen(t *testing.T) {
	config := events.FunctionConfig{Language: "cuda", GPUCapable: true, Scope: "public", Handler: "a.out"}
	f := foldtest.Given(t, functions.Fold, subject,
		events.FunctionRegistered{Version: "1.0.0", Build: "A", Config: config, Base: "host", Bundle: events.Blob{Digest: "bundle of A"}},
		events.FunctionBuildFailed{Version: "1.0.0", Build: "A", Reason: "make"})
	failed := f.Failed["1.0.0"]
	if !reflect.DeepEqual(failed.Config, config) || failed.Base != "host" || failed.Bundle.Digest != "bundle of A" || failed.RegisteredAt.IsZero() {
		t.Errorf("%+v", failed)
	}
}

func TestDeletedTakesEverythingThatNamesIt(t *testing.T) {
	f := foldtest.Given(t, functions.Fold, subject,
		registered("1.0.0", "A"), events.FunctionBuilt{Version: "1.0.0", Build: "A"},
		registered("2.0.0", "B"), events.FunctionAliasSet{Alias: "latest", Version: "2.0.0"},
		events.FunctionAliasSet{Alias: "stable", Version: "1.0.0"},
		events.FunctionDeleted{Versions: []string{"2.0.0"}})
	if len(f.Pending) != 0 || len(f.Versions) != 1 || len(f.Aliases) != 1 || f.Aliases["stable"] != "1.0.0" {
		t.Errorf("%+v", f)
	}
	foldtest.WantRefused(t, functions.Fold, f, foldtest.Record(subject, 100, events.FunctionBuilt{Version: "2.0.0", Build: "B"}))
	if f = foldtest.Given(t, functions.Fold, subject, registered("1.0.0", "A"), events.FunctionDeleted{Versions: []string{"1.0.0"}}); f.Exists() {
		t.Errorf("still there: %+v", f)
	}
}

func TestFoldRefuses(t *testing.T) {
	pending := []events.Data{registered("1.0.0", "A")}
	built := append(pending[:1:1], events.FunctionBuilt{Version: "1.0.0", Build: "A"})
	for name, c := range map[string]struct {
		given []events.Data
		when  events.Data
	}{
		"a build that was never asked for": {nil, events.FunctionBuilt{Version: "1.0.0", Build: "A"}},
		"another build succeeded":          {pending, events.FunctionBuilt{Version: "1.0.0", Build: "B"}},
		"another build failed":             {pending, events.FunctionBuildFailed{Version: "1.0.0", Build: "B"}},
		"another version was built":        {pending, events.FunctionBuilt{Version: "2.0.0", Build: "A"}},
		"built twice":                      {built, events.FunctionBuilt{Version: "1.0.0", Build: "A"}},
		"failed after it was built":        {built, events.FunctionBuildFailed{Version: "1.0.0", Build: "A"}},
		"registered while it builds":       {pending, registered("1.0.0", "B")},
		"registered again, not replacing":  {built, registered("1.0.0", "B")},
		"replaces what is not there":       {nil, events.FunctionRegistered{Version: "1.0.0", Build: "A", Replaces: true}},
		"registered without a version":     {nil, registered("", "A")},
		"registered without a build":       {nil, registered("1.0.0", "")},
		"an alias of nothing":              {built, events.FunctionAliasSet{Alias: "x", Version: "3.0.0"}},
		"an alias without a name":          {built, events.FunctionAliasSet{Version: "1.0.0"}},
		"deleted and never there":          {nil, events.FunctionDeleted{Versions: []string{"1.0.0"}}},
		"deleted and half of it not there": {built, events.FunctionDeleted{Versions: []string{"1.0.0", "2.0.0"}}},
		"deleted twice in one":             {built, events.FunctionDeleted{Versions: []string{"1.0.0", "1.0.0"}}},
		"deleted nothing":                  {built, events.FunctionDeleted{}},
		"an event of an execution":         {built, events.ExecutionCancelRequested{}},
	} {
		t.Run(name, func(t *testing.T) {
			f := foldtest.Given(t, functions.Fold, subject, c.given...)
			foldtest.WantRefused(t, functions.Fold, f, foldtest.Record(subject, 100, c.when))
		})
	}
	foldtest.WantRefused(t, functions.Fold, functions.Function{}, foldtest.Record("hermes.user.alice", 1, registered("1.0.0", "A")))
}

// TestForgotten: whatever is left of what an owner had when the log says that they are forgotten, nothing of it
// is in the views; what others have is the fold of their own.
func TestForgotten(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		states := map[string]functions.Function{}
		var all []events.Record
		for sequence := range uint64(rapid.IntRange(1, 60).Draw(t, "length")) {
			of := events.FunctionSubject(rapid.SampledFrom([]string{"alice", "bob"}).Draw(t, "owner"), rapid.SampledFrom([]string{"f", "g"}).Draw(t, "name"))
			r := foldtest.Record(of, sequence+1, next(t, states[of]))
			if rapid.IntRange(0, 5).Draw(t, "wrong") == 0 {
				r.Data = events.FunctionAliasSet{Alias: "latest", Version: "9.9.9"}
			} else if f, err := functions.Fold(states[of], r); err == nil {
				states[of] = f
			}
			all = append(all, r)
		}
		said := foldtest.Record(events.FunctionsForgottenSubject("alice"), 100, events.FunctionsForgotten{})
		left, others := foldtest.Tx{}, foldtest.Tx{}
		step := func(tx foldtest.Tx, r events.Record) {
			if err := functions.Projection.Step(tx, r, nil); err != nil {
				t.Fatal(err)
			}
		}
		for _, r := range append(all, said) {
			alices := events.OwnerOf(r.Subject) == "alice"
			if !alices {
				step(others, r)
			}
			if !alices || r.Sequence == said.Sequence || rapid.Bool().Draw(t, "left") {
				step(left, r)
			}
		}
		if !reflect.DeepEqual(left, others) {
			t.Fatalf("it is\n%v\nwant\n%v", left, others)
		}
	})
}
