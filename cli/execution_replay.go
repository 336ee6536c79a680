package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/hermes-serverless/hermes/cli/cast"
	"github.com/hermes-serverless/hermes/services/api"
)

// asciicast is what --export takes in place of a file to mean stdout.
const asciicast = "asciicast"

// The size of the terminal that a recording is made for: nobody had one.
const castWidth, castHeight = 80, 24

type executionReplayOptions struct {
	app    *app
	ctx    context.Context
	ref    api.ExecutionRef
	speed  string
	export string
	// factor is how many times as fast it is played; 0 is without pauses.
	factor float64
	// pause waits, or returns the context's error.
	pause func(context.Context, time.Duration) error
}

func newExecutionReplayCmd(a *app, run func(*executionReplayOptions) error) *cobra.Command {
	if run == nil {
		run = runExecutionReplay
	}
	o := &executionReplayOptions{app: a, pause: sleep}
	cmd := &cobra.Command{
		Use:   "replay ID",
		Short: "Play an execution's output again, in its own time",
		Long: `Prints what an execution has printed as it was printed: with the same pauses, stdout to stdout and stderr
to stderr. Of one that still runs it plays what there is.

With --export it writes a recording in the format asciicast v2 instead, for asciinema and its like.
A recording holds text: what is no UTF-8 is replaced in it.`,
		Example: `  hermes execution replay 15
  hermes execution replay 15 --speed 4x
  hermes execution replay 15 --export run15.cast
  hermes execution:replay 15 --export asciicast | asciinema play -`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeRuns,
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			o.ctx = cmd.Context()
			if o.ref, err = parseExecution(args[0]); err != nil {
				return err
			}
			if o.factor, err = parseSpeed(o.speed); err != nil {
				return usageOf(cmd, err)
			}
			return run(o)
		},
	}
	cmd.Flags().StringVar(&o.speed, "speed", "1x", "play it so many `times` as fast: 2x, 0.5x, or max for no pauses")
	cmd.Flags().StringVar(&o.export, "export", "", "write a recording to this `file`; "+asciicast+" or - is stdout")
	_ = cmd.RegisterFlagCompletionFunc("speed", cobra.FixedCompletions([]string{"1x", "2x", "10x", "max"}, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

func parseSpeed(text string) (float64, error) {
	if text == "max" {
		return 0, nil
	}
	factor, err := strconv.ParseFloat(strings.TrimSuffix(text, "x"), 64)
	if err != nil || !(factor >= 0.001 && factor <= 1e6) {
		return 0, usage("--speed %q: must be such as 2x or 0.5x, or max", text)
	}
	return factor, nil
}

func runExecutionReplay(o *executionReplayOptions) error {
	client, done, err := o.app.connect()
	if err != nil {
		return err
	}
	defer done()
	e, err := api.Call[api.Execution](o.ctx, client, api.OpExecutionInspect, o.ref)
	if err != nil {
		return err
	}
	if o.export != "" {
		return o.record(client, e)
	}
	write := splitOutput(o.app.streams.Out, o.app.streams.Err)
	if !o.app.human() {
		write = o.app.inLines().chunkWriter(nil, nil)
	}
	lacks, err := readOutput(o.ctx, client, e, o.player(e.StartedAt, write))
	o.app.tellMissing(lacks)
	return err
}

// player writes chunks with the pauses between them; the first comes after its time since begin.
func (o *executionReplayOptions) player(begin time.Time, write func(api.Chunk) error) func(api.Chunk) error {
	last := begin
	started, due := o.app.now(), time.Duration(0)
	return func(c api.Chunk) error {
		if o.factor > 0 && !last.IsZero() {
			due += time.Duration(float64(max(0, c.Time.Sub(last))) / o.factor)
			// Of what the writing took nothing is added to the pauses.
			if wait := due - o.app.now().Sub(started); wait > 0 {
				if err := o.pause(o.ctx, wait); err != nil {
					return err
				}
			}
		}
		if c.Time.After(last) {
			last = c.Time
		}
		return write(c)
	}
}

// record writes the recording. A file is there when it is whole, or not at all.
func (o *executionReplayOptions) record(client *api.Client, e api.Execution) (failed error) {
	var to io.Writer = o.app.streams.Out
	if o.export != asciicast && o.export != "-" {
		file, err := os.Create(o.export)
		if err != nil {
			return api.Errorf(api.Invalid, noSuchFile, "the recording cannot be written: %v", err)
		}
		to = file
		defer func() {
			if failed = errors.Join(failed, file.Close()); failed != nil {
				_ = os.Remove(o.export)
			}
		}()
	}
	start := e.StartedAt
	if start.IsZero() {
		start = e.RequestedAt
	}
	title := fmt.Sprintf("%s, execution %s", functionOf(e), name(e, e.ID))
	w, err := cast.NewWriter(to, cast.Header{Width: castWidth, Height: castHeight, Start: start, Title: title})
	if err != nil {
		return err
	}
	lacks, err := readOutput(o.ctx, client, e, func(c api.Chunk) error { return w.Write(c.Stream, c.Time, c.Data) })
	if err != nil {
		return err
	}
	o.app.tellMissing(lacks)
	return w.Close()
}
