package watcher

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/services/api"
	"github.com/hermes-serverless/hermes/services/watcher/gpu"
)

// holdWithin is how long an attempt waits for who held its GPUs before. The orchestrator gives them away
// again only behind an end that was reported, which is when they are clean: only one whose end was
// noted without this watcher can still be there.
const holdWithin = 2 * time.Minute

// machine is what the watcher offers now.
func (w *Watcher) machine() events.Machine {
	m := w.Machine
	if w.GPUs != nil {
		now := w.GPUs.Machine()
		m.GPUs, m.Driver, m.CUDA = now.GPUs, now.Driver, now.CUDA
	}
	return m
}

// gpuReadings are what the lease tells of the machine's devices.
func (w *Watcher) gpuReadings() []api.GPUReading {
	readings, _ := w.GPUs.Readings()
	var all []api.GPUReading
	for _, g := range w.GPUs.Machine().GPUs {
		if r, known := readings[g.UUID]; known {
			all = append(all, api.GPUReading{
				UUID: g.UUID, UtilisationPercent: r.UtilisationPercent, MemoryBytes: r.MemoryBytes, PowerMilliwatts: r.PowerMilliwatts,
			})
		}
	}
	return all
}

// holdGPUs holds what an attempt was given.
func (w *Watcher) holdGPUs(ctx context.Context, a *attempt, p *prepared) error {
	if len(a.Devices) == 0 && a.Request.GPUs == 0 {
		return nil
	}
	switch {
	case w.GPUs == nil:
		return &preparing{events.ReasonGPU, errors.New("this watcher gives its sandboxes no GPUs")}
	case len(a.Devices) != a.Request.GPUs:
		return &preparing{events.ReasonGPU, fmt.Errorf("it was given %d GPUs and asks for %d", len(a.Devices), a.Request.GPUs)}
	}
	ask := gpu.Ask{Devices: a.Devices}
	if r := a.Request.GPU; r != nil {
		ask.Shared, ask.MemoryBytes, ask.Idle = r.Shared, r.MemoryBytes, r.Idle
	}
	ctx, cancel := context.WithTimeout(ctx, holdWithin)
	defer cancel()
	var err error
	if p.hold, err = w.GPUs.Hold(ctx, ask); err != nil {
		return gpuError(err)
	}
	return nil
}

func gpuError(err error) error {
	return &preparing{events.ReasonGPU, fmt.Errorf("its GPUs cannot be had: %w; run it again", err)}
}

// useGPUs begins to look after the GPUs of an attempt. The function that it returns ends that, and says
// what the attempt took of them.
func (w *Watcher) useGPUs(a *attempt, p *prepared) (end func() *events.GPUUsage) {
	if p == nil || p.hold == nil {
		return func() *events.GPUUsage { return nil }
	}
	side := newSide(w.Conn, w.Name, a)
	p.hold.Begin(gpu.Holder{
		Processes: p.Box.Processes,
		End: func(cause gpu.Cause, why string) {
			w.Log.Warn("an execution is ended because of its GPUs", "execution", a.ID, "why", why)
			a.haltBecause(causeOf(cause), why)
		},
		Samples: side.add,
	})
	return func() *events.GPUUsage {
		usage := p.hold.Stop()
		side.flush()
		return usage
	}
}

func causeOf(c gpu.Cause) cause {
	switch c {
	case gpu.OverMemory:
		return gpuMemory
	case gpu.Idle:
		return gpuIdle
	}
	return gpuFailed
}

// freeGPUs lets go of GPUs whose attempt's sandbox is gone, or cannot be ended. It returns when they are
// clean, or everybody knows that they are not: the next attempt comes behind this one's report.
func (w *Watcher) freeGPUs(p *prepared, e ending) {
	if p.hold == nil {
		return
	}
	if e.stuck {
		p.hold.Lose("a process that used it could not be ended, not even by SIGKILL; look after the machine")
	}
	if p.hold.Free() {
		return
	}
	w.helloFirst()
}

// helloFirst says how the machine is now, ahead of what is said next.
func (w *Watcher) helloFirst() {
	ctx, cancel := context.WithTimeout(w.life, askTimeout)
	defer cancel()
	w.hello(ctx)
}

// gpusOf names the devices of an attempt; empty if it has none.
func gpusOf(a *attempt) string { return strings.Join(a.Devices, ", ") }
