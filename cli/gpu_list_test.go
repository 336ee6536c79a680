package cli

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/projections/executions"
	"github.com/hermes-serverless/hermes/services/api"
)

func TestGPUList(t *testing.T) {
	s := newStub(t)
	h100 := events.GPU{UUID: "GPU-1", Model: "NVIDIA H100", MemoryBytes: 80 << 30}
	broken := events.GPU{UUID: "GPU-2", Model: "NVIDIA H100", MemoryBytes: 80 << 30, Fault: "Xid 79"}
	part := events.GPU{UUID: "MIG-1", Model: "NVIDIA A100", MemoryBytes: 5 << 30, Parent: "GPU-3", Profile: "1g.5gb"}
	list := api.GPUs{Waiting: 3, Yours: []string{"01C"}, GPUs: []api.GPUState{
		{Watcher: "gpu1", GPU: h100, Users: 2, Yours: []string{"01A"}, Reading: &api.GPUReading{UtilisationPercent: 97, MemoryBytes: 4 << 30}},
		{Watcher: "gpu1", GPU: broken},
		{Watcher: "gpu2", GPU: part, Users: 1, Reading: &api.GPUReading{UtilisationPercent: -1, MemoryBytes: 1 << 30}},
		{Watcher: "gpu2", GPU: h100, Drained: "drained by the operator: new fan", Users: 1},
		{Watcher: "gpu3", GPU: h100},
	}}
	answer(s, api.OpGPUList, func(api.GPUList) (api.GPUs, error) { return list, nil })
	got := s.run("", "gpu", "list")
	want := `Watcher   GPU     Model                Memory              Used   State
gpu1      GPU-1   NVIDIA H100          4 GiB of 80 GiB   97 %   yours: 01A and 1 more
gpu1      GPU-2   NVIDIA H100          80 GiB              -      out of order: Xid 79
gpu2      MIG-1   NVIDIA A100 1g.5gb   1 GiB of 5 GiB   -      in use
gpu2      GPU-1   NVIDIA H100          80 GiB              -      in use; drained by the operator: new fan
gpu3      GPU-1   NVIDIA H100          80 GiB              -      free
`
	if squeeze(got.out) != squeeze(want) || got.code != 0 || got.err != "hermes: 3 execution(s) wait for GPUs, 1 of them yours\n" {
		t.Errorf("printed\n%s%s, code %d", got.out, got.err, got.code)
	}
	got = s.run("", "gpu:list", "--json")
	var back api.GPUs
	if err := json.Unmarshal([]byte(got.out), &back); err != nil || !reflect.DeepEqual(back, list) {
		t.Errorf("%+v, %v", back, err)
	}
	list = api.GPUs{}
	if got = s.run("", "gpu", "list"); got.out != "" || got.err != "hermes: the fleet has no GPU\nhermes: nothing waits for GPUs\n" {
		t.Errorf("%+v", got)
	}
}

// TestTopOfGPUs: what they do, for people and for programs; a fleet without any is asked nothing more.
func TestTopOfGPUs(t *testing.T) {
	s := newStub(t)
	fleet := api.Fleet{Watchers: []api.FleetWatcher{{Name: "gpu1", State: api.WatcherReady, Slots: 2, UsedGPUs: 1, GPUs: []api.FleetGPU{{Model: "NVIDIA H100"}, {Model: "NVIDIA H100"}}}}}
	list := api.GPUs{GPUs: []api.GPUState{
		{Watcher: "gpu1", GPU: events.GPU{UUID: "GPU-1", Model: "NVIDIA H100", MemoryBytes: 80 << 30}, Users: 1, Yours: []string{"01A"},
			Reading: &api.GPUReading{UtilisationPercent: 97, MemoryBytes: 4 << 30, PowerMilliwatts: 611_600}},
		{Watcher: "gpu1", GPU: events.GPU{UUID: "GPU-2", Model: "NVIDIA H100", MemoryBytes: 80 << 30}},
	}}
	asked := 0
	answer(s, api.OpFleet, func(api.FleetRequest) (api.Fleet, error) { return fleet, nil })
	answer(s, api.OpGPUList, func(api.GPUList) (api.GPUs, error) { asked++; return list, nil })
	answer(s, api.OpExecutionList, func(api.ExecutionList) (api.Executions, error) { return api.Executions{}, nil })
	got := s.run("", "top", "--once")
	want := `
Machine GPU Model Used Memory Power State
gpu1 GPU-1 NVIDIA H100 97 % 4.0 GiB/80 GiB 612 W yours: 01A
gpu1 GPU-2 NVIDIA H100 - 80 GiB - free
`
	if !strings.HasSuffix(squeeze(got.out), want) || got.code != 0 {
		t.Errorf("printed\n%s%s, code %d; want at its end%s", got.out, got.err, got.code, want)
	}
	var f frame
	if got := s.run("", "top", "--once", "-o", "json"); json.Unmarshal([]byte(got.out), &f) != nil || !reflect.DeepEqual(f.GPUs, list.GPUs) {
		t.Errorf("%+v", got)
	}
	fleet.Watchers[0].GPUs = nil
	if got := s.run("", "top", "--once"); asked != 2 || got.code != 0 || strings.Contains(got.out, "Power") {
		t.Errorf("asked %d times: %+v", asked, got)
	}
}

