package instance_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/projections/executions"
	"github.com/hermes-serverless/hermes/services/api"
	"github.com/hermes-serverless/hermes/services/hermesd/instance"
	"github.com/hermes-serverless/hermes/services/hermesd/metrics"
	gpufake "github.com/hermes-serverless/hermes/services/watcher/gpu/fake"
)

// TestGPUsOfAnInstance: a function that asks for a GPU is given one and told what it took of it, through
// all parts of an instance.
func TestGPUsOfAnInstance(t *testing.T) {
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	one, two := gpufake.Whole(1, "NVIDIA H100", 80<<30), gpufake.Whole(2, "NVIDIA H100", 80<<30)
	two.Fault = "rows of its memory failed"
	dir := t.TempDir()
	set := metrics.New("0.0.0")
	server := httptest.NewServer(set.Handler())
	defer server.Close()
	defer http.DefaultClient.CloseIdleConnections()
	in := startWith(t, dir, func(o *instance.Options) { o.GPUs, o.Metrics = gpufake.New(one, two), set })
	c := client(t, dir, in)
	list, err := api.Call[api.GPUs](ctx, c, api.OpGPUList, api.GPUList{}) // at once: it has started when its watcher is known
	if err != nil || len(list.GPUs) != 2 || list.GPUs[0].GPU != one || list.GPUs[0].Users != 0 || list.GPUs[1].GPU.Fault == "" {
		t.Errorf("%+v, %v", list, err)
	}
	deploy(ctx, t, c, map[string]string{
		"hermes.config.json": `{"functionName":"f","language":"cpp","gpuCapable":true,"functionVersion":"1.0.0","handler":"./run.sh"}`,
		"Makefile":           "all:\n\t@true\nclean:\n\t@true\n",
		"run.sh":             "#!/bin/sh\nsleep 2; echo printed\n",
	})
	id := api.NewID()
	if _, err := api.Call[api.Accepted](ctx, c, api.OpRun, api.Run{ID: id, Function: events.FunctionRef{Name: "f"}}); err != nil {
		t.Fatal(err)
	}
	e := wait(ctx, t, c, id)
	if e.Status != executions.Success || len(e.Devices) != 1 || e.Devices[0] != one.UUID || e.Usage.GPU == nil || e.Usage.GPU.Micros < 1_000_000 {
		t.Fatalf("%+v, usage %+v", e, e.Usage.GPU)
	}
	cpuinfo, err := os.ReadFile("/proc/cpuinfo")
	named := err == nil && strings.Contains(string(cpuinfo), "model name")
	if !slices.Equal(e.Hardware.GPUModels, []string{one.Model}) || (e.Hardware.CPUModel != "") != named {
		t.Errorf("it ran on %+v", e.Hardware)
	}
	plot, err := api.Call[api.GPUPlot](ctx, c, api.OpExecutionGPU, api.ExecutionGPU{ExecutionRef: api.ExecutionRef{ID: id}})
	if err != nil || len(plot.Devices) != 1 || plot.Devices[0].UUID != one.UUID {
		t.Fatalf("%+v, %v", plot, err)
	}
	known := 0
	for _, percent := range plot.Devices[0].UtilisationPercent {
		if percent >= 0 {
			known++
		}
	}
	if known == 0 {
		t.Errorf("no reading of a run of two seconds is in its plot: %+v", plot)
	}
	told := series(scrape(ctx, t, server.URL))
	for uuid, fault := range map[string]float64{one.UUID: 0, two.UUID: 1} {
		labels := fmt.Sprintf("{gpu=%q,model=%q}", uuid, one.Model)
		if got, there := told["gauge hermes_gpu_fault"+labels]; !there || got != fault {
			t.Errorf("hermes_gpu_fault%s is %v, %v; want %v", labels, got, there, fault)
		}
		if _, there := told["gauge hermes_gpu_memory_used_bytes"+labels]; !there {
			t.Errorf("the memory of %s is not told", uuid)
		}
	}
	if err := in.Stop(); err != nil {
		t.Error(err)
	}
}
