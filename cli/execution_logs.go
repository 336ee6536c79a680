package cli

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/hermes-serverless/hermes/services/api"
)

type executionLogsOptions struct {
	app    *app
	ctx    context.Context
	ref    api.ExecutionRef
	follow bool
}

func newExecutionLogsCmd(a *app, run func(*executionLogsOptions) error) *cobra.Command {
	if run == nil {
		run = runExecutionLogs
	}
	o := &executionLogsOptions{app: a}
	cmd := &cobra.Command{
		Use:   "logs ID",
		Short: "Print what an execution has printed, and with -f what it will print",
		Long: `Prints an execution's output: its stdout to stdout, its stderr to stderr. With -f it stays until the
execution has ended, and checks that everything has arrived. A build is an execution too.`,
		Example:           "  hermes execution logs 15\n  hermes execution logs 15 -f",
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
	cmd.Flags().BoolVarP(&o.follow, "follow", "f", false, "stay until the execution has ended")
	return cmd
}

func runExecutionLogs(o *executionLogsOptions) error {
	client, done, err := o.app.connect()
	if err != nil {
		return err
	}
	defer done()
	e, err := api.Call[api.Execution](o.ctx, client, api.OpExecutionInspect, o.ref)
	if err != nil {
		return err
	}
	if !o.follow {
		return o.app.printOutput(o.ctx, client, e)
	}
	v := o.app.newViewer(client, e.ID)
	if err := v.subscribe(); err != nil {
		return err
	}
	defer v.close()
	v.fromStart = true
	_, err = v.watch(o.ctx, false)
	return err
}
