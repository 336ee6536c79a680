package cli

import (
	"strings"
	"testing"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/projections/executions"
	"github.com/hermes-serverless/hermes/services/api"
)

// TestInspectShowsTheHardware: what a run ran on is there for people too, and only what is known of it.
func TestInspectShowsTheHardware(t *testing.T) {
	for name, c := range map[string]struct {
		hardware events.Hardware
		shows    []string
	}{
		"nothing is known": {events.Hardware{}, nil},
		"a processor":      {events.Hardware{CPUModel: "EPYC\x1b[2J 9654"}, []string{"cpuModel EPYC\uFFFD[2J 9654 "}},
		"GPUs": {events.Hardware{CPUModel: "EPYC", GPUModels: []string{"NVIDIA H200", "NVIDIA A100", "NVIDIA H200"}, Driver: "550.54.15"},
			[]string{"cpuModel EPYC ", "gpuModel NVIDIA A100, 2 × NVIDIA H200 ", "driver 550.54.15 "}},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStub(t)
			answer(s, api.OpExecutionInspect, func(api.ExecutionRef) (api.Execution, error) {
				return state(executions.Running, func(e *api.Execution) { e.ID, e.Hardware = "01", c.hardware }), nil
			})
			(&scripted{output: "3.14\n"}).serve(s)
			got := s.run("", "execution", "inspect", "15")
			lines := 0
			for _, key := range []string{"cpuModel", "gpuModel", "driver"} {
				lines += strings.Count(got.out, "\n"+key+" ")
			}
			if got.code != 0 || lines != len(c.shows) {
				t.Errorf("code %d, it shows\n%s%s", got.code, got.out, got.err)
			}
			for _, want := range c.shows {
				if !strings.Contains(strings.Join(strings.Fields(got.out), " ")+" ", want) {
					t.Errorf("%q is not in\n%s", want, got.out)
				}
			}
		})
	}
}
