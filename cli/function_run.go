package cli

import (
	"bytes"
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/projections/executions"
	"github.com/hermes-serverless/hermes/services/api"
	"github.com/hermes-serverless/hermes/services/commandline"
)

type functionRunOptions struct {
	app     *app
	ctx     context.Context
	ref     events.FunctionRef
	async   bool
	sync    bool
	file    string
	timeout time.Duration
	gpu     gpuFlag
	// interactive: stdin is sent while it runs.
	interactive bool
}

func newFunctionRunCmd(a *app, run func(*functionRunOptions) error) *cobra.Command {
	if run == nil {
		run = runFunctionRun
	}
	o := &functionRunOptions{app: a}
	cmd := &cobra.Command{
		Use:   "run ID",
		Short: "Run a function and see its output as it is printed",
		Long: `Runs a function. Its input is the file of -f, else what is piped in; a terminal is asked for a line.
Its stdout comes out of stdout, its stderr out of stderr, and its exit code is this command's (see
"hermes help exit-codes"). With --json the result is printed at the end, as one object.

--gpu says what this run asks of GPUs, in place of what hermes.config.json says: count=N, memory=SIZE,
model=NAME|NAME (the ones that are liked best first), share=exclusive or share=shared, driver=CONSTRAINT,
idle=PERCENT/TIME, separated by commas.

With -i what is typed or piped is sent while it runs, line by line as it comes, so that a function can
ask and be answered; the end of the input (Ctrl-D) is the end of its stdin. All of it is recorded for
"hermes execution rerun". When this command is gone for a minute, the function's stdin ends.

The connection may break: the output goes on where it was when the server is there again. Ctrl-C
asks whether to cancel the execution or to leave it alone.`,
		Example: `  echo 1000000 | hermes function run pi
  hermes function run ana/pi:1.0.0 -f points.txt > result.txt
  hermes function run adventure -i
  hermes function run pi -a -f points.txt --json
  hermes function run train --gpu "count=2,memory=40GiB,model=H100|A100"`,
		Args: func(cmd *cobra.Command, args []string) error {
			return o.failed(commandline.Args(cobra.ExactArgs(1))(cmd, args))
		},
		ValidArgsFunction: a.completeFunctions(true),
		PersistentPreRunE: func(*cobra.Command, []string) error { return o.failed(a.chooseFormat()) },
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			o.ctx = cmd.Context()
			if o.ref, err = parseRef(args[0]); err != nil {
				return o.failed(err)
			}
			if err := o.check(cmd); err != nil {
				return o.failed(err)
			}
			return o.failed(run(o))
		},
	}
	cmd.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error { return o.failed(usageOf(cmd, err)) })
	cmd.Flags().BoolVarP(&o.async, "async", "a", false, "return as soon as the execution is accepted")
	cmd.Flags().BoolVar(&o.sync, "sync", false, "stay until it has ended (the default)")
	cmd.Flags().StringVarP(&o.file, "file", "f", "", "read the input from this `file`; - is stdin")
	cmd.Flags().BoolVarP(&o.interactive, "interactive", "i", false, "send what is typed or piped while it runs")
	commandline.DurationVar(cmd.Flags(), &o.timeout, "timeout", "end it after this `time`, if that is shorter than the function's own: 90s, 5m")
	o.gpu.flag(cmd, "ask for this of GPUs, like `count=2,memory=8GiB`, in place of what its config says; may be repeated")
	return cmd
}

func (o *functionRunOptions) check(cmd *cobra.Command) error {
	if o.async && o.sync {
		return usageOf(cmd, usage("--async and --sync exclude each other"))
	}
	if o.interactive && o.async {
		return usageOf(cmd, usage("--interactive sends the input while the function runs: --async does not go with it"))
	}
	if o.interactive && o.file != "" {
		return usageOf(cmd, usage("--interactive sends stdin: --file does not go with it"))
	}
	if cmd.Flags().Changed("timeout") && o.timeout < time.Millisecond {
		return usageOf(cmd, usage("--timeout %s: must be at least 1ms", o.timeout))
	}
	return nil
}

