// Package executions folds the events of executions into what list and inspect show, and into the
// state that the orchestrator decides on.
package executions

import (
	"time"

	"github.com/hermes-serverless/hermes/events"
)

// Status is what users see of an execution's life.
type Status string

// Queued and Running are live; every other status is final.
const (
	Queued    Status = "queued"
	Running   Status = "running"
	Success   Status = "success"
	Error     Status = "error"
	Cancelled Status = "cancelled"
	Timeout   Status = "timeout"
	Lost      Status = "lost"
)

// Statuses returns all of them, the live ones first.
func Statuses() []Status {
	return []Status{Queued, Running, Success, Error, Cancelled, Timeout, Lost}
}

// Final reports whether nothing can follow.
func (s Status) Final() bool { return s != "" && s != Queued && s != Running }

// Execution is the fold of one execution's events. Its zero value is an execution that does not exist.
type Execution struct {
	ID    string `json:"id"`
	Owner string `json:"owner"`
	// Number is the n-th execution of its owner, from 1, in the order of the log. The aggregate
	// alone does not know it: only the projection fills it in.
	Number int64 `json:"number,omitempty"`

	Request     events.ExecutionRequested `json:"request"`
	Status      Status                    `json:"status"`
	RequestedAt time.Time                 `json:"requestedAt"`

	// Attempt is the one that runs or ran last, 0 before the first.
	Attempt       int    `json:"attempt,omitempty"`
	Watcher       string `json:"watcher,omitempty"`
	Sandbox       string `json:"sandbox,omitempty"`
	SandboxMicros int64  `json:"sandboxMicros,omitempty"`
	// Devices are the UUIDs of the GPUs that the attempt was given.
	Devices []string `json:"devices,omitempty"`
	// Hardware is what the attempt ran on.
	Hardware  events.Hardware `json:"hardware,omitzero"`
	StartedAt time.Time       `json:"startedAt,omitzero"`

	CancelRequestedBy string `json:"cancelRequestedBy,omitempty"`

	EndedAt  time.Time     `json:"endedAt,omitzero"`
	ExitCode int           `json:"exitCode"`
	Signal   string        `json:"signal,omitempty"`
	Reason   string        `json:"reason,omitempty"`
	Message  string        `json:"message,omitempty"`
	Output   events.Output `json:"output,omitzero"`
	Usage    events.Usage  `json:"usage,omitzero"`
	Artifact *events.Blob  `json:"artifact,omitempty"`
	// Given is what an interactive one was sent, known at its end.
	Given   *events.Given   `json:"given,omitempty"`
	Results *events.Results `json:"results,omitempty"`

	// Sequence is the last event's, and what the next append must expect.
	Sequence uint64 `json:"sequence"`
}
