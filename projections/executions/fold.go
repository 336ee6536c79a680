package executions

import (
	"fmt"

	"github.com/hermes-serverless/hermes/events"
)

// Fold returns the state after the record. It is pure and total over legal histories; anything
// else is an *events.ImpossibleError and leaves the state as it was.
func Fold(e Execution, r events.Record) (Execution, error) {
	next, err := e.apply(r)
	if err != nil {
		return e, err
	}
	next.Sequence = r.Sequence
	return next, nil
}

func (e Execution) apply(r events.Record) (Execution, error) {
	if requested, ok := r.Data.(events.ExecutionRequested); ok {
		return e.requested(r, requested)
	}
	if e.Status == "" {
		return e, impossible(r, "the execution was never requested")
	}
	if e.Status.Final() {
		return e, impossible(r, "the execution has ended: %s", e.Status)
	}
	switch d := r.Data.(type) {
	case events.ExecutionStarted:
		return e.started(r, d)
	case events.ExecutionCancelRequested:
		if e.CancelRequestedBy != "" {
			return e, impossible(r, "a cancel was requested before")
		}
		e.CancelRequestedBy = d.By
		return e, nil
	case events.ExecutionRetried:
		return e.retried(r, d)
	case events.ExecutionSucceeded:
		e.Output, e.Usage, e.Artifact, e.Given, e.Results = d.Output, d.Usage, d.Artifact, d.Given, d.Results
		return e.ended(r, d.Attempt, Success)
	case events.ExecutionFailed:
		e.Output, e.Usage, e.ExitCode, e.Signal = d.Output, d.Usage, d.ExitCode, d.Signal
		e.Reason, e.Message, e.Given, e.Results = d.Reason, d.Message, d.Given, d.Results
		return e.ended(r, d.Attempt, Error)
	case events.ExecutionCancelled:
		if e.CancelRequestedBy == "" {
			return e, impossible(r, "no cancel was requested")
		}
		e.Output, e.Usage, e.ExitCode, e.Signal = d.Output, d.Usage, d.ExitCode, d.Signal
		e.Given, e.Results = d.Given, d.Results
		return e.ended(r, d.Attempt, Cancelled)
	case events.ExecutionTimedOut:
		e.Output, e.Usage, e.ExitCode, e.Signal = d.Output, d.Usage, d.ExitCode, d.Signal
		e.Given, e.Results = d.Given, d.Results
		return e.ended(r, d.Attempt, Timeout)
	case events.ExecutionLost:
		if d.Watcher != e.Watcher {
			return e, impossible(r, "it runs on %s, not on %s", e.Watcher, d.Watcher)
		}
		e.Message = d.Message
		return e.ended(r, d.Attempt, Lost)
	}
	return e, impossible(r, "it is not an event of an execution")
}

func (e Execution) requested(r events.Record, d events.ExecutionRequested) (Execution, error) {
	if e.Status != "" {
		return e, impossible(r, "the execution was requested before")
	}
	if n := len(d.Input.Inline); n > events.MaxInlineInputBytes {
		return e, impossible(r, "an input of %d bytes is inline, which would make a view of any size", n)
	}
	if d.Interactive && (d.Retries > 0 || len(d.Input.Inline) > 0 || d.Input.Blob != nil) {
		return e, impossible(r, "an interactive execution has no retries, and no input before it runs")
	}
	if d.Batch != nil {
		if err := d.Batch.Check(); err != nil {
			return e, impossible(r, "%v", err)
		}
	}
	owner, id, err := events.ParseExecutionSubject(r.Subject)
	if err != nil {
		return e, impossible(r, "%v", err)
	}
	return Execution{ID: id, Owner: owner, Request: d, Status: Queued, RequestedAt: r.Time}, nil
}

func (e Execution) started(r events.Record, d events.ExecutionStarted) (Execution, error) {
	if e.Status != Queued {
		return e, impossible(r, "an attempt runs already")
	}
	if e.CancelRequestedBy != "" {
		return e, impossible(r, "a cancel was requested before the start")
	}
	if d.Attempt != e.Attempt+1 {
		return e, impossible(r, "attempt %d follows attempt %d", d.Attempt, e.Attempt)
	}
	e.Status, e.Attempt, e.Watcher, e.StartedAt = Running, d.Attempt, d.Watcher, r.Time
	e.Sandbox, e.SandboxMicros, e.Devices, e.Hardware = d.Sandbox, d.SandboxMicros, d.Devices, d.Hardware
	return e, nil
}

func (e Execution) retried(r events.Record, d events.ExecutionRetried) (Execution, error) {
	switch {
	case e.Status != Running:
		return e, impossible(r, "no attempt runs")
	case d.Attempt != e.Attempt || d.Watcher != e.Watcher:
		return e, impossible(r, "attempt %d on %s is not the one that runs (%d on %s)", d.Attempt, d.Watcher, e.Attempt, e.Watcher)
	case e.RetriesUsed() >= e.Request.Retries:
		return e, impossible(r, "no retry is left of %d", e.Request.Retries)
	}
	e.Status = Queued
	return e, nil
}

func (e Execution) ended(r events.Record, attempt int, status Status) (Execution, error) {
	ran := 0
	if e.Status == Running {
		ran = e.Attempt
	}
	if attempt != ran {
		return e, impossible(r, "it ends attempt %d, but attempt %d runs (0: none)", attempt, ran)
	}
	if e.Given != nil {
		if !e.Request.Interactive {
			return e, impossible(r, "it was given an input, and is not interactive")
		}
		if n := len(e.Given.Input.Inline); n > events.MaxInlineInputBytes {
			return e, impossible(r, "%d bytes that it was given are inline, which would make a view of any size", n)
		}
	}
	if ran == 0 && (status == Success || status == Timeout || status == Lost) {
		return e, impossible(r, "no attempt runs")
	}
	e.Status, e.EndedAt = status, r.Time
	return e, nil
}

// RetriesUsed counts the attempts that were given up: every attempt but the one that runs.
func (e Execution) RetriesUsed() int {
	if e.Status == Queued {
		return e.Attempt
	}
	return max(0, e.Attempt-1)
}

func impossible(r events.Record, format string, args ...any) error {
	return &events.ImpossibleError{Type: r.Data.Type(), Why: fmt.Sprintf(format, args...)}
}
