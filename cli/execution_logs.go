package cli

import (
	"bytes"
	"context"
	"encoding/base64"
	"io"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/hermes-serverless/hermes/services/api"
)

type executionLogsOptions struct {
	app        *app
	ctx        context.Context
	ref        api.ExecutionRef
	follow     bool
	since      string
	tail       int
	stream     string
	timestamps bool
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
execution has ended, checks that everything has arrived and says how it ended. A build is an
execution too.

--since leaves out what was printed before, --tail all but the last lines, --stream the other
stream. --timestamps says of each line when its beginning was printed.

With --output jsonl each piece is an object of its own: its attempt, stream, offset (the bytes of
both streams before it), time and data. With --output json it is the object that inspect prints.
Data that is no text stands in dataBase64 too.`,
		Example: `  hermes execution logs 15
  hermes execution logs 15 -f --tail 20
  hermes execution logs 15 --since -5m --timestamps
  hermes execution logs 15 -f -o jsonl`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeRuns,
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			o.ctx = cmd.Context()
			if o.ref, err = parseExecution(args[0]); err != nil {
				return err
			}
			if err := o.check(cmd); err != nil {
				return usageOf(cmd, err)
			}
			return run(o)
		},
	}
	cmd.Flags().BoolVarP(&o.follow, "follow", "f", false, "stay until the execution has ended")
	cmd.Flags().StringVar(&o.since, "since", "", "begin with what was printed at this `time`: 12:03:05, RFC 3339 or -30s")
	cmd.Flags().IntVar(&o.tail, "tail", 0, "print only this many of the last `lines`, and what follows")
	cmd.Flags().StringVar(&o.stream, "stream", "", "print only this `stream`: stdout or stderr")
	cmd.Flags().BoolVar(&o.timestamps, "timestamps", false, "say of each line when it was printed")
	_ = cmd.RegisterFlagCompletionFunc("stream", cobra.FixedCompletions([]string{api.Stdout, api.Stderr}, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

func (o *executionLogsOptions) check(cmd *cobra.Command) error {
	if o.stream != "" && o.stream != api.Stdout && o.stream != api.Stderr {
		return usage("--stream %q: must be %s or %s", o.stream, api.Stdout, api.Stderr)
	}
	if cmd.Flags().Changed("tail") && o.tail < 1 {
		return usage("--tail %d: must be at least 1", o.tail)
	}
	_, err := o.app.momentFlag("since", o.since)
	return err
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
	from, err := o.app.findPosition(o.ctx, client, e.ID, o.since)
	if err != nil {
		return err
	}
	var out, errOut bytes.Buffer
	write := o.app.chunkWriter(&out, &errOut)
	if o.timestamps && o.app.human() {
		write = stamped(write)
	}
	if o.stream != "" {
		write = only(o.stream, write)
	}
	var lacks missing
	if o.tail > 0 {
		if from, lacks, err = o.lastLines(client, e, from, write); err != nil {
			return err
		}
	}
	switch {
	case o.follow:
		e, err = o.followOutput(client, e, from, write)
	case o.tail == 0:
		lacks, err = readOutputFrom(o.ctx, client, e, &from, write)
	}
	if err != nil {
		return err
	}
	o.app.tellMissing(lacks)
	if o.app.format == formatJSON {
		return o.app.printJSON(newResult(o.app.executionJSON(e), out.Bytes(), errOut.Bytes()).lacking(lacks))
	}
	return nil
}

// lastLines prints the last lines of what is stored, and returns where that ends.
func (o *executionLogsOptions) lastLines(client *api.Client, e api.Execution, from position, write func(api.Chunk) error) (position, missing, error) {
	t := &ending{lines: o.tail}
	take := t.take
	if o.stream != "" {
		take = only(o.stream, take)
	}
	lacks, err := readOutputFrom(o.ctx, client, e, &from, take)
	if err != nil {
		return from, lacks, err
	}
	return from, lacks, t.write(write)
}

func (o *executionLogsOptions) followOutput(client *api.Client, e api.Execution, from position, write func(api.Chunk) error) (api.Execution, error) {
	v := o.app.newViewer(client, e.ID)
	v.fromStart, v.from, v.write = true, from, write
	if err := v.subscribe(); err != nil {
		return e, err
	}
	defer v.close()
	e, err := v.watch(o.ctx, false)
	if err == nil {
		e = o.app.numbered(o.ctx, client, e)
		o.app.tellEnd(e)
	}
	return e, err
}

// chunkJSON is a piece of output as a line of JSON. Data that is no text stands in DataBase64.
type chunkJSON struct {
	Attempt    int       `json:"attempt"`
	Stream     string    `json:"stream"`
	Offset     int64     `json:"offset"`
	Time       time.Time `json:"time,omitzero"`
	Data       string    `json:"data"`
	DataBase64 string    `json:"dataBase64,omitempty"`
}

// chunkWriter prints output in the chosen format; for one object it is kept in out and errOut.
func (a *app) chunkWriter(out, errOut io.Writer) func(api.Chunk) error {
	switch a.format {
	case formatJSON:
		return splitOutput(out, errOut)
	case formatJSONLines:
		return func(c api.Chunk) error {
			line := chunkJSON{Attempt: c.Attempt, Stream: c.Stream, Offset: c.Offset, Time: c.Time, Data: string(c.Data)}
			if !utf8.Valid(c.Data) {
				line.DataBase64 = base64.StdEncoding.EncodeToString(c.Data)
			}
			return a.printJSON(line)
		}
	}
	return splitOutput(a.streams.Out, a.streams.Err)
}
