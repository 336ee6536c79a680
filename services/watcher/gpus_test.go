package watcher

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/services/api"
	"github.com/hermes-serverless/hermes/services/watcher/gpu"
	gpufake "github.com/hermes-serverless/hermes/services/watcher/gpu/fake"
	"github.com/hermes-serverless/hermes/services/watcher/sandbox"
)

const gib = 1 << 30

// gpuWorld is a world with GPUs, which are looked at often.
type gpuWorld struct {
	*world
	gpus     *gpufake.Inventory
	machines chan events.Machine
}

func newGPUWorld(t *testing.T, gpus ...events.GPU) *gpuWorld {
	t.Helper()
	g := &gpuWorld{gpus: gpufake.New(gpus...), machines: make(chan events.Machine, 99)}
	keeper := gpu.NewKeeper(gpu.Options{Inventory: g.gpus, Every: 20 * time.Millisecond, CleanWithin: 300 * time.Millisecond})
	g.world = newWorld(t, func(o *Options) { o.GPUs = keeper })
	sub, err := g.nc.Subscribe(api.WatchSubject(name, api.OpHello), func(m *nats.Msg) {
		var h api.Hello
		if err := json.Unmarshal(m.Data, &h); err != nil {
			t.Error(err)
		}
		g.machines <- h.Machine
	})
	if err == nil {
		err = g.nc.Flush() // the watcher says hello by another connection
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = sub.Unsubscribe() })
	return g
}

// of is a request for a script on devices. All are made before any is placed: a file that is open to be
// written when something else is started cannot be executed.
func (g *gpuWorld) of(script string, devices []string, change ...func(*api.RunRequest)) api.RunRequest {
	g.t.Helper()
	r := g.request(g.function(script, 0o755))
	r.Devices, r.Request.GPUs = devices, len(devices)
	for _, c := range change {
		c(&r)
	}
	return r
}

// on places such a request and returns it, without waiting for its end.
func (g *gpuWorld) on(script string, devices []string, change ...func(*api.RunRequest)) api.RunRequest {
	g.t.Helper()
	r := g.of(script, devices, change...)
	g.place(r)
	return r
}

// computes waits for the processes of the sandbox that was made last, and lets them compute.
func (g *gpuWorld) computes(uuid string, memoryBytes int64) (pid int) {
	g.t.Helper()
	g.eventually("a process runs", func() bool {
		g.box.mu.Lock()
		box := g.box.last
		g.box.mu.Unlock()
		if box == nil {
			return false
		}
		pids, err := box.Processes()
		if err != nil || len(pids) == 0 || slices.Contains(g.gpus.Held(uuid), pids[0]) {
			return false
		}
		pid = pids[0]
		return true
	})
	g.gpus.Compute(uuid, pid, memoryBytes)
	return pid
}

// told waits for a hello whose machine has the device with such a fault.
func (g *gpuWorld) told(uuid, fault string) {
	g.t.Helper()
	for until := time.Now().Add(patience); time.Now().Before(until); {
		m := next(g.t, "hello of the fault "+fault, g.machines)
		for _, d := range m.GPUs {
			if d.UUID == uuid && (fault == "" && d.Fault == "" || fault != "" && strings.Contains(d.Fault, fault)) {
				return
			}
		}
	}
	g.t.Fatalf("no hello says %q of %s", fault, uuid)
}

const forever = "while :; do sleep 0.05; done"

