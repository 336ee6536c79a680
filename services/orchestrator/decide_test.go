package orchestrator

import (
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/projections/executions"
	"github.com/hermes-serverless/hermes/projections/functions"
	"github.com/hermes-serverless/hermes/services/api"
)

const someID = "01JD0000000000000000000000"

var policy = Policy{
	Defaults:      events.Limits{TimeoutMillis: 1000, MemoryBytes: 100, CPUMillis: 1000, PIDs: 10, TmpBytes: 10, OutputBytes: 10},
	Maxima:        events.Limits{TimeoutMillis: 5000, MemoryBytes: 500, CPUMillis: 2000, PIDs: 20, TmpBytes: 20, OutputBytes: 20},
	Build:         events.Limits{TimeoutMillis: 9000, MemoryBytes: 900, CPUMillis: 2000, PIDs: 20, TmpBytes: 20, OutputBytes: 20},
	MaxInputBytes: 100,
}

func pi(scope string, versions ...string) functions.Function {
	f := functions.Function{Owner: "ana", Name: "pi", Versions: map[string]functions.Version{}}
	for _, v := range versions {
		f.Versions[v] = functions.Version{
			Config: events.FunctionConfig{Language: "cpp", Scope: scope, Handler: "a.out", Limits: events.Limits{MemoryBytes: 9999}},
			Base:   "host", Artifact: events.Blob{Digest: "sha256:" + v, SizeBytes: 1},
		}
	}
	return f
}

func TestDecideRun(t *testing.T) {
	ask := func(version string) api.Run {
		return api.Run{ID: someID, Function: events.FunctionRef{Owner: "ana", Name: "pi", Version: version}}
	}
	building := pi("public")
	building.Pending = map[string]functions.Pending{"1.0.0": {Build: "B1"}}
	failed := pi("public")
	failed.Failed = map[string]functions.FailedBuild{"1.0.0": {Build: "B1", Message: "make failed"}}
	big := ask("")
	big.Input.Blob = &events.Blob{Digest: "sha256:x", SizeBytes: 101}

	tests := []struct {
		name    string
		f       functions.Function
		caller  string
		ask     api.Run
		version string // of the event
		err     string // name of the error
	}{
		{"the highest version in semver order", pi("private", "1.9.0", "1.10.0", "0.1.0"), "ana", ask(""), "1.10.0", ""},
		{"a named version", pi("private", "1.9.0", "1.10.0"), "ana", ask("1.9.0"), "1.9.0", ""},
		{"somebody's public function", pi("public", "1.0.0"), "bob", ask("1.0.0"), "1.0.0", ""},
		{"somebody's private function does not exist", pi("private", "1.0.0"), "bob", ask("1.0.0"), "", api.NoSuchFunction},
		{"an unknown version", pi("public", "1.0.0"), "ana", ask("2.0.0"), "", api.NoSuchVersion},
		{"an unknown function", pi("public"), "ana", ask(""), "", api.NoSuchFunction},
		{"one that is being built", building, "ana", ask("1.0.0"), "", api.BuildInProgress},
		{"one whose build failed", failed, "ana", ask("1.0.0"), "", api.NoSuchFunction},
		{"an input over the limit", pi("public", "1.0.0"), "ana", big, "", api.InvalidArguments},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			data, err := decideRun(policy, executions.Execution{}, test.f, test.caller, test.ask)
			if test.err != "" {
				e, ok := api.AsError(err)
				if !ok || e.Name != test.err || data != nil {
					t.Fatalf("got %v, %v; want %s", data, err, test.err)
				}
				return
			}
			requested, ok := data.(events.ExecutionRequested)
			if err != nil || !ok {
				t.Fatalf("got %T, %v", data, err)
			}
			if requested.Function.Version != test.version || requested.Source.Digest != "sha256:"+test.version {
				t.Errorf("runs %s of %s; want %s", requested.Source.Digest, requested.Function, test.version)
			}
			if want := (events.Limits{TimeoutMillis: 1000, MemoryBytes: 500, CPUMillis: 1000, PIDs: 10, TmpBytes: 10, OutputBytes: 10}); requested.Limits != want {
				t.Errorf("limits: %s", cmp.Diff(want, requested.Limits))
			}
		})
	}
}

