package cli

import (
	"bytes"
	"context"

	"github.com/spf13/cobra"

	"github.com/hermes-serverless/hermes/services/api"
	"github.com/hermes-serverless/hermes/services/commandline"
)

type executionRerunOptions struct {
	app     *app
	ctx     context.Context
	ref     api.ExecutionRef
	version string
	input   string
	diff    bool
	async   bool
}

func newExecutionRerunCmd(a *app, run func(*executionRerunOptions) error) *cobra.Command {
	if run == nil {
		run = runExecutionRerun
	}
	o := &executionRerunOptions{app: a}
	cmd := &cobra.Command{
		Use:   "rerun ID",
		Short: "Run again what an execution ran, as it was recorded",
		Long: `Runs again what an execution ran: the same artifact on the same base, with the recorded input, arguments,
environment and limits, also when the function has been deployed anew or deleted since. It shows the
output and exits like "hermes function run".

--version runs another version, as it is now: latest is the highest one. With --diff nothing of the
output is printed but where it differs from the first one's; the exit code is then 0 if the output
and the end are the same, 1 if they differ, and 125 if it could not be found out.`,
		Example: `  hermes execution rerun 15
  hermes execution rerun 15 --version latest --diff
  hermes execution rerun 15 --input other.txt
  hermes execution:rerun 15 -a -j`,
		Args: func(cmd *cobra.Command, args []string) error {
			return o.failed(commandline.Args(cobra.ExactArgs(1))(cmd, args))
		},
		ValidArgsFunction: a.completeRuns,
		PersistentPreRunE: func(*cobra.Command, []string) error { return o.failed(a.chooseFormat()) },
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			o.ctx = cmd.Context()
			if o.ref, err = parseExecution(args[0]); err != nil {
				return o.failed(err)
			}
			if o.diff && o.async {
				return o.failed(usageOf(cmd, usage("--diff waits for the end: --async does not go with it")))
			}
			return o.failed(run(o))
		},
	}
	cmd.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error { return o.failed(usageOf(cmd, err)) })
	cmd.Flags().StringVar(&o.version, "version", "", "run this `version` as it is now; latest is the highest")
	cmd.Flags().StringVar(&o.input, "input", "", "read another input from this `file`; - is stdin")
	cmd.Flags().BoolVar(&o.diff, "diff", false, "print only where the output differs from the first one's")
	cmd.Flags().BoolVarP(&o.async, "async", "a", false, "return as soon as the execution is accepted")
	_ = cmd.RegisterFlagCompletionFunc("version", cobra.FixedCompletions([]string{"latest"}, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

// failed marks what is not the function's own failure, unless nobody waits for that.
func (o *executionRerunOptions) failed(err error) error {
	if o.async {
		return err
	}
	return notOfTheFunction(err)
}

func runExecutionRerun(o *executionRerunOptions) error {
	client, done, err := o.app.connect()
	if err != nil {
		return err
	}
	defer done()
	ask := api.Rerun{ID: api.NewID(), Of: o.ref, Version: o.version}
	if o.input != "" {
		from, err := openInput(o.input, o.app.streams)
		if err != nil {
			return err
		}
		in, err := o.app.sendInput(o.ctx, client, from)
		if err != nil {
			return err
		}
		ask.Input = &in
	}
	request := func() (api.Accepted, error) { return send[api.Accepted](o.ctx, client, api.OpRerun, ask) }
	switch {
	case o.diff:
		return o.compare(client, ask.ID, request)
	case !o.async:
		return o.app.runToEnd(o.ctx, o.app.newViewer(client, ask.ID), request)
	}
	accepted, err := request()
	if err != nil {
		return err
	}
	return o.app.tellAccepted(o.ctx, client, accepted)
}

// compare runs it silently and prints how the two outputs and ends differ.
func (o *executionRerunOptions) compare(client *api.Client, id string, request func() (api.Accepted, error)) error {
	var before, after recorded
	var err error
	if before.exec, err = api.Call[api.Execution](o.ctx, client, api.OpExecutionInspect, o.ref); err != nil {
		return err
	}
	if !before.exec.Status.Final() {
		return api.Errorf(api.State, notEnded, "execution %s has not ended: there is nothing to compare with", name(before.exec, before.exec.ID))
	}
	lacks, err := readOutput(o.ctx, client, before.exec, splitOutput(&before.out, &before.err))
	if err != nil {
		return err
	}
	if lacks.bytes > 0 {
		return api.Errorf(api.NotFound, outputGone, "%d bytes of the output of execution %s are not stored any more: there is nothing to compare with",
			lacks.bytes, name(before.exec, before.exec.ID))
	}
	v := o.app.newViewer(client, id)
	v.write = splitOutput(&after.out, &after.err)
	if after.exec, err = v.watchNew(o.ctx, request); err != nil {
		return err
	}
	after.exec = o.app.numbered(o.ctx, client, after.exec)
	r := o.app.comparison(before, after)
	if o.app.human() {
		err = r.print(o.app)
	} else {
		err = o.app.printJSON(r)
	}
	if err == nil && !r.Same {
		return &exitError{code: exitFailed}
	}
	return err
}

// recorded is an execution with what it printed.
type recorded struct {
	exec     api.Execution
	out, err bytes.Buffer
}