func TestRunOnAGPU(t *testing.T) {
	one, two := gpufake.Whole(1, "H100", 80*gib), gpufake.Whole(2, "H100", 80*gib)
	g := newGPUWorld(t, one, two)
	g.watch()
	if m := next(t, "hello", g.machines); len(m.GPUs) != 2 || m.Driver == "" || m.CUDA == "" {
		t.Errorf("the first hello offers %+v", m)
	}
	until := g.function("while [ ! -e stop ]; do sleep 0.05; done", 0o755)
	r := g.request(until)
	r.Devices, r.Request.GPUs, r.Request.ReuseSandbox = []string{two.UUID}, 1, true
	samples := make(chan api.GPUSamples, 999)
	sub, err := g.nc.Subscribe(events.GPUSubject(name, r.Owner, r.ID), func(m *nats.Msg) {
		var s api.GPUSamples
		if err := json.Unmarshal(m.Data, &s); err != nil {
			t.Error(err)
		}
		samples <- s
	})
	if err != nil {
		t.Fatal(err)
	}
	defer sub.Unsubscribe() //nolint:errcheck // the connection closes
	g.place(r)
	if c := next(t, "claim", g.claims); !slices.Equal(c.Devices, r.Devices) || c.Sandbox != "cold" {
		t.Errorf("claim %+v", c)
	}
	pid := g.computes(two.UUID, 4*gib)
	for s := next(t, "sample", samples); s.Devices[0].MemoryBytes[0] != 4*gib; s = next(t, "sample", samples) {
		if s.Attempt != 1 || len(s.Devices) != 1 || s.Devices[0].UUID != two.UUID || len(s.At) != 1 {
			t.Fatalf("sample %+v", s)
		}
	}
	g.gpus.End(two.UUID, pid, 0)
	g.stopFunction(until)
	report := next(t, "report", g.reports)
	if report.Outcome != api.Succeeded || report.Usage.GPU == nil || report.Usage.GPU.PeakMemoryBytes != 4*gib || report.Usage.GPU.Micros < report.Usage.RunMicros {
		t.Errorf("report %+v, usage %+v", report, report.Usage.GPU)
	}
	if spec := g.box.made[0]; !slices.Equal(spec.Devices, r.Devices) || spec.Renewable {
		t.Errorf("the sandbox was made of %+v", spec)
	}
	if _, _, end := g.output(r); end.Chunks != 0 || end.Cut != "" {
		t.Errorf("the samples are in the output: %+v", end)
	}
	if _, plain := g.run("true"); plain.Outcome != api.Succeeded || plain.Usage.GPU != nil {
		t.Errorf("a run without GPUs: %+v", plain)
	}
}

// stopFunction lets a function end that waits for a file.
func (w *world) stopFunction(artifact events.Blob) {
	w.t.Helper()
	dir, _, err := w.blobs.Dir(w.t.Context(), artifact)
	if err != nil {
		w.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "stop"), nil, 0o644); err != nil {
		w.t.Fatal(err)
	}
}

// TestGPUFailures: the one that fails ends who holds it, is told of, and the other goes on.
func TestGPUFailures(t *testing.T) {
	for what, happens := range map[string]func(*gpuWorld, string){
		"Xid 79": func(g *gpuWorld, uuid string) { g.gpus.Trouble(uuid, "Xid 79") },
		"lost":   func(g *gpuWorld, uuid string) { g.gpus.Lose(uuid) },
		"3 errors": func(g *gpuWorld, uuid string) {
			g.gpus.Set(uuid, func(r *gpu.Reading) { r.MemoryErrors = 3 })
		},
	} {
		t.Run(what, func(t *testing.T) {
			one, two := gpufake.Whole(1, "H100", 80*gib), gpufake.Whole(2, "H100", 80*gib)
			g := newGPUWorld(t, one, two)
			g.watch()
			bad, good, late := g.of(forever, []string{one.UUID}), g.of(forever, []string{two.UUID}), g.of("true", []string{one.UUID})
			g.place(bad)
			next(t, "claim", g.claims)
			g.place(good)
			next(t, "claim", g.claims)
			happens(g, one.UUID)
			report := next(t, "report", g.reports)
			expect(t, report, api.Failed, events.ReasonGPU, what)
			if report.ID != bad.ID || !report.Started || !strings.Contains(report.Message, one.UUID) {
				t.Errorf("report %+v", report)
			}
			g.told(one.UUID, what)
			g.place(late)
			report = next(t, "report", g.reports)
			if expect(t, report, api.Failed, events.ReasonGPU, what); report.ID != late.ID || report.Started {
				t.Errorf("a run that is placed on it all the same: %+v", report)
			}
			g.cancel(good)
			if report := next(t, "report", g.reports); report.ID != good.ID || report.Outcome != api.Cancelled {
				t.Errorf("the other: %+v", report)
			}
		})
	}
}

// TestLeftOnAGPU: the end is told when the GPU is clean, or everybody knows that it is not.
func TestLeftOnAGPU(t *testing.T) {
	one := gpufake.Whole(1, "H100", 80*gib)
	g := newGPUWorld(t, one)
	g.watch()
	next(t, "hello", g.machines)
	r := g.on(forever, []string{one.UUID})
	pid := g.computes(one.UUID, 4*gib)
	g.cancel(r)
	g.told(one.UUID, "in use by process") // before its report
	if report := next(t, "report", g.reports); report.Outcome != api.Cancelled {
		t.Errorf("report %+v", report)
	}
	g.gpus.End(one.UUID, pid, 0)
	g.told(one.UUID, "")
	g.on("true", []string{one.UUID}, func(r *api.RunRequest) { r.Owner = "bob" })
	if report := next(t, "report", g.reports); report.Outcome != api.Succeeded || report.Owner != "bob" {
		t.Errorf("the next user: %+v", report)
	}
}

