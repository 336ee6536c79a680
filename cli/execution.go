package cli

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/projections/executions"
	"github.com/hermes-serverless/hermes/services/api"
)

func newExecutionCmd(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "execution",
		Short:   "See and end what runs and what has run",
		Example: "  hermes execution list\n  hermes execution inspect 15\n  hermes execution logs 15 -f",
	}
	cmd.AddCommand(newExecutionListCmd(a, nil), newExecutionInspectCmd(a, nil), newExecutionFilesCmd(a, nil), newExecutionHistoryCmd(a, nil), newExecutionLogsCmd(a, nil), newExecutionAttachCmd(a, nil), newExecutionReplayCmd(a, nil), newExecutionRerunCmd(a, nil), newExecutionWaitCmd(a, nil), newExecutionStatsCmd(a, nil), newExecutionCancelCmd(a, nil))
	return cmd
}

// parseExecution reads a number or an id.
func parseExecution(text string) (api.ExecutionRef, error) {
	if n, err := strconv.ParseInt(text, 10, 64); err == nil && n > 0 {
		return api.ExecutionRef{Number: n}, nil
	}
	id := strings.ToUpper(text)
	if events.CheckExecutionID(id) == nil {
		return api.ExecutionRef{ID: id}, nil
	}
	return api.ExecutionRef{}, usage("%q names no execution: it must be a number from 1, or an id of 26 characters", text).
		WithHint("`hermes execution list` shows the numbers")
}

// executionJSON is an execution with the first Hermes' keys where it had them.
type executionJSON struct {
	RunID       int64     `json:"runID"`
	ID          string    `json:"id"`
	Kind        string    `json:"kind"`
	Status      string    `json:"status"`
	Function    string    `json:"function"`
	RequestedAt time.Time `json:"requestedAt"`
	StartTime   time.Time `json:"startTime,omitzero"`
	EndTime     time.Time `json:"endTime,omitzero"`
	// RunningTime is HH:MM:SS.mmm, RunningMillis the same as a number.
	RunningTime   string `json:"runningTime,omitempty"`
	RunningMillis int64  `json:"runningMillis,omitempty"`
	Position      int    `json:"position,omitempty"`
	Doing         string `json:"doing,omitempty"`
	// Waits is the bound of the user's own quota that it waits for in the queue, or that its GPU is on another
	// user's card.
	Waits string `json:"waits,omitempty"`
	// StartsInMillis is how long it is likely to wait yet.
	StartsInMillis int64 `json:"startsInMillis,omitempty"`
	// ExitCode is there when a command has ended.
	ExitCode *int   `json:"exitCode,omitempty"`
	Signal   string `json:"signal,omitempty"`
	Reason   string `json:"reason,omitempty"`
	Error    string `json:"error,omitempty"`

	Attempt int    `json:"attempt,omitempty"`
	Watcher string `json:"watcher,omitempty"`
	// Sandbox is "warm" if it had been made ahead, "reused" if earlier runs were in it, else "cold". The phases before the command's
	// start are the time in the queue and the time until the sandbox was ready.
	Sandbox       string `json:"sandbox,omitempty"`
	QueuedMicros  int64  `json:"queuedMicros,omitempty"`
	SandboxMicros int64  `json:"sandboxMicros,omitempty"`

	Output events.Output `json:"output,omitzero"`
	Usage  events.Usage  `json:"usage,omitzero"`

	Args []string          `json:"args,omitempty"`
	Env  map[string]string `json:"env,omitempty"`
	// Network is "outbound"; without one it is not there.
	Network string `json:"network,omitempty"`

	// GPU is what it asks of GPUs, Devices are those that it was given.
	GPU     *events.GPURequest `json:"gpu,omitempty"`
	Devices []string           `json:"devices,omitempty"`
	// Hardware is what it runs or ran on.
	Hardware events.Hardware `json:"hardware,omitzero"`

	// Origin is the id of the execution that it repeats.
	Origin string `json:"origin,omitempty"`
	// Interactive: its input was sent while it ran. Given is what that was, known at its end.
	Interactive bool       `json:"interactive,omitempty"`
	Given       *givenJSON `json:"given,omitempty"`
	// Results is what it left in its folder of results.
	Results *events.Results `json:"results,omitempty"`

	// Batch is the map that it is of, BatchIndex the number of its input there.
	Batch      string `json:"batch,omitempty"`
	BatchIndex int64  `json:"batchIndex,omitempty"`
}

