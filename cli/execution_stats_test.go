package cli

import (
	"strings"
	"testing"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/projections/executions"
	"github.com/hermes-serverless/hermes/services/api"
)

// TestStatsOfGPUs: the time for which each function held them is summed up, and shown where some were.
func TestStatsOfGPUs(t *testing.T) {
	s := newStub(t)
	of := func(name string, gpu *events.GPUUsage) api.Execution {
		return state(executions.Success, func(e *api.Execution) {
			e.Request.Function.Name, e.Usage = name, events.Usage{RunMicros: 2e6, CPUMicros: 1e6, GPU: gpu}
		})
	}
	page := api.Executions{Executions: []api.Execution{
		of("train", &events.GPUUsage{Micros: 3e6}), of("pi", nil), of("train", &events.GPUUsage{Micros: 1_500_000}),
	}}
	answer(s, api.OpExecutionList, func(api.ExecutionList) (api.Executions, error) { return page, nil })
	lines := strings.Split(s.run("", "execution", "stats").out, "\n")
	want := []string{
		"Function Executions Failed Run seconds CPU seconds GPU seconds",
		"ana/train:1.0.0 2 0 4.00 2.00 4.50",
		"ana/pi:1.0.0 1 0 2.00 1.00 0.00", "",
	}
	for i, line := range lines[max(0, len(lines)-len(want)):] {
		if got := strings.Join(strings.Fields(line), " "); got != want[i] {
			t.Errorf("line %d is %q, want %q", i, got, want[i])
		}
	}
	if got := s.run("", "execution", "stats", "-j"); !strings.Contains(got.out, `"gpuSeconds": 4.5`) {
		t.Errorf("%+v", got)
	}
	page.Executions = page.Executions[1:2]
	if got := s.run("", "execution", "stats"); strings.Contains(got.out, "GPU") || !strings.Contains(got.out, "CPU seconds") {
		t.Errorf("without GPUs: %+v", got)
	}
}
