package cli

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/hermes-serverless/hermes/cli/follow"
	"github.com/hermes-serverless/hermes/projections/executions"
	"github.com/hermes-serverless/hermes/services/api"
	"github.com/hermes-serverless/hermes/services/commandline"
)

const (
	// askedWait is how long one request waits for an end.
	askedWait = 20 * time.Second
	// waitsAtOnce is how many such requests are made at the same time.
	waitsAtOnce = 256
)

type executionWaitOptions struct {
	app     *app
	ctx     context.Context
	refs    []api.ExecutionRef
	batch   string
	timeout time.Duration
}

func newExecutionWaitCmd(a *app, run func(*executionWaitOptions) error) *cobra.Command {
	if run == nil {
		run = runExecutionWait
	}
	o := &executionWaitOptions{app: a}
	cmd := &cobra.Command{
		Use:   "wait ID… | --batch BATCH",
		Short: "Wait until executions have ended",
		Long: `Waits until all of these executions have ended, or all of a batch, and prints each as it ends. It goes on
through an outage of the server.

Its exit code is, for one execution, what "hermes function run" would have exited with; for several,
0 if all have succeeded and 1 if not. When --timeout is over first it is 4.`,
		Example: `  hermes execution wait 15
  hermes execution wait 15 16 17 --timeout 10m
  hermes execution wait --batch 01JDY3M8WZ0000000000000000
  hermes execution:wait 15 -j`,
		ValidArgsFunction: a.completeManyRuns,
		RunE: func(cmd *cobra.Command, args []string) error {
			if cmd.Flags().Changed("timeout") && o.timeout <= 0 {
				return usageOf(cmd, usage("--timeout %s: must be above 0", o.timeout))
			}
			if err := oneOrBatch(cmd, args, &o.batch); err != nil {
				return err
			}
			for _, arg := range args {
				ref, err := parseExecution(arg)
				if err != nil {
					return err
				}
				o.refs = append(o.refs, ref)
			}
			o.ctx = cmd.Context()
			return run(o)
		},
	}
	commandline.DurationVar(cmd.Flags(), &o.timeout, "timeout", "wait at most this `time`: 90s, 5m")
	a.batchFlag(cmd, &o.batch, "wait for all of this `batch` of \"hermes function map\"")
	return cmd
}

func runExecutionWait(o *executionWaitOptions) error {
	client, done, err := o.app.connect()
	if err != nil {
		return err
	}
	defer done()
	ctx := o.ctx
	if o.timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, o.timeout)
		defer cancel()
	}
	if o.batch != "" {
		o.refs, err = o.ofBatch(ctx, client)
		switch {
		case o.ctx.Err() == nil && ctx.Err() != nil:
			return api.Errorf(api.State, waitTimeout, "the executions of batch %s were not all listed after %s", o.batch, o.timeout)
		case err != nil:
			return err
		}
	}
	stop, cancel := context.WithCancel(ctx)
	defer cancel()
	ended, failed := o.wait(stop, client)
	var all []api.Execution
	for len(all) < len(o.refs) {
		select {
		case e := <-ended:
			if all = append(all, e); o.app.format == formatJSON {
				continue
			}
			if err := o.print(e); err != nil {
				return err
			}
		case err := <-failed:
			return err
		case <-ctx.Done():
			if o.ctx.Err() != nil {
				return o.ctx.Err()
			}
			return api.Errorf(api.State, waitTimeout, "%d of %d executions have not ended after %s", len(o.refs)-len(all), len(o.refs), o.timeout)
		}
	}
	return o.end(all)
}

// wait waits for all, for so many at once as the server can be asked to.
func (o *executionWaitOptions) wait(ctx context.Context, client *api.Client) (<-chan api.Execution, <-chan error) {
	ended, failed, refs := make(chan api.Execution), make(chan error), make(chan api.ExecutionRef)
	go func() {
		defer close(refs)
		for _, ref := range o.refs {
			select {
			case refs <- ref:
			case <-ctx.Done():
				return
			}
		}
	}()
	for range min(len(o.refs), waitsAtOnce) {
		go func() {
			for ref := range refs {
				e, err := o.app.untilEnd(ctx, client, ref)
				if ctx.Err() != nil {
					return // which says more than err
				}
				if err != nil {
					select {
					case failed <- err:
					case <-ctx.Done():
					}
					return
				}
				select {
				case ended <- e:
				case <-ctx.Done():
					return
				}
			}
		}()
	}
	return ended, failed
}

// ofBatch finds what is of the batch now, the oldest first.
func (o *executionWaitOptions) ofBatch(ctx context.Context, client *api.Client) (refs []api.ExecutionRef, err error) {
	w := &walk{client: client, filter: api.ExecutionFilter{Batch: o.batch}}
	err = w.each(ctx, func(e api.Execution) error {
		refs = append(refs, api.ExecutionRef{ID: e.ID})
		return nil
	})
	if err == nil && len(refs) == 0 {
		err = noSuchBatch(o.batch)
	}
	slices.Reverse(refs)
	return refs, err
}

// untilEnd waits for one end, through whatever happens to the server.
func (a *app) untilEnd(ctx context.Context, client *api.Client, ref api.ExecutionRef) (api.Execution, error) {
	ask := api.ExecutionWait{ExecutionRef: ref, WaitMillis: askedWait.Milliseconds()}
	for {
		e, err := follow.Ask[api.Execution](ctx, client, askedWait+api.DefaultTimeout, api.OpExecutionWait, ask)
		switch {
		case ctx.Err() != nil:
			return e, ctx.Err()
		case api.IsKind(err, api.Unavailable):
			_ = sleep(ctx, sendPause)
		case err != nil || e.Status.Final():
			return e, err
		}
	}
}

func (o *executionWaitOptions) print(e api.Execution) error {
	if !o.app.human() {
		return o.app.printJSON(o.app.executionJSON(e))
	}
	text := fmt.Sprintf("%s %s", name(e, e.ID), o.app.executionStatus(e.Status))
	if why := executionError(e); why != "" {
		text += ": " + why
	}
	_, err := fmt.Fprintln(o.app.streams.Out, text)
	return err
}

// end prints what was put off, and makes the exit code.
func (o *executionWaitOptions) end(all []api.Execution) error {
	if o.app.format == formatJSON {
		list := make([]executionJSON, len(all))
		for i, e := range all {
			list[i] = o.app.executionJSON(e)
		}
		if err := printList(o.app, list); err != nil {
			return err
		}
	}
	code := exitOK
	for _, e := range all {
		switch {
		case e.Status == executions.Success:
		case len(all) == 1:
			code = executionExit(e)
		default:
			code = exitFailed
		}
	}
	if code != exitOK {
		return &exitError{code: code}
	}
	return nil
}
