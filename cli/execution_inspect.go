package cli

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/hermes-serverless/hermes/services/api"
)

type executionInspectOptions struct {
	app    *app
	ctx    context.Context
	ref    api.ExecutionRef
	result bool
}

func newExecutionInspectCmd(a *app, run func(*executionInspectOptions) error) *cobra.Command {
	if run == nil {
		run = runExecutionInspect
	}
	o := &executionInspectOptions{app: a}
	cmd := &cobra.Command{
		Use:               "inspect ID",
		Short:             "Show an execution and what it has printed, also while it runs",
		Example:           "  hermes execution inspect 15\n  hermes execution inspect 15 -r > result.txt\n  hermes execution:inspect 15 --json",
		Args:              argsOf(cobra.ExactArgs(1)),
		ValidArgsFunction: a.completeRuns,
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			o.ctx = cmd.Context()
			if o.ref, err = parseExecution(args[0]); err != nil {
				return err
			}
			return run(o)
		},
	}
	cmd.Flags().BoolVarP(&o.result, "result", "r", false, "print the output only: stdout to stdout, stderr to stderr")
	return cmd
}

// executionResult is an execution with what it has printed. What is not text stands in the Base64
// keys, since JSON cannot hold it.
type executionResult struct {
	executionJSON
	Out       string `json:"out"`
	Err       string `json:"err"`
	OutBase64 string `json:"outBase64,omitempty"`
	ErrBase64 string `json:"errBase64,omitempty"`
}

func newResult(j executionJSON, out, err []byte) executionResult {
	r := executionResult{executionJSON: j, Out: string(out), Err: string(err)}
	if !utf8.Valid(out) {
		r.OutBase64 = base64.StdEncoding.EncodeToString(out)
	}
	if !utf8.Valid(err) {
		r.ErrBase64 = base64.StdEncoding.EncodeToString(err)
	}
	return r
}

func runExecutionInspect(o *executionInspectOptions) error {
	client, done, err := o.app.connect()
	if err != nil {
		return err
	}
	defer done()
	e, err := api.Call[api.Execution](o.ctx, client, api.OpExecutionInspect, o.ref)
	if err != nil {
		return err
	}
	if o.result && o.app.human() {
		return readOutput(o.ctx, client, e.ID, o.app.streams.Out, o.app.streams.Err)
	}
	var out, errOut bytes.Buffer
	if err := readOutput(o.ctx, client, e.ID, &out, &errOut); err != nil {
		return err
	}
	if !o.app.human() {
		return o.app.printJSON(newResult(o.app.executionJSON(e), out.Bytes(), errOut.Bytes()))
	}
	return o.print(e, out.Bytes(), errOut.Bytes())
}

func (o *executionInspectOptions) print(e api.Execution, out, errOut []byte) error {
	w := o.app.streams.Out
	j := o.app.executionJSON(e)
	position, exit := "", ""
	if e.Position > 0 {
		position = fmt.Sprint(e.Position)
	}
	if e.Status.Final() {
		exit = fmt.Sprint(e.ExitCode)
	}
	fields := [][2]string{
		{"runID", fmt.Sprint(e.Number)}, {"id", e.ID}, {"function", functionOf(e)},
		{"status", o.app.executionStatus(e.Status)}, {"position", position},
		{"startTime", clockTime(e.StartedAt)}, {"runningTime", j.RunningTime}, {"endTime", clockTime(e.EndedAt)},
		{"exitCode", exit}, {"reason", e.Reason}, {"error", j.Error}, {"cut", e.Output.Cut}, {"watcher", e.Watcher},
	}
	if err := o.app.printFields(w, fields); err != nil {
		return err
	}
	if err := section(w, o.app.streams.Bold("out:"), out); err != nil {
		return err
	}
	return section(w, o.app.streams.Bold("err:"), errOut)
}

// section prints a stream's bytes below a heading, if there are any, and ends the line.
func section(w io.Writer, heading string, data []byte) error {
	if len(data) == 0 {
		return nil
	}
	end := ""
	if data[len(data)-1] != '\n' {
		end = "\n"
	}
	_, err := fmt.Fprintf(w, "%s\n%s%s", heading, data, end)
	return err
}

// readOutput writes what is stored of an execution's output, up to where it is now.
func readOutput(ctx context.Context, client *api.Client, id string, out, errOut io.Writer) error {
	attempt, from := 0, int64(0)
	for {
		page, chunks, err := client.Output(ctx, api.ExecutionOutput{ExecutionRef: api.ExecutionRef{ID: id}, From: from})
		if err != nil {
			return err
		}
		if attempt != 0 && page.Attempt != attempt {
			return nil // started anew meanwhile: what was read is what that attempt printed
		}
		attempt = page.Attempt
		for _, c := range chunks {
			w := out
			if c.Stream == api.Stderr {
				w = errOut
			}
			if _, err := w.Write(c.Data); err != nil {
				return fmt.Errorf("write the output: %w", err)
			}
		}
		if page.End != nil || page.Next <= from {
			return nil
		}
		from = page.Next
	}
}
