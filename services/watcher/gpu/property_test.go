package gpu_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/services/watcher/gpu"
	"github.com/hermes-serverless/hermes/services/watcher/gpu/fake"
)

// step is one thing that happens on a machine.
type step struct {
	what   string
	device int
	shared bool
	leaks  bool
}

// TestNobodyGetsADirtyOrTakenGPU: whatever happens, who holds a device alone is alone on it, and
// nobody's but its holders' processes were on it when it was given.
func TestNobodyGetsADirtyOrTakenGPU(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		steps := rapid.SliceOfN(rapid.Custom(func(rt *rapid.T) step {
			return step{
				what:   rapid.SampledFrom([]string{"hold", "hold", "end", "end", "xid", "lose", "foreign", "clean", "wait"}).Draw(rt, "what"),
				device: rapid.IntRange(0, 2).Draw(rt, "device"),
				shared: rapid.Bool().Draw(rt, "shared"),
				leaks:  rapid.IntRange(0, 4).Draw(rt, "leaks") == 0,
			}
		}), 1, 30).Draw(rt, "steps")
		wrong := ""
		synctest.Test(t, func(t *testing.T) { wrong = play(t, steps) })
		if wrong != "" {
			rt.Fatal(wrong)
		}
	})
}

// player holds devices as the steps say.
type player struct {
	inventory *fake.Inventory
	keeper    *gpu.Keeper
	gpus      []events.GPU
	holds     map[int][]*runner
	pid       int
	foreign   map[int]int
}

func play(t *testing.T, steps []step) (wrong string) {
	p := &player{holds: map[int][]*runner{}, foreign: map[int]int{}, pid: 100}
	for n := range 3 {
		p.gpus = append(p.gpus, fake.Whole(n+1, "H100", 80*gib))
	}
	p.inventory = fake.New(p.gpus...)
	p.keeper = gpu.NewKeeper(gpu.Options{Inventory: p.inventory, CleanWithin: time.Second})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); p.keeper.Run(ctx) }()
	defer func() { cancel(); <-done }()
	for i, s := range steps {
		if wrong := p.take(ctx, s); wrong != "" {
			return fmt.Sprintf("step %d, %+v: %s", i, s, wrong)
		}
	}
	for device := range p.gpus {
		for len(p.holds[device]) > 0 {
			p.end(device, false)
		}
	}
	return ""
}

func (p *player) take(ctx context.Context, s step) (wrong string) {
	uuid := p.gpus[s.device].UUID
	switch s.what {
	case "hold":
		return p.hold(ctx, s)
	case "end":
		if len(p.holds[s.device]) > 0 {
			p.end(s.device, s.leaks)
		}
	case "xid":
		p.inventory.Trouble(uuid, "Xid 79")
	case "lose":
		p.inventory.Lose(uuid)
	case "foreign":
		p.pid++
		p.inventory.Compute(uuid, p.pid, gib)
		p.foreign[s.device] = p.pid
	case "clean":
		p.inventory.End(uuid, p.foreign[s.device], 0)
		if len(p.holds[s.device]) == 0 {
			p.inventory.Set(uuid, func(r *gpu.Reading) { r.MemoryBytes, r.Processes = 0, nil })
		}
	case "wait":
		time.Sleep(7 * time.Second)
	}
	synctest.Wait()
	return ""
}

func (p *player) hold(ctx context.Context, s step) (wrong string) {
	uuid := p.gpus[s.device].UUID
	before, err := p.inventory.Read(uuid)
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	h, failed := p.keeper.Hold(ctx, gpu.Ask{Devices: []string{uuid}, Shared: s.shared, MemoryBytes: 40 * gib})
	if failed != nil {
		return ""
	}
	r := &runner{Hold: h, shared: s.shared}
	others := len(p.holds[s.device])
	p.pid++
	r.begin(p.pid)
	p.inventory.Compute(uuid, p.pid, gib)
	p.holds[s.device] = append(p.holds[s.device], r)
	switch {
	case err != nil:
		return "a lost device is given"
	case others > 0 && (!s.shared || !p.holds[s.device][0].shared):
		return "it is given alone beside others"
	case others == 0 && len(before.Processes) > 0:
		return fmt.Sprintf("it is given with %+v on it", before.Processes)
	case others == 0 && before.MemoryBytes > 0:
		return fmt.Sprintf("it is given with %d bytes in use", before.MemoryBytes)
	}
	return ""
}

func (p *player) end(device int, leaks bool) {
	r := p.holds[device][0]
	p.holds[device] = p.holds[device][1:]
	leaked := int64(0)
	if leaks {
		leaked = gib
	}
	p.inventory.End(p.gpus[device].UUID, r.pids[0], leaked)
	r.Stop()
	r.Free()
}
