package orchestrator

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/projections/executions"
	"github.com/hermes-serverless/hermes/projections/functions"
	"github.com/hermes-serverless/hermes/services/api"
)

func gpuPi(capable bool, asks *events.GPURequest) functions.Function {
	f := pi("private", "1.0.0")
	v := f.Versions["1.0.0"]
	v.Config.GPUCapable, v.Config.GPU = capable, asks
	f.Versions["1.0.0"] = v
	return f
}

func TestDecideRunMergesWhatIsAskedOfGPUs(t *testing.T) {
	idle := &events.GPUIdle{BelowPercent: 5, ForMillis: 60_000}
	full := &events.GPURequest{Count: 2, MemoryBytes: 8 << 30, Models: []string{"H100"}, Shared: true, Driver: ">=550", Idle: idle}
	for _, c := range []struct {
		name    string
		capable bool
		config  *events.GPURequest
		ask     *api.GPU
		gpus    int
		want    *events.GPURequest
		err     string
	}{
		{"none", false, nil, nil, 0, nil, ""},
		{"gpuCapable alone is one whole GPU", true, nil, nil, 1, nil, ""},
		{"as its config says", true, full, nil, 2, full, ""},
		{"a number over the config's", true, nil, &api.GPU{Count: 4}, 4, nil, ""},
		{"what the run leaves out stays", true, full, &api.GPU{Count: 1, Models: []string{"A100", "L4"}, Share: "exclusive"}, 1,
			&events.GPURequest{Count: 1, MemoryBytes: 8 << 30, Models: []string{"A100", "L4"}, Driver: ">=550", Idle: idle}, ""},
		{"a function without GPUs", false, nil, &api.GPU{Count: 1}, 0, nil, "gpu: the function ana/pi asks for no GPU"},
		{"shared, of what", true, nil, &api.GPU{Share: "shared"}, 0, nil, `gpu: share: "shared" needs memory`},
		{"too many", true, nil, &api.GPU{Count: 65}, 0, nil, "gpu: count: 65 must be"},
		{"less than none", true, full, &api.GPU{Count: -1}, 0, nil, "gpu: count: -1 must be"},
		{"less memory than none", true, full, &api.GPU{MemoryBytes: -1}, 0, nil, "gpu: memory: -1 bytes"},
		{"a word that is none", true, full, &api.GPU{Share: "some"}, 0, nil, `gpu: share: "some" must be`},
		{"a model that is none", true, full, &api.GPU{Models: []string{"\x1b[2J"}}, 0, nil, "gpu: model:"},
		{"a driver that is none", true, full, &api.GPU{Driver: "new"}, 0, nil, "gpu: driver:"},
		{"idle for no time", true, full, &api.GPU{Idle: &events.GPUIdle{BelowPercent: 5}}, 0, nil, "gpu: idle:"},
	} {
		t.Run(c.name, func(t *testing.T) {
			ask := api.Run{ID: someID, Function: events.FunctionRef{Owner: "ana", Name: "pi"}, GPU: c.ask}
			data, err := decideRun(policy, executions.Execution{}, gpuPi(c.capable, c.config), "ana", ask)
			if c.err != "" {
				if e, ok := api.AsError(err); !ok || e.Name != api.InvalidArguments || !strings.HasPrefix(e.Message, c.err) {
					t.Fatalf("got %v, want %s", err, c.err)
				}
				return
			}
			requested, ok := data.(events.ExecutionRequested)
			if err != nil || !ok {
				t.Fatalf("got %T, %v", data, err)
			}
			if diff := cmp.Diff(c.want, requested.GPU); requested.GPUs != c.gpus || diff != "" {
				t.Errorf("%d GPUs, want %d: %s", requested.GPUs, c.gpus, diff)
			}
		})
	}
}

func TestRerunKeepsWhatWasAskedOfGPUs(t *testing.T) {
	want := &events.GPURequest{Count: 2, Models: []string{"H100"}}
	origin := executions.Execution{ID: someID, Owner: "ana", Status: executions.Success, Request: events.ExecutionRequested{
		Kind: events.KindRun, Function: events.FunctionRef{Owner: "ana", Name: "pi", Version: "1.0.0"}, GPUs: 2, GPU: want,
	}}
	r, err := rerunRequest(policy, origin, gpuPi(true, nil), "ana", api.Rerun{ID: someID})
	if diff := cmp.Diff(want, r.GPU); err != nil || r.GPUs != 2 || diff != "" {
		t.Errorf("%d GPUs, %v: %s", r.GPUs, err, diff)
	}
}