func TestDecideRunGivesArgsAndEnv(t *testing.T) {
	f := pi("public", "1.0.0")
	v := f.Versions["1.0.0"]
	v.Config.Args, v.Config.Env = []string{"-v"}, map[string]string{"LEVEL": "3"}
	v.Config.Limits, v.Config.ReuseSandbox = events.Limits{PIDs: 15, TmpBytes: 99}, true
	f.Versions["1.0.0"] = v
	data, err := decideRun(policy, executions.Execution{}, f, "bob", api.Run{ID: someID, Function: events.FunctionRef{Owner: "ana", Name: "pi"}})
	requested, ok := data.(events.ExecutionRequested)
	if err != nil || !ok {
		t.Fatalf("got %T, %v", data, err)
	}
	if diff := cmp.Diff(v.Config.Args, requested.Args); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(v.Config.Env, requested.Env); diff != "" {
		t.Error(diff)
	}
	if !requested.ReuseSandbox {
		t.Error("the sandbox is not to be reused")
	}
	if requested.Limits.PIDs != 15 || requested.Limits.TmpBytes != policy.Maxima.TmpBytes {
		t.Errorf("limits %+v", requested.Limits)
	}
	// Who runs somebody else's function is not told how it is configured.
	e := executions.Execution{ID: someID, Owner: "bob", Request: requested}
	if got := shown("bob", e, api.QueuePositionReply{}); got.Request.Args != nil || got.Request.Env != nil {
		t.Errorf("bob sees %+v", got.Request)
	}
	if got := shown("ana", e, api.QueuePositionReply{Position: 3}); got.Request.Env["LEVEL"] != "3" || got.Position != 3 {
		t.Errorf("ana sees %+v", got)
	}
}

func TestDecideRunAgain(t *testing.T) {
	ask := api.Run{ID: someID, Function: events.FunctionRef{Owner: "ana", Name: "pi"}}
	first, err := decideRun(policy, executions.Execution{}, pi("public", "1.0.0"), "ana", ask)
	if err != nil {
		t.Fatal(err)
	}
	known := executions.Execution{ID: someID, Status: executions.Running, Request: first.(events.ExecutionRequested)}
	again, err := decideRun(policy, known, pi("public", "1.0.0"), "ana", ask)
	if again != nil || err != nil {
		t.Errorf("the same request again: %v, %v; want nothing", again, err)
	}
	known.Request.Function.Name = "other"
	if _, err = decideRun(policy, known, pi("public", "1.0.0"), "ana", ask); !api.IsKind(err, api.Exists) {
		t.Errorf("another request under the same id: %v", err)
	}
}

func TestDecideClaim(t *testing.T) {
	queued := executions.Execution{ID: someID, Status: executions.Queued}
	retried := executions.Execution{ID: someID, Status: executions.Queued, Attempt: 1}
	cancelled := executions.Execution{ID: someID, Status: executions.Queued, CancelRequestedBy: "ana"}
	running := executions.Execution{ID: someID, Status: executions.Running, Watcher: "w1", Attempt: 1}
	ended := executions.Execution{ID: someID, Status: executions.Success, Watcher: "w1", Attempt: 1}
	tests := []struct {
		name     string
		state    executions.Execution
		placedOn string
		attempt  int
		granted  bool
		appends  bool
	}{
		{"placed here", queued, "w1", 1, true, true},
		{"the answer to the first claim was lost", running, "", 1, true, false},
		{"the next attempt after a loss", retried, "w1", 2, true, true},
		{"an old attempt after a loss", retried, "w1", 1, false, false},
		{"placed elsewhere", queued, "w2", 1, false, false},
		{"placed nowhere", queued, "", 1, false, false},
		{"being cancelled", cancelled, "w1", 1, false, false},
		{"ended", ended, "w1", 1, false, false},
		{"unknown", executions.Execution{}, "w1", 1, false, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			claim := api.Claim{AttemptRef: api.AttemptRef{ID: someID, Attempt: test.attempt}, Sandbox: "cold"}
			data, refusal := decideClaim(test.state, put{watcher: test.placedOn}, events.Hardware{}, "w1", claim)
			if (refusal == "") != test.granted || (data != nil) != test.appends {
				t.Fatalf("got %v, %q", data, refusal)
			}
			mustFold(t, test.state, data)
		})
	}
}

