package instance

import (
	"runtime"
	"time"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/services/orchestrator"
)

const (
	mib = 1 << 20
	gib = 1 << 30
)

// DefaultPolicy is what an operator gets who says nothing. Output and input bounds are the first
// Hermes'.
func DefaultPolicy() orchestrator.Policy {
	cores := int64(runtime.NumCPU()) * 1000
	return orchestrator.Policy{
		Defaults: events.Limits{
			TimeoutMillis: time.Hour.Milliseconds(), MemoryBytes: gib, CPUMillis: cores,
			PIDs: 256, TmpBytes: 256 * mib, OutputBytes: 10 * mib,
		},
		Maxima: events.Limits{
			TimeoutMillis: (7 * 24 * time.Hour).Milliseconds(), MemoryBytes: 1 << 40, CPUMillis: cores,
			PIDs: 4096, TmpBytes: 16 * gib, OutputBytes: 10 * mib,
		},
		Build: events.Limits{
			TimeoutMillis: (5 * time.Minute).Milliseconds(), MemoryBytes: 4 * gib, CPUMillis: cores,
			PIDs: 512, TmpBytes: 512 * mib, OutputBytes: 10 * mib,
		},
		MaxInputBytes: 100 * mib, MaxBundleBytes: 256 * mib,
	}
}
