package orchestrator

import (
	"reflect"
	"strings"
	"testing"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/projections/executions"
	"github.com/hermes-serverless/hermes/services/api"
)

func TestRerunIsAsItWasRecorded(t *testing.T) {
	w := newWorld(t)
	w.orchestrate()
	w.register()
	id := api.NewID()
	w.eventually("a run is accepted", func() bool {
		_, err := ask[api.Accepted](w, api.OpRun, api.Run{ID: id, Function: events.FunctionRef{Name: "pi"}, Input: events.Input{Inline: []byte("5")}, TimeoutMillis: 500})
		return err == nil
	})
	again := api.NewID()
	for range 2 { // the same request may be sent twice
		if _, err := ask[api.Accepted](w, api.OpRerun, api.Rerun{ID: again, Of: api.ExecutionRef{ID: id}}); err != nil {
			t.Fatal(err)
		}
	}
	got, want := w.state(again).Request, w.state(id).Request
	if got.Origin != id || want.Origin != "" {
		t.Errorf("the origin of the repetition is %q, of the first %q", got.Origin, want.Origin)
	}
	if got.Origin = ""; !reflect.DeepEqual(got, want) {
		t.Errorf("repeated\n%+v\nwant\n%+v", got, want)
	}
	other := api.NewID()
	if _, err := ask[api.Accepted](w, api.OpRerun, api.Rerun{ID: other, Of: api.ExecutionRef{ID: again}, Version: "latest", Input: &events.Input{Inline: []byte("6")}}); err != nil {
		t.Fatal(err)
	}
	if r := w.state(other).Request; string(r.Input.Inline) != "6" || r.Origin != again || r.Limits.TimeoutMillis == 500 || r.Function.Version != "1.0.0" {
		t.Errorf("with another input, of the latest version: %+v", r)
	}
	if h, err := ask[api.History](w, api.OpExecutionHistory, api.ExecutionRef{ID: again}); err != nil || !strings.Contains(string(h.Events[0].Data), `"origin":"`+id) {
		t.Errorf("its history does not say what it repeats: %+v, %v", h, err)
	}
}

func TestRerunIsRefused(t *testing.T) {
	w := newWorld(t)
	w.orchestrate()
	w.register()
	id := w.run()
	bobs := api.NewID()
	w.runAs("bob", bobs)
	for _, c := range []struct {
		name, user string
		ask        api.Rerun
		want       string
	}{
		{"somebody else's", "eve", api.Rerun{ID: api.NewID(), Of: api.ExecutionRef{ID: id}}, api.NoSuchRun},
		{"what never was", "ana", api.Rerun{ID: api.NewID(), Of: api.ExecutionRef{Number: 99}}, api.NoSuchRun},
		{"nothing", "ana", api.Rerun{ID: api.NewID()}, api.InvalidArguments},
		{"a bad id", "ana", api.Rerun{ID: "1", Of: api.ExecutionRef{ID: id}}, api.InvalidArguments},
		{"a version that is none", "ana", api.Rerun{ID: api.NewID(), Of: api.ExecutionRef{ID: id}, Version: "9.9.9"}, api.NoSuchVersion},
		{"an input that is not the user's", "bob", api.Rerun{ID: api.NewID(), Of: api.ExecutionRef{ID: bobs}, Input: &events.Input{Blob: &events.Blob{Digest: uploaded}}}, api.NoSuchBlob},
	} {
		_, err := askAs[api.Accepted](w, c.user, api.OpRerun, c.ask)
		if e, ok := api.AsError(err); !ok || e.Name != c.want {
			t.Errorf("%s: %v, want %s", c.name, err, c.want)
		}
	}
}

func TestRerunOfWhatIsNotKept(t *testing.T) {
	w := newWorld(t)
	w.orchestrate()
	w.register()
	gone := events.Blob{Digest: "sha256:" + strings.Repeat("1", 64), SizeBytes: 1}
	ref := events.FunctionRef{Owner: "ana", Name: "pi", Version: "1.0.0"}
	kept := events.Blob{Digest: uploaded, SizeBytes: 1}
	for name, r := range map[string]events.ExecutionRequested{
		api.NoSuchArtifact:   {Kind: events.KindRun, Function: ref, Source: gone},
		api.NoSuchBlob:       {Kind: events.KindRun, Function: ref, Source: kept, Input: events.Input{Blob: &gone}},
		api.InvalidArguments: {Kind: events.KindBuild, Function: ref, Source: kept},
	} {
		id := api.NewID()
		w.append(w.opts.Executions, events.ExecutionSubject("ana", id), 0, r)
		var err error
		w.eventually("it is answered", func() bool {
			_, err = ask[api.Accepted](w, api.OpRerun, api.Rerun{ID: api.NewID(), Of: api.ExecutionRef{ID: id}})
			return !api.IsKind(err, api.Unavailable)
		})
		if e, ok := api.AsError(err); !ok || e.Name != name {
			t.Errorf("got %v, want %s", err, name)
		}
	}
}

// TestRerunKeepsToWhatMayBeRun: the owner of a function decides who runs it, the operator how long.
func TestRerunKeepsToWhatMayBeRun(t *testing.T) {
	origin := executions.Execution{ID: "01JDY3M8WZ0000000000000000", Request: events.ExecutionRequested{
		Kind: events.KindRun, Function: events.FunctionRef{Owner: "ana", Name: "pi", Version: "1.0.0"},
		Limits: events.Limits{TimeoutMillis: 1 << 50, MemoryBytes: 1}, Env: map[string]string{"LEVEL": "3"},
	}}
	for _, c := range []struct {
		scope, version, caller string
		refused                bool
	}{
		{"public", "1.0.0", "bob", false}, {"private", "1.0.0", "bob", true}, {"public", "1.0.1", "bob", true},
		{"private", "1.0.0", "ana", false}, {"private", "1.0.1", "ana", false},
	} {
		r, err := rerunRequest(policy, origin, pi(c.scope, c.version), c.caller, api.Rerun{})
		if refused := err != nil; refused != c.refused {
			t.Errorf("%+v: %v", c, err)
		}
		if err == nil && (r.Limits.TimeoutMillis != policy.Maxima.TimeoutMillis || r.Limits.MemoryBytes != 1 || r.Env["LEVEL"] != "3") {
			t.Errorf("%+v: %+v", c, r)
		}
	}
}

// TestRerunGetsNoNetworkThatIsNotGiven any more.
func TestRerunGetsNoNetworkThatIsNotGiven(t *testing.T) {
	origin := executions.Execution{Request: events.ExecutionRequested{
		Kind: events.KindRun, Function: events.FunctionRef{Owner: "ana", Name: "pi", Version: "1.0.0"}, Network: "internet",
	}}
	for _, given := range []bool{false, true} {
		p := policy
		p.Network = given
		if _, err := rerunRequest(p, origin, pi("private", "1.0.0"), "ana", api.Rerun{}); (err == nil) != given {
			t.Errorf("the instance gives one: %v; the rerun: %v", given, err)
		}
	}
}