func TestDecideClaimOfDevices(t *testing.T) {
	queued := executions.Execution{ID: someID, Status: executions.Queued}
	given := put{watcher: "w1", devices: []string{"GPU-1", "GPU-2"}}
	for _, devices := range [][]string{nil, {"GPU-1"}, {"GPU-1", "GPU-3"}, {"GPU-1", "GPU-2", "GPU-3"}} {
		claim := api.Claim{AttemptRef: api.AttemptRef{ID: someID, Attempt: 1}, Devices: devices}
		if data, refusal := decideClaim(queued, given, events.Hardware{}, "w1", claim); data != nil || refusal != "the execution was given other devices" {
			t.Errorf("%v: got %v, %q", devices, data, refusal)
		}
	}
	on := events.Hardware{CPUModel: "a CPU", GPUModels: []string{"a GPU", "a GPU"}, Driver: "550"}
	data, refusal := decideClaim(queued, given, on, "w1", api.Claim{AttemptRef: api.AttemptRef{ID: someID, Attempt: 1}, Devices: given.devices})
	started, ok := data.(events.ExecutionStarted)
	if !ok || !slices.Equal(started.Devices, given.devices) || !reflect.DeepEqual(started.Hardware, on) {
		t.Errorf("got %+v, %q", data, refusal)
	}
	mustFold(t, queued, data)
}

func TestDecideReport(t *testing.T) {
	running := executions.Execution{ID: someID, Status: executions.Running, Watcher: "w1", Attempt: 2}
	asked := running
	asked.CancelRequestedBy = "ana"
	queued := executions.Execution{ID: someID, Status: executions.Queued, Attempt: 1}
	report := func(started bool, attempt int, outcome api.Outcome) api.Report {
		return api.Report{AttemptRef: api.AttemptRef{ID: someID, Attempt: attempt}, Started: started, Outcome: outcome, Reason: "exit", ExitCode: 3}
	}
	tests := []struct {
		name     string
		state    executions.Execution
		placedOn string
		report   api.Report
		want     events.Type // "" when it is of no use
	}{
		{"success", running, "", report(true, 2, api.Succeeded), events.ExecutionSucceeded{}.Type()},
		{"failure", running, "", report(true, 2, api.Failed), events.ExecutionFailed{}.Type()},
		{"timeout", running, "", report(true, 2, api.TimedOut), events.ExecutionTimedOut{}.Type()},
		{"cancelled", asked, "", report(true, 2, api.Cancelled), events.ExecutionCancelled{}.Type()},
		{"cancelled, but nobody asked", running, "", report(true, 2, api.Cancelled), events.ExecutionFailed{}.Type()},
		{"an old attempt", running, "", report(true, 1, api.Succeeded), ""},
		{"no sandbox", queued, "w1", report(false, 2, api.Failed), events.ExecutionFailed{}.Type()},
		{"no sandbox, not placed here", queued, "w2", report(false, 2, api.Failed), ""},
		{"a success that never started", queued, "w1", report(false, 2, api.Succeeded), events.ExecutionFailed{}.Type()},
		{"started, but the log does not say so", queued, "w1", report(true, 2, api.Succeeded), ""},
		{"ended", executions.Execution{Status: executions.Lost}, "", report(true, 2, api.Succeeded), ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			data, refusal := decideReport(test.state, put{watcher: test.placedOn}, "w1", test.report)
			if test.want == "" {
				if data != nil || refusal == "" {
					t.Fatalf("got %v, %q; want a refusal", data, refusal)
				}
				return
			}
			if data == nil || data.Type() != test.want {
				t.Fatalf("got %v, %q; want %s", data, refusal, test.want)
			}
			mustFold(t, test.state, data)
		})
	}
}

