package orchestrator

import (
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/projections/executions"
	"github.com/hermes-serverless/hermes/services/api"
)

// registerGPU puts a built function that wants GPUs into the log.
func (w *world) registerGPU(name string, r *events.GPURequest) {
	w.t.Helper()
	subject := events.FunctionSubject("ana", name)
	blob := events.Blob{Digest: "sha256:" + zeros, SizeBytes: 1}
	registered := w.append(w.opts.Functions, subject, 0, events.FunctionRegistered{
		Version: "1.0.0", Base: "host", Build: "B", Bundle: blob, Reuses: "A",
		Config: events.FunctionConfig{Language: "cuda", Scope: "public", Handler: "a.out", GPUCapable: true, GPU: r},
	})
	w.append(w.opts.Functions, subject, registered, events.FunctionBuilt{Version: "1.0.0", Build: "B", BuiltBy: "A", Artifact: blob})
}

// runGPU requests an execution of it.
func (w *world) runGPU(user, name string, gpu *api.GPU) string {
	w.t.Helper()
	id := api.NewID()
	w.eventually("a run is accepted", func() bool {
		_, err := askAs[api.Accepted](w, user, api.OpRun, api.Run{ID: id, Function: events.FunctionRef{Owner: "ana", Name: name}, GPU: gpu})
		if err != nil && !api.IsKind(err, api.Unavailable) {
			w.t.Fatal(err)
		}
		return err == nil
	})
	return id
}

// gpuWatcher is a watcher with so many GPUs.
func (w *world) gpuWatcher(name string, devices ...events.GPU) *watch {
	watch := w.watcher(name, 8)
	watch.machine.GPUs, watch.machine.Driver, watch.machine.CPUModel = devices, "550.54.15", "a CPU"
	return watch
}

// waits says that an execution has a place in the queue.
func (w *world) waits(user, id string) bool {
	e, err := askAs[api.Execution](w, user, api.OpExecutionInspect, api.ExecutionRef{ID: id})
	return err == nil && e.Position > 0
}

func TestGPUsAreGivenAndGivenBack(t *testing.T) {
	w := newWorld(t)
	w.orchestrate()
	w.registerGPU("pi", nil)
	gpu := w.gpuWatcher("gpu1", gpus(2, "a", "NVIDIA L4", 24)...).hello()
	first := w.runGPU("ana", "pi", &api.GPU{Count: 2})
	request := gpu.next()
	if want := []string{"GPU-a-0", "GPU-a-1"}; request.ID != first || !slices.Equal(request.Devices, want) || request.Request.GPUs != 2 {
		t.Fatalf("sent %+v, want %v", request, want)
	}
	second := w.runGPU("bob", "pi", nil)
	w.eventually("the second waits", func() bool { return w.waits("bob", second) })
	if reply := gpu.claim(request.AttemptRef); !reply.Granted {
		t.Fatal(reply.Why)
	}
	on := events.Hardware{CPUModel: "a CPU", GPUModels: []string{"NVIDIA L4", "NVIDIA L4"}, Driver: "550.54.15"}
	if e := w.state(first); !slices.Equal(e.Devices, request.Devices) || !reflect.DeepEqual(e.Hardware, on) {
		t.Errorf("started on %v, %+v", e.Devices, e.Hardware)
	}
	gpu.report(request.AttemptRef, api.Succeeded)
	if next := gpu.next(); next.ID != second || !slices.Equal(next.Devices, []string{"GPU-a-0"}) {
		t.Errorf("behind the first: %+v", next)
	}
}

func TestClaimOfOtherDevicesIsRefused(t *testing.T) {
	w := newWorld(t)
	w.orchestrate()
	w.registerGPU("pi", nil)
	gpu := w.gpuWatcher("gpu1", gpus(2, "a", "NVIDIA L4", 24)...).hello()
	id := w.runGPU("ana", "pi", nil)
	request := gpu.next()
	gpu.devices[request.AttemptRef] = []string{"GPU-a-1"}
	if reply := gpu.claim(request.AttemptRef); reply.Granted || !strings.Contains(reply.Why, "other devices") {
		t.Fatalf("got %+v", reply)
	}
	if again := gpu.next(); again.ID != id || !slices.Equal(again.Devices, []string{"GPU-a-0"}) {
		t.Errorf("placed anew: %+v", again)
	}
}

// The next leader knows what was given, of what runs from the log, of what waits from the run requests.
func TestNextLeaderKnowsWhoHasWhichGPU(t *testing.T) {
	w := newWorld(t)
	_, stop := w.orchestrate()
	w.registerGPU("pi", nil)
	gpu := w.gpuWatcher("gpu1", gpus(3, "a", "NVIDIA L4", 24)...).hello()
	w.runGPU("ana", "pi", nil)
	running := gpu.start()
	placed := w.runGPU("bob", "pi", nil)
	request := gpu.next()
	stop()
	w.orchestrate()
	gpu.hello(running)
	third := w.runGPU("cay", "pi", nil)
	if got := gpu.next(); got.ID != third || !slices.Equal(got.Devices, []string{"GPU-a-2"}) {
		t.Errorf("the third got %+v", got)
	}
	if reply := gpu.claim(request.AttemptRef); request.ID != placed || !reply.Granted {
		t.Errorf("what was placed before is refused: %+v", reply)
	}
	fourth := w.runGPU("dan", "pi", nil)
	w.eventually("the fourth waits", func() bool { return w.waits("dan", fourth) })
	gpu.report(running, api.Succeeded)
	if got := gpu.next(); got.ID != fourth || !slices.Equal(got.Devices, []string{"GPU-a-0"}) {
		t.Errorf("the fourth got %+v", got)
	}
}

