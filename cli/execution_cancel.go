package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/hermes-serverless/hermes/services/api"
)

type executionCancelOptions struct {
	app *app
	ctx context.Context
	ref api.ExecutionRef
}

func newExecutionCancelCmd(a *app, run func(*executionCancelOptions) error) *cobra.Command {
	if run == nil {
		run = runExecutionCancel
	}
	return &cobra.Command{
		Use:   "cancel ID",
		Short: "End an execution that waits or runs",
		Long: `Asks for the end of an execution: one that waits leaves the queue, one that runs gets SIGTERM and, if
it does not heed it, SIGKILL. It returns when the request is accepted.`,
		Example:           "  hermes execution cancel 15\n  hermes execution:cancel 15",
		Args:              argsOf(cobra.ExactArgs(1)),
		ValidArgsFunction: a.completeRuns,
		RunE: func(cmd *cobra.Command, args []string) error {
			ref, err := parseExecution(args[0])
			if err != nil {
				return err
			}
			return run(&executionCancelOptions{app: a, ctx: cmd.Context(), ref: ref})
		},
	}
}

func runExecutionCancel(o *executionCancelOptions) error {
	client, done, err := o.app.connect()
	if err != nil {
		return err
	}
	defer done()
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