// exitCodeOf is the code that a command of the execution ended with; nil while none has, and when
// none ever did: it was lost, cancelled in the queue, or its sandbox could not be made.
func exitCodeOf(e api.Execution) *int {
	ended := e.Status.Final() && e.Status != executions.Lost && (e.StartedAt != time.Time{})
	if !ended || e.Status == executions.Error && e.ExitCode == 0 {
		return nil
	}
	return &e.ExitCode
}

func (a *app) executionJSON(e api.Execution) executionJSON {
	j := executionJSON{
		RunID: e.Number, ID: e.ID, Kind: string(e.Request.Kind), Status: string(e.Status),
		Function: e.Request.Function.String(), RequestedAt: e.RequestedAt, StartTime: e.StartedAt, EndTime: e.EndedAt,
		Position: e.Position, Doing: e.Doing, Waits: e.Waits, StartsInMillis: e.StartsInMillis, ExitCode: exitCodeOf(e), Signal: e.Signal, Reason: e.Reason, Error: executionError(e),
		Attempt: e.Attempt, Watcher: e.Watcher, Sandbox: e.Sandbox, Output: e.Output, Usage: e.Usage,
		Args: e.Request.Args, Env: e.Request.Env, Network: e.Request.Network, Origin: e.Request.Origin,
		GPU: gpuOf(e.Request), Devices: e.Devices, Hardware: e.Hardware,
		Interactive: e.Request.Interactive, Given: givenOf(e), Results: e.Results,
	}
	if b := e.Request.Batch; b != nil {
		j.Batch, j.BatchIndex = b.ID, b.Index
	}
	if !e.StartedAt.IsZero() {
		d := a.runningTime(e)
		queued, start, _ := eventPhases(e)
		j.QueuedMicros, j.SandboxMicros = queued.Microseconds(), start.Microseconds()
		j.RunningTime, j.RunningMillis = elapsed(d), d.Milliseconds()
	}
	return j
}

// runningTime is from the start of the last attempt to its end, or to now.
func (a *app) runningTime(e api.Execution) time.Duration {
	if e.StartedAt.IsZero() {
		return 0
	}
	if e.EndedAt.IsZero() {
		return a.now().Sub(e.StartedAt)
	}
	return e.EndedAt.Sub(e.StartedAt)
}

// eventPhases tells the phases of an execution that has started from its events: the one that says
// that it started comes when the sandbox is ready, and says how long that took. run is 0 until the
// end.
func eventPhases(e api.Execution) (queue, start, run time.Duration) {
	start = time.Duration(e.SandboxMicros) * time.Microsecond
	return max(0, e.StartedAt.Sub(e.RequestedAt)-start), start, max(0, e.EndedAt.Sub(e.StartedAt))
}

// executionError says in one sentence why an execution did not succeed; empty if it did.
func executionError(e api.Execution) string {
	if e.Message != "" {
		return e.Message
	}
	switch e.Status {
	case executions.Error:
		return fmt.Sprintf("exit code %d", e.ExitCode)
	case executions.Timeout:
		return "it ran longer than its timeout of " + millis(e.Request.Limits.TimeoutMillis)
	case executions.Cancelled:
		return "cancelled by " + e.CancelRequestedBy
	case executions.Lost:
		return "the machine that ran it was lost"
	}
	return ""
}

// tellEnd says how an execution ended, and why if it did not succeed.
func (a *app) tellEnd(e api.Execution) {
	end := string(e.Status)
	if e.Reason != "" {
		end += " (" + e.Reason + ")"
	}
	if why := executionError(e); why != "" {
		end += ": " + why
	}
	a.note("execution %s ended with %s", name(e, e.ID), end)
}

// functionOf is what an execution runs, as the column Function shows it.
func functionOf(e api.Execution) string {
	if e.Request.Kind == events.KindBuild {
		return "build " + e.Request.Function.String()
	}
	return e.Request.Function.String()
}

func (a *app) executionStatus(status executions.Status) string {
	switch status {
	case executions.Success:
		return a.streams.Green(string(status))
	case executions.Queued, executions.Running:
		return a.streams.Yellow(string(status))
	}
	return a.streams.Red(string(status))
}

// numbered fills in the number of an execution, which is not known yet to who has just heard of its start
// or its end.
func (a *app) numbered(ctx context.Context, client *api.Client, e api.Execution) api.Execution {
	if e.Number > 0 || e.ID == "" {
		return e
	}
	found, err := api.Call[api.Execution](ctx, client, api.OpExecutionInspect, api.ExecutionRef{ID: e.ID, MinSequence: e.Sequence})
	if err == nil {
		e.Number = found.Number
	}
	return e
}

// name is how an execution is called in messages: by its number, if that is known.
func name(e api.Execution, id string) string {
	if e.Number > 0 {
		return strconv.FormatInt(e.Number, 10)
	}
	return id
}