// What waits on a GPU that is lost, or out of order, goes to another one; what runs there stays.
func TestLostGPUIsNotWaitedFor(t *testing.T) {
	w := newWorld(t)
	w.orchestrate()
	w.registerGPU("pi", nil)
	devices := gpus(3, "a", "NVIDIA L4", 24)
	gpu := w.gpuWatcher("gpu1", devices...).hello()
	id := w.runGPU("ana", "pi", nil)
	running := gpu.start()
	other := w.runGPU("bob", "pi", nil)
	request := gpu.next()
	gpu.machine.GPUs = slices.Clone(devices)
	gpu.machine.GPUs[0].Fault, gpu.machine.GPUs[1].Fault = "Xid 79", "Xid 79"
	gpu.hello(running)
	if reply := gpu.claim(request.AttemptRef); reply.Granted {
		t.Error("a claim of a device that is out of order is granted")
	}
	if again := gpu.next(); again.ID != other || !slices.Equal(again.Devices, []string{"GPU-a-2"}) {
		t.Errorf("placed anew: %+v", again)
	}
	if e := w.state(id); e.Status != executions.Running {
		t.Errorf("what runs there is %s", e.Status)
	}
}

// TestChangesOfGPUsAreEvents: a GPU that is lost, another driver and another partition are in the log of the
// watcher, each once; a hello that tells nothing new is not.
func TestChangesOfGPUsAreEvents(t *testing.T) {
	w := newWorld(t)
	w.orchestrate()
	whole := gpus(2, "a", "NVIDIA A100", 40)
	gpu := w.gpuWatcher("gpu1", whole...).hello()
	told := []events.Machine{gpu.machine}
	for _, change := range []func(*events.Machine){
		func(m *events.Machine) { m.GPUs[0].Fault = "Xid 79: it has fallen off the bus" },
		func(*events.Machine) {},
		func(m *events.Machine) { m.GPUs = m.GPUs[1:] },
		func(m *events.Machine) { m.GPUs = slices.Concat(m.GPUs, mig(2, "b", 5)) },
		func(m *events.Machine) { m.Driver = "580.95.05" },
		func(*events.Machine) {},
		func(m *events.Machine) { m.GPUs, m.Driver = nil, "" },
	} {
		before := gpu.machine
		gpu.machine.GPUs = slices.Clone(gpu.machine.GPUs)
		change(&gpu.machine)
		if gpu.hello(); !reflect.DeepEqual(before, gpu.machine) {
			told = append(told, gpu.machine)
		}
	}
	var kept []events.Machine
	for record, err := range w.opts.Fleet.Read(t.Context(), events.WatcherSubject("gpu1"), 0) {
		if err != nil {
			t.Fatal(err)
		}
		switch d := record.Data.(type) {
		case events.WatcherJoined:
			kept = append(kept, d.Machine)
		case events.WatcherChanged:
			kept = append(kept, d.Machine)
		}
	}
	if diff := cmp.Diff(told, kept, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("told, and kept: %s", diff)
	}
}

func TestNoGPUInTheFleetEndsARunAtOnce(t *testing.T) {
	w := newWorld(t)
	w.orchestrate()
	w.registerGPU("pi", nil)
	w.watcher("cpu", 2).hello()
	id := w.runGPU("ana", "pi", nil)
	w.eventually("it has ended", func() bool { return w.state(id).Status.Final() })
	if e := w.state(id); e.Reason != events.ReasonUnplaceable || !strings.Contains(e.Message, "the fleet has no GPU: add a machine") {
		t.Errorf("it ended with %s: %s", e.Reason, e.Message)
	}
}

// What is compiled is for the GPUs that the fleet has, wherever it is compiled.
func TestBuildsAreForTheFleetsGPUs(t *testing.T) {
	h100, l4 := gpus(2, "h", "NVIDIA H100", 80), gpus(1, "l", "NVIDIA L4", 24)
	h100[0].ComputeCapability, h100[1].ComputeCapability, l4[0].ComputeCapability = "9.0", "9.0", "8.9"
	w := newWorld(t)
	w.orchestrate()
	w.gpuWatcher("gpu1", h100...).hello()
	w.gpuWatcher("gpu2", l4...).hello()
	w.eventually("the fleet is seen", func() bool {
		watchers, err := w.opts.Views.Watchers(t.Context())
		return err == nil && len(watchers) == 2
	})
	for language, want := range map[string][]string{"cuda": {"8.9", "9.0"}, "cpp": nil} {
		name := "of_" + language
		w.append(w.opts.Functions, events.FunctionSubject("ana", name), 0, events.FunctionRegistered{
			Version: "1.0.0", Base: "host", Build: api.NewID(), Bundle: events.Blob{Digest: uploaded, SizeBytes: 1},
			Config: events.FunctionConfig{Language: language, Handler: "a.out"},
		})
		var build api.Execution
		w.eventually("its build is asked for", func() bool {
			page, err := ask[api.Executions](w, api.OpExecutionList, api.ExecutionList{ExecutionFilter: api.ExecutionFilter{Function: events.FunctionRef{Name: name}}})
			if err == nil && len(page.Executions) == 1 {
				build = page.Executions[0]
			}
			return build.ID != ""
		})
		if got := w.state(build.ID).Request.ComputeCapabilities; !slices.Equal(got, want) {
			t.Errorf("a build of %s is for %v, want %v", language, got, want)
		}
	}
}