// failed marks what is not the function's own failure, unless nobody waits for that.
func (o *functionRunOptions) failed(err error) error {
	if o.async {
		return err
	}
	return notOfTheFunction(err)
}

func runFunctionRun(o *functionRunOptions) error {
	if o.interactive {
		return o.converse()
	}
	from, err := openInput(o.file, o.app.streams)
	if err != nil {
		return err
	}
	client, done, err := o.app.connect()
	if err != nil {
		return err
	}
	defer done()
	if from == nil {
		if from, err = promptInput(o.app.streams); err != nil {
			return err
		}
	}
	in, err := o.app.sendInput(o.ctx, client, from)
	if err != nil {
		return err
	}
	ask := api.Run{ID: api.NewID(), Function: o.ref, Input: in, TimeoutMillis: o.timeout.Milliseconds(), GPU: o.gpu.ask()}
	if o.async {
		return o.start(client, ask)
	}
	return o.watch(client, ask)
}

// converse runs it with stdin at hand.
func (o *functionRunOptions) converse() error {
	client, done, err := o.app.connect()
	if err != nil {
		return err
	}
	defer done()
	return o.watch(client, api.Run{ID: api.NewID(), Function: o.ref, Interactive: true, TimeoutMillis: o.timeout.Milliseconds(), GPU: o.gpu.ask()})
}

// start is the asynchronous run.
func (o *functionRunOptions) start(client *api.Client, ask api.Run) error {
	accepted, err := send[api.Accepted](o.ctx, client, api.OpRun, ask)
	if err != nil {
		return suggest(o.ctx, client, o.ref, err)
	}
	return o.app.tellAccepted(o.ctx, client, accepted)
}

// tellAccepted prints how to find what was accepted.
func (a *app) tellAccepted(ctx context.Context, client *api.Client, accepted api.Accepted) error {
	e, err := api.Call[api.Execution](ctx, client, api.OpExecutionInspect, api.ExecutionRef{
		ID: accepted.ID, MinSequence: accepted.Sequence,
	})
	if err != nil {
		return fmt.Errorf("the execution %s was accepted, but its number is not known: %w", accepted.ID, err)
	}
	if !a.human() {
		return a.printJSON(struct {
			StartTime time.Time `json:"startTime"`
			RunID     int64     `json:"runID"`
			ID        string    `json:"id"`
		}{accepted.RequestedAt, e.Number, accepted.ID})
	}
	_, err = fmt.Fprintf(a.streams.Out, "{ startTime: %s, runID: %d }\n", clockTime(accepted.RequestedAt), e.Number)
	return err
}

// watch is the synchronous run.
func (o *functionRunOptions) watch(client *api.Client, ask api.Run) error {
	v := o.app.newViewer(client, ask.ID)
	if o.interactive {
		v.typing = o.app.newTyping(client, ask.ID)
	}
	return o.app.runToEnd(o.ctx, v, func() (api.Accepted, error) {
		accepted, err := send[api.Accepted](o.ctx, client, api.OpRun, ask)
		if err != nil {
			err = suggest(o.ctx, client, o.ref, err)
		}
		return accepted, err
	})
}

// runToEnd makes an execution by a request, shows its output and ends with its exit code.
func (a *app) runToEnd(ctx context.Context, v *viewer, request func() (api.Accepted, error)) error {
	var out, errOut bytes.Buffer
	if !a.human() {
		v.write = splitOutput(&out, &errOut)
	}
	e, err := v.watchNew(ctx, request)
	if err != nil {
		return err
	}
	explained := e.Status == executions.Success || e.Reason == events.ReasonExit // by the function's own output
	if !a.human() || !explained {
		e = a.numbered(ctx, v.client, e)
	}
	if !a.human() {
		err = a.printJSON(newResult(a.executionJSON(e), out.Bytes(), errOut.Bytes()))
	} else if !explained {
		a.tellEnd(e)
	}
	if code := executionExit(e); err == nil && code != exitOK {
		return &exitError{code: code}
	}
	return err
}
