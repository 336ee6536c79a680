package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/hermes-serverless/hermes/services/api"
)

type executionCancelOptions struct {
	app   *app
	ctx   context.Context
	ref   api.ExecutionRef
	batch string
}

func newExecutionCancelCmd(a *app, run func(*executionCancelOptions) error) *cobra.Command {
	if run == nil {
		run = runExecutionCancel
	}
	o := &executionCancelOptions{app: a}
	cmd := &cobra.Command{
		Use:   "cancel ID | --batch BATCH",
		Short: "End an execution that waits or runs, or all of a batch",
		Long: `Asks for the end of an execution: one that waits leaves the queue, one that runs gets SIGTERM and, if
it does not heed it, SIGKILL. With --batch it asks for the end of all of a batch that have not ended.
It returns when the request is accepted.`,
		Example: `  hermes execution cancel 15
  hermes execution:cancel 15
  hermes execution cancel --batch 01JDY3M8WZ0000000000000000`,
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: a.completeRuns,
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			o.ctx = cmd.Context()
			if err := oneOrBatch(cmd, args, &o.batch); err != nil {
				return err
			}
			if o.batch == "" {
				if o.ref, err = parseExecution(args[0]); err != nil {
					return err
				}
			}
			return run(o)
		},
	}
	a.batchFlag(cmd, &o.batch, "end all of this `batch` of \"hermes function map\"")
	return cmd
}

// oneOrBatch checks that either executions are named or a batch is.
func oneOrBatch(cmd *cobra.Command, args []string, batch *string) (err error) {
	named := cmd.Flags().Changed("batch")
	switch {
	case named && len(args) > 0:
		return usageOf(cmd, usage("an execution and --batch exclude each other"))
	case !named && len(args) == 0:
		return usageOf(cmd, usage("no execution is named, and no --batch"))
	case named:
		*batch, err = parseBatch("batch", *batch)
	}
	return err
}

func runExecutionCancel(o *executionCancelOptions) error {
	client, done, err := o.app.connect()
	if err != nil {
		return err
	}
	defer done()
	if o.batch != "" {
		return o.cancelAll(client)
	}
	e, err := api.Call[api.Execution](o.ctx, client, api.OpExecutionCancel, o.ref)
	if err != nil {
		return err
	}
	if !o.app.human() {
		return o.app.printJSON(o.app.executionJSON(e))
	}
	if e.Status.Final() {
		_, err = fmt.Fprintf(o.app.streams.Out, "Execution %s was %s\n", name(e, e.ID), e.Status)
		return err
	}
	_, err = fmt.Fprintf(o.app.streams.Out, "Execution %s will be cancelled\n", name(e, e.ID))
	return err
}

func (o *executionCancelOptions) cancelAll(client *api.Client) error {
	if err := checkBatchKnown(o.ctx, client, o.batch); err != nil {
		return err
	}
	asked, err := cancelBatch(o.ctx, client, o.batch)
	if err != nil {
		return err
	}
	if !o.app.human() {
		return o.app.printJSON(struct {
			Batch     string `json:"batch"`
			Cancelled int    `json:"cancelled"`
		}{o.batch, asked})
	}
	if asked == 0 {
		_, err = fmt.Fprintf(o.app.streams.Out, "Nothing of batch %s is left to cancel\n", o.batch)
		return err
	}
	_, err = fmt.Fprintf(o.app.streams.Out, "%s of batch %s will be cancelled\n", countOf(int64(asked), "execution"), o.batch)
	return err
}
