package cli

import (
	"bytes"
	"context"

	"github.com/spf13/cobra"

	"github.com/hermes-serverless/hermes/services/api"
)

type executionAttachOptions struct {
	app  *app
	ctx  context.Context
	ref  api.ExecutionRef
	from string
}

func newExecutionAttachCmd(a *app, run func(*executionAttachOptions) error) *cobra.Command {
	if run == nil {
		run = runExecutionAttach
	}
	o := &executionAttachOptions{app: a}
	cmd := &cobra.Command{
		Use:   "attach ID",
		Short: "See an execution's output from any point of it to its end",
		Long: `Shows the output of an execution, from its beginning or from another place in it, until it has ended: as
"hermes function run" does, from as many terminals as you like. Its stdout comes out of stdout, its
stderr out of stderr, and its exit code is this command's.

The connection may break and the server may be started again: the output goes on where it was. What
was seen from its beginning is checked against the sum of what was printed.

A place is ` + positionHelp + `. Ctrl-C asks whether to cancel the
execution or to leave it alone.`,
		Example: `  hermes execution attach 15
  hermes execution attach 15 --from now
  hermes execution attach 15 --from -30s
  hermes execution:attach 15 --from 1048576 > rest.txt`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeRuns,
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			o.ctx = cmd.Context()
			if o.ref, err = parseExecution(args[0]); err != nil {
				return err
			}
			return run(o)
		},
	}
	cmd.Flags().StringVar(&o.from, "from", "start", "the `place` to begin at: start, now, 12:03:05, -30s or an offset")
	_ = cmd.RegisterFlagCompletionFunc("from", cobra.FixedCompletions([]string{"start", "now"}, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

func runExecutionAttach(o *executionAttachOptions) error {
	client, done, err := o.app.connect()
	if err != nil {
		return err
	}
	defer done()
	e, err := api.Call[api.Execution](o.ctx, client, api.OpExecutionInspect, o.ref)
	if err != nil {
		return err
	}
	v := o.app.newViewer(client, e.ID)
	// It listens before it asks where it is: what is printed in between is heard.
	if err := v.subscribe(); err != nil {
		return err
	}
	defer v.close()
	if v.from, err = o.app.findPosition(o.ctx, client, e.ID, o.from); err != nil {
		return err
	}
	var out, errOut bytes.Buffer
	v.fromStart, v.write = true, o.app.chunkWriter(&out, &errOut)
	if e, err = v.watch(o.ctx, true); err != nil {
		return err
	}
	e = o.app.numbered(o.ctx, client, e)
	if o.app.format == formatJSON {
		err = o.app.printJSON(newResult(o.app.executionJSON(e), out.Bytes(), errOut.Bytes()))
	} else {
		o.app.tellEnd(e)
	}
	if code := executionExit(e); err == nil && code != exitOK {
		return &exitError{code: code}
	}
	return err
}