func TestDecideLost(t *testing.T) {
	running := executions.Execution{ID: someID, Status: executions.Running, Watcher: "w1", Attempt: 1}
	if got := decideLost(running, "w2", ""); got != nil {
		t.Errorf("another watcher's loss: %v", got)
	}
	if got := decideLost(running, "w1", "silent"); got == nil || got.Type() != (events.ExecutionLost{}).Type() {
		t.Errorf("no retry asked for: %v", got)
	}
	running.Request.Retries = 1
	if got := decideLost(running, "w1", "silent"); got == nil || got.Type() != (events.ExecutionRetried{}).Type() {
		t.Errorf("one retry left: %v", got)
	}
	running.CancelRequestedBy = "ana"
	if got := decideLost(running, "w1", "silent"); got == nil || got.Type() != (events.ExecutionLost{}).Type() {
		t.Errorf("a retry left, but it is being cancelled: %v", got)
	}
}

func TestDecideCancel(t *testing.T) {
	if _, err := decideCancel(executions.Execution{}, "ana"); !api.IsKind(err, api.NotFound) {
		t.Errorf("unknown: %v", err)
	}
	if _, err := decideCancel(executions.Execution{Status: executions.Success, Number: 7}, "ana"); !api.IsKind(err, api.State) || !strings.Contains(err.Error(), "7") {
		t.Errorf("ended: %v", err)
	}
	if data, err := decideCancel(executions.Execution{Status: executions.Running, CancelRequestedBy: "ana"}, "ana"); data != nil || err != nil {
		t.Errorf("asked before: %v, %v", data, err)
	}
	if data, err := decideCancel(executions.Execution{Status: executions.Queued}, "ana"); data == nil || err != nil {
		t.Errorf("queued: %v, %v", data, err)
	}
}

// mustFold checks that what was decided can be folded: a decision never makes an impossible event.
func mustFold(t *testing.T, state executions.Execution, data events.Data) {
	t.Helper()
	if data == nil {
		return
	}
	record := events.Record{Event: events.Event{Data: data}, Subject: events.ExecutionSubject("ana", someID), Sequence: state.Sequence + 1}
	if _, err := executions.Fold(state, record); err != nil {
		t.Errorf("the decision does not fold: %v", err)
	}
}

func TestDecideRunGivesANetworkWhereItIsAllowed(t *testing.T) {
	f := pi("private", "1.0.0")
	v := f.Versions["1.0.0"]
	v.Config.Network = events.NetworkOutbound
	f.Versions["1.0.0"] = v
	ask := api.Run{ID: someID, Function: events.FunctionRef{Owner: "ana", Name: "pi"}}
	_, err := decideRun(policy, executions.Execution{}, f, "ana", ask)
	if e, _ := api.AsError(err); e == nil || e.Kind != api.State || !strings.Contains(e.Hint, "--allow-network") {
		t.Errorf("not allowed: %+v", err)
	}
	allowing := policy
	allowing.Network = true
	data, err := decideRun(allowing, executions.Execution{}, f, "ana", ask)
	if requested, ok := data.(events.ExecutionRequested); err != nil || !ok || requested.Network != events.NetworkOutbound {
		t.Errorf("allowed: %+v, %v", data, err)
	}
}
