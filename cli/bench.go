package cli

import (
	"context"
	"errors"

	"github.com/spf13/cobra"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/services/api"
)

type benchOptions struct {
	app     *app
	ctx     context.Context
	ref     events.FunctionRef
	clients int
	runs    int
	warmup  int
	async   bool
	file    string
}

func newBenchCmd(a *app, run func(*benchOptions) error) *cobra.Command {
	if run == nil {
		run = runBench
	}
	o := &benchOptions{app: a}
	cmd := &cobra.Command{
		Use:   "bench ID",
		Short: "Run a function many times and tell how long that takes",
		Long: `Starts runs of a function from several clients at once, each client one run after another, and tells
how many ended a second and how long the phases of a run took:

  queue   from the request that was accepted until a machine began to make the sandbox
  start   until the sandbox was ready: a warm one had been made ahead, a cold one had not
  run     until the run had ended and its output was stored
  total   all of it as the client saw it: from asking until the last byte and the end were there

The first three are the times of the run's own events, on the server's clock. The output is thrown
away after its sum was checked. A client waits for the end of its run before it starts another; with
--async it only hands its runs in (the phase accept) and all ends are waited for afterwards; then
total is from the request that was accepted to the end, on the server's clock.

The quantiles are exact: every run is kept and counts, not a sample. Ctrl-C starts no more runs and
shows what was measured until then; once more, it does not wait for what still runs either.

The exit code is 1 if a run did not succeed, 130 if it was interrupted.`,
		Example: `  hermes bench pi --input points.txt
  hermes bench ana/pi:1.0.0 --clients 8 --runs 1000
  hermes bench pi --async --runs 500 --output json > pi.json`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeFunctions(true),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			o.ctx = cmd.Context()
			if o.ref, err = parseRef(args[0]); err != nil {
				return err
			}
			if err := o.check(); err != nil {
				return usageOf(cmd, err)
			}
			return run(o)
		},
	}
	cmd.Flags().IntVarP(&o.clients, "clients", "c", 1, "how many clients run it at the same time")
	cmd.Flags().IntVarP(&o.runs, "runs", "n", 100, "how many runs are measured, of all clients together")
	cmd.Flags().IntVar(&o.warmup, "warmup", 1, "how many runs come before that and are not measured")
	cmd.Flags().BoolVarP(&o.async, "async", "a", false, "hand the runs in without waiting for their ends")
	cmd.Flags().StringVar(&o.file, "input", "", "give each run the content of this `file`; - is stdin (default: no input)")
	return cmd
}

func (o *benchOptions) check() error {
	switch {
	case o.clients < 1:
		return usage("--clients %d: must be at least 1", o.clients)
	case o.runs < 1:
		return usage("--runs %d: must be at least 1", o.runs)
	case o.warmup < 0:
		return usage("--warmup %d: must not be negative", o.warmup)
	}
	return nil
}

func runBench(o *benchOptions) error {
	o.clients = min(o.clients, o.runs)
	load := &benchLoad{app: o.app, ref: o.ref}
	defer load.close()
	for range o.clients {
		if err := load.connect(); err != nil {
			return err
		}
	}
	var err error
	if load.input, err = o.input(load.clients[0]); err != nil {
		return err
	}
	stop := newBenchStop(o.ctx, o.app)
	defer stop.close()
	if _, err := load.run(stop, o.warmup, "warm-up"); err != nil {
		return stop.explain(err)
	}
	measured, err := o.measure(load, stop)
	if len(measured.samples) == 0 {
		return stop.explain(err)
	}
	report := newBenchReport(o, measured, stop.asked())
	if printErr := o.app.printBench(report); printErr != nil {
		return printErr
	}
	switch {
	case stop.asked():
		return &exitError{code: exitCancelled}
	case err != nil:
		return err
	case report.Failed > 0:
		return &exitError{code: exitFailed}
	}
	return nil
}

// input reads what each run gets, and sends a large one ahead, once.
func (o *benchOptions) input(client *api.Client) (events.Input, error) {
	if o.file == "" {
		return events.Input{}, nil
	}
	from, err := openInput(o.file, o.app.streams)
	if err != nil {
		return events.Input{}, err
	}
	return o.app.sendInput(o.ctx, client, from)
}

func (o *benchOptions) measure(load *benchLoad, stop *benchStop) (benchMeasured, error) {
	start := o.app.now()
	var m benchMeasured
	var err error
	if o.async {
		m.samples, err = load.handIn(stop, o.runs)
	} else {
		m.samples, err = load.run(stop, o.runs, "runs")
	}
	m.took = o.app.now().Sub(start)
	return m, err
}

// benchStop is what an interrupt ends: the first one the starting of runs, the second one the
// waiting for those that go on.
type benchStop struct {
	// starting is over when no more runs are to be started, waiting when nothing is waited for.
	starting, waiting context.Context
	close             func()
}

func newBenchStop(ctx context.Context, a *app) *benchStop {
	waiting, stopWaiting := context.WithCancel(ctx)
	starting, stopStarting := context.WithCancel(waiting)
	signals, silence := a.notify()
	go func() {
		select {
		case <-signals:
			stopStarting()
			a.note("no more runs are started; waiting for those that go on (once more: without them)")
		case <-waiting.Done():
			return
		}
		select {
		case <-signals:
			stopWaiting()
		case <-waiting.Done():
		}
	}()
	return &benchStop{starting: starting, waiting: waiting, close: func() { silence(); stopWaiting() }}
}

// asked says whether somebody has interrupted it.
func (s *benchStop) asked() bool { return s.starting.Err() != nil }

// explain gives an end without a measurement its reason.
func (s *benchStop) explain(err error) error {
	if err == nil || errors.Is(err, context.Canceled) {
		return &exitError{code: exitCancelled, err: errors.New("interrupted before a run had ended: nothing was measured")}
	}
	return err
}
