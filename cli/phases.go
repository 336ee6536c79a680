package cli

import (
	"math"
	"slices"
	"time"
)

// phase is how long a part of the runs took.
type phase struct {
	Phase string `json:"phase"`
	// Sandbox is warm, cold or reused, of the phase start alone.
	Sandbox   string `json:"sandbox,omitempty"`
	Runs      int    `json:"runs"`
	P50Micros int64  `json:"p50Micros"`
	P90Micros int64  `json:"p90Micros"`
	P99Micros int64  `json:"p99Micros"`
	MaxMicros int64  `json:"maxMicros"`
}

// newPhase sorts the durations.
func newPhase(name, sandbox string, durations []time.Duration) phase {
	slices.Sort(durations)
	at := func(q float64) int64 { return quantile(durations, q).Microseconds() }
	return phase{
		Phase: name, Sandbox: sandbox, Runs: len(durations),
		P50Micros: at(0.5), P90Micros: at(0.9), P99Micros: at(0.99), MaxMicros: at(1),
	}
}

// quantile returns the smallest value that at least the share q of the sorted values do not exceed.
func quantile[T any](sorted []T, q float64) T {
	rank := int(math.Ceil(q * float64(len(sorted))))
	return sorted[min(max(rank, 1), len(sorted))-1]
}