// TestUnkillableOnAGPU: its GPU is out, and the other goes on.
func TestUnkillableOnAGPU(t *testing.T) {
	one, two := gpufake.Whole(1, "H100", 80*gib), gpufake.Whole(2, "H100", 80*gib)
	g := newGPUWorld(t, one, two)
	g.opts.KillWait = 50 * time.Millisecond
	g.watch()
	g.box.immortal.Store(true)
	r := g.on(forever, []string{one.UUID})
	g.computes(one.UUID, gib)
	g.cancel(r)
	report := next(t, "report", g.reports)
	expect(t, report, api.Failed, events.ReasonGPU, "SIGKILL")
	g.told(one.UUID, "SIGKILL")
	g.box.immortal.Store(false)
	g.on("true", []string{two.UUID})
	if report := next(t, "report", g.reports); report.Outcome != api.Succeeded {
		t.Errorf("on the other: %+v", report)
	}
}

func TestSharesOfAGPU(t *testing.T) {
	one := gpufake.Whole(1, "L4", 24*gib)
	g := newGPUWorld(t, one)
	g.watch()
	share := func(r *api.RunRequest) {
		r.Request.GPU = &events.GPURequest{Count: 1, MemoryBytes: 8 * gib, Shared: true}
	}
	good, bad := g.of(forever, []string{one.UUID}, share), g.of(forever, []string{one.UUID}, share)
	g.place(good)
	kept := g.computes(one.UUID, 8*gib)
	g.place(bad)
	g.eventually("the second sandbox is there", func() bool { return g.box.count() == 2 })
	taken := g.computes(one.UUID, 8*gib+1)
	g.eventually("its process is dead", func() bool { return syscall.Kill(taken, 0) != nil })
	g.gpus.End(one.UUID, taken, 0)
	report := next(t, "report", g.reports)
	expect(t, report, api.Failed, events.ReasonGPUMemory, "8.0 GiB")
	if report.ID != bad.ID {
		t.Errorf("the wrong one is ended: %+v", report)
	}
	g.gpus.End(one.UUID, kept, 0)
	g.cancel(good)
	if report := next(t, "report", g.reports); report.ID != good.ID || report.Outcome != api.Cancelled {
		t.Errorf("the other: %+v", report)
	}
}

func TestIdleOnAGPU(t *testing.T) {
	one := gpufake.Whole(1, "H100", 80*gib)
	g := newGPUWorld(t, one)
	g.watch()
	g.on(forever, []string{one.UUID}, func(r *api.RunRequest) {
		r.Request.GPU = &events.GPURequest{Count: 1, Idle: &events.GPUIdle{BelowPercent: 5, ForMillis: 200}}
	})
	expect(t, next(t, "report", g.reports), api.Failed, events.ReasonGPUIdle, "less than 5 %")
}

func TestGPUsThatCannotBeHad(t *testing.T) {
	one := gpufake.Whole(1, "H100", 80*gib)
	g := newGPUWorld(t, one)
	g.watch()
	g.on("true", []string{"GPU-none"})
	expect(t, next(t, "report", g.reports), api.Failed, events.ReasonGPU, "GPU-none")
	g.on("true", nil, func(r *api.RunRequest) { r.Request.GPUs = 1 })
	expect(t, next(t, "report", g.reports), api.Failed, events.ReasonGPU, "0 GPUs")
	// The runtime may find out before the driver is asked.
	g.box.mu.Lock()
	g.box.fail = func() error { return fmt.Errorf("%w: no node in /dev", sandbox.ErrDevice) }
	g.box.mu.Unlock()
	g.on("true", []string{one.UUID})
	expect(t, next(t, "report", g.reports), api.Failed, events.ReasonGPU, "no node in /dev")
	if n := g.box.count(); n != 0 {
		t.Errorf("%d sandboxes are left", n)
	}
	plain := newWorld(t)
	plain.watch()
	r := plain.request(plain.function("true", 0o755))
	r.Devices, r.Request.GPUs = []string{one.UUID}, 1
	plain.place(r)
	expect(t, next(t, "report", plain.reports), api.Failed, events.ReasonGPU, "no GPUs")
}

// TestConfigCannotChooseGPUs: what NVIDIA's own runtime heeds in an environment is inert here.
func TestConfigCannotChooseGPUs(t *testing.T) {
	g := newGPUWorld(t, gpufake.Whole(1, "H100", 80*gib))
	g.watch()
	_, report := g.run("true", func(r *api.RunRequest) {
		r.Request.Env = map[string]string{"NVIDIA_VISIBLE_DEVICES": "all", "NVIDIA_DRIVER_CAPABILITIES": "all"}
	})
	if spec := g.box.made[0]; report.Outcome != api.Succeeded || len(spec.Devices) > 0 {
		t.Errorf("%+v got the devices %q", report, spec.Devices)
	}
}
