package cli

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/projections/executions"
	"github.com/hermes-serverless/hermes/services/api"
)

type executionHistoryOptions struct {
	app *app
	ctx context.Context
	ref api.ExecutionRef
}

func newExecutionHistoryCmd(a *app, run func(*executionHistoryOptions) error) *cobra.Command {
	if run == nil {
		run = runExecutionHistory
	}
	return &cobra.Command{
		Use:   "history ID",
		Short: "Show everything that happened to an execution, when and why",
		Long: `Shows the events of an execution, one a line: when it happened, how long after the event before it, and
why. With --output json or jsonl it prints the events themselves, as they are stored.

"hermes execution inspect ID --at TIME" shows the execution as it was at any moment in between.`,
		Example:           "  hermes execution history 15\n  hermes execution:history 15 -o jsonl",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeRuns,
		RunE: func(cmd *cobra.Command, args []string) error {
			ref, err := parseExecution(args[0])
			if err != nil {
				return err
			}
			return run(&executionHistoryOptions{app: a, ctx: cmd.Context(), ref: ref})
		},
	}
}

func runExecutionHistory(o *executionHistoryOptions) error {
	client, done, err := o.app.connect()
	if err != nil {
		return err
	}
	defer done()
	h, err := api.Call[api.History](o.ctx, client, api.OpExecutionHistory, o.ref)
	if err != nil {
		return err
	}
	if !o.app.human() {
		return printList(o.app, h.Events)
	}
	return o.app.printTable(o.app.streams.Out, []string{"Time", "After", "Event", "Why"}, timeline(h.Events))
}

// timeline tells each event in words.
func timeline(all []api.Event) [][]string {
	rows := make([][]string, 0, len(all))
	var state executions.Execution
	for i, e := range all {
		after := ""
		if i > 0 {
			after = span(e.Time.Sub(all[i-1].Time))
		}
		row := []string{clockTime(e.Time), after, shortType(e.Type), ""}
		r, err := e.Record()
		switch {
		case e.Undecodable != "":
			row[3] = "it cannot be read: " + e.Undecodable
		case err != nil:
			row[3] = "an event that this version of hermes does not know"
		default:
			row[3] = why(state, all[max(0, i-1)].Time, r)
			if next, err := executions.Fold(state, r); err == nil {
				state = next
			} else {
				row[3] += " (" + err.Error() + ")"
			}
		}
		rows = append(rows, row)
	}
	return rows
}

// shortType is a type's own name, for people.
func shortType(t events.Type) string {
	return strings.ReplaceAll(lastWord(t), "_", " ")
}

// why says what an event tells, given the state before it and when the event before it was. Where
// that is not known, both are zero, and less is said.
func why(before executions.Execution, since time.Time, r events.Record) string {
	switch d := r.Data.(type) {
	case events.ExecutionRequested:
		origin := ""
		if d.Origin != "" {
			origin = "as execution " + d.Origin + " was"
		}
		interactive := ""
		if d.Interactive {
			interactive = "interactive"
		}
		return join(", ", fmt.Sprintf("%s of %s", d.Kind, d.Function), interactive, origin)
	case events.ExecutionStarted:
		return join("; ", "placed on watcher "+d.Watcher+ordinal(d.Attempt), readied(since, r.Time, d))
	case events.ExecutionSucceeded:
		return ran(d.Usage, d.Output)
	case events.ExecutionFailed:
		return join("; ", failure(d), ran(d.Usage, d.Output))
	case events.ExecutionCancelRequested:
		return "by " + d.By
	case events.ExecutionCancelled:
		by, queue := "", ""
		if before.CancelRequestedBy != "" {
			by = "by " + before.CancelRequestedBy
		}
		if d.Attempt == 0 {
			queue = "in the queue"
		}
		return join("; ", join(" ", by, queue), d.Signal, ran(d.Usage, d.Output))
	case events.ExecutionTimedOut:
		return join("; ", "it ran longer than its timeout of "+millis(d.TimeoutMillis), d.Signal, ran(d.Usage, d.Output))
	case events.ExecutionLost:
		return fmt.Sprintf("watcher %s was lost: %s", d.Watcher, d.Message)
	case events.ExecutionRetried:
		return fmt.Sprintf("attempt %d is repeated because watcher %s was lost: %s", d.Attempt, d.Watcher, d.Message)
	}
	return ""
}

// ordinal names an attempt that is not the first.
func ordinal(attempt int) string {
	if attempt < 2 {
		return ""
	}
	return fmt.Sprintf(", attempt %d", attempt)
}

// readied says what took the time until an attempt started.
func readied(asked, started time.Time, d events.ExecutionStarted) string {
	sandbox := time.Duration(d.SandboxMicros) * time.Microsecond
	text := fmt.Sprintf("sandbox %s %s", span(sandbox), d.Sandbox)
	if asked.IsZero() {
		return text
	}
	return fmt.Sprintf("queued %s, %s", span(started.Sub(asked)-sandbox), text)
}

func failure(d events.ExecutionFailed) string {
	if d.Message == "" {
		return "reason " + d.Reason
	}
	return "reason " + d.Reason + ": " + d.Message
}

// ran says how long the command ran and what it printed; empty if none ran.
func ran(u events.Usage, out events.Output) string {
	if u.RunMicros == 0 {
		return ""
	}
	return fmt.Sprintf("ran %s, printed %s", micros(u.RunMicros), size(out.StdoutBytes+out.StderrBytes))
}

func join(by string, parts ...string) string {
	var filled []string
	for _, part := range parts {
		if part != "" {
			filled = append(filled, part)
		}
	}
	return strings.Join(filled, by)
}

// span is a duration to a tenth of a millisecond, not below 0.
func span(d time.Duration) string {
	return max(d, 0).Round(100 * time.Microsecond).String()
}
