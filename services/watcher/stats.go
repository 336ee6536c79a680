package watcher

import (
	"sync/atomic"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/services/watcher/gpu"
	"github.com/hermes-serverless/hermes/services/watcher/pool"
)

// Stats tell what a watcher does. What counts does so since its start.
type Stats struct {
	// Slots is how many executions may run at once, Busy how many are prepared, run or wound up.
	Slots, Busy int
	// OutputBytes is what the executions that have ended have printed, and is stored.
	OutputBytes uint64
	// Sandboxes are those that are kept ready.
	Sandboxes pool.Stats
	// GPUs are those of the machine.
	GPUs []GPUStats
}

// GPUStats are one device now.
type GPUStats struct {
	events.GPU
	gpu.Reading
	// Held: at least one execution has it.
	Held bool
}

// counters are what Stats are made of.
type counters struct {
	busy   atomic.Int64
	output atomic.Uint64
	spares atomic.Pointer[pool.Pool[spareKey]] // nil before Run
}

// Stats may be called at any time, from any goroutine.
func (w *Watcher) Stats() Stats {
	s := Stats{Slots: w.Machine.Slots, Busy: int(w.counters.busy.Load()), OutputBytes: w.counters.output.Load()}
	if w.GPUs != nil {
		s.GPUs = w.gpuStats()
	}
	if spares := w.counters.spares.Load(); spares != nil {
		s.Sandboxes = spares.Stats()
	}
	return s
}

func (w *Watcher) gpuStats() []GPUStats {
	var all []GPUStats
	readings, held := w.GPUs.Readings()
	for _, g := range w.GPUs.Machine().GPUs {
		r, known := readings[g.UUID]
		if !known {
			r.UtilisationPercent = gpu.Unknown
		}
		all = append(all, GPUStats{GPU: g, Reading: r, Held: held[g.UUID]})
	}
	return all
}