// squeeze leaves one blank between columns.
func squeeze(text string) string {
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		lines[i] = strings.Join(strings.Fields(line), " ")
	}
	return strings.Join(lines, "\n")
}

func TestInspectGPU(t *testing.T) {
	s := newStub(t)
	e := api.Execution{Execution: executions.Execution{
		ID: "01A", Owner: "ana", Number: 7, Status: executions.Success, Attempt: 1, Devices: []string{"GPU-1", "MIG-1"},
		StartedAt: time.Unix(100, 0), EndedAt: time.Unix(110, 0),
		Usage: events.Usage{GPU: &events.GPUUsage{Micros: 10_000_000, PeakMemoryBytes: 4 << 30, MeanUtilisationPercent: 42, EnergyMillijoules: 1_500_000}},
	}}
	plot := api.GPUPlot{Attempt: 1, From: time.Unix(100, 0), StepMillis: 1000, Partial: "there is more", Devices: []api.GPUTrace{
		{UUID: "GPU-1", UtilisationPercent: []int{10, -1, 90}, MemoryBytes: []int64{1 << 30, -1, 2 << 30}, PowerMilliwatts: []int64{100_000, 0, 300_000}},
		{UUID: "MIG-1", UtilisationPercent: []int{-1}, MemoryBytes: []int64{1 << 20}, PowerMilliwatts: []int64{0}},
	}}
	answer(s, api.OpExecutionInspect, func(api.ExecutionRef) (api.Execution, error) { return e, nil })
	answer(s, api.OpExecutionGPU, func(ask api.ExecutionGPU) (api.GPUPlot, error) {
		if ask.Number != 7 {
			t.Errorf("asked for %+v", ask)
		}
		return plot, nil
	})
	got := s.run("", "execution", "inspect", "7", "--gpu")
	for _, want := range []string{
		"gpuTime          10s", "gpuPeakMemory    4 GiB", "gpuUtilisation   42 %", "gpuEnergy        1500.0 J",
		"\nGPU-1\n", "100 %", "2 GiB", "300 W", "utilisation, 3s", "memory, 3s", "power, 3s", "\nMIG-1\n", "utilisation: the GPU does not tell", "1 MiB",
	} {
		if !strings.Contains(got.out, want) {
			t.Errorf("%q is not in\n%s%s", want, got.out, got.err)
		}
	}
	if !strings.Contains(got.err, "there is more") || got.code != 0 {
		t.Errorf("%+v", got)
	}
	plot.Devices = []api.GPUTrace{{UUID: "GPU-1", UtilisationPercent: []int{-1}, MemoryBytes: []int64{-1}, PowerMilliwatts: []int64{0}}}
	e.Usage.GPU = &events.GPUUsage{Micros: 200_000, EnergyMillijoules: 1000}
	if got = s.run("", "execution", "inspect", "7", "--gpu"); !strings.Contains(got.out, "GPU-1\nno reading: they are taken once a second\n") ||
		strings.Contains(got.out, "gpuUtilisation") || !strings.Contains(got.out, " 1.0 J\n") {
		t.Errorf("of a run without a reading: %+v", got)
	}
	plot = api.GPUPlot{}
	if got = s.run("", "execution:inspect", "7", "--gpu"); !strings.Contains(got.err, "was given no GPU") {
		t.Errorf("%+v", got)
	}
	for _, other := range []string{"--at=-1s", "-r"} {
		if got := s.run("", "execution", "inspect", "7", "--gpu", other); got.code != 2 {
			t.Errorf("with %s: %+v", other, got)
		}
	}
}
