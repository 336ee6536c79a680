package cli

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/hermes-serverless/hermes/cli/follow"
	"github.com/hermes-serverless/hermes/services/api"
	"github.com/hermes-serverless/hermes/services/moment"
)

type executionInspectOptions struct {
	app    *app
	ctx    context.Context
	ref    api.ExecutionRef
	result bool
	gpu    bool
	at     string
	// moment is what at means; zero for now.
	moment time.Time
}

func newExecutionInspectCmd(a *app, run func(*executionInspectOptions) error) *cobra.Command {
	if run == nil {
		run = runExecutionInspect
	}
	o := &executionInspectOptions{app: a}
	cmd := &cobra.Command{
		Use:   "inspect ID",
		Short: "Show an execution and what it has printed, also while it runs, or as it was",
		Long: `Shows an execution and what it has printed. With --at it shows the execution as it was at a moment,
folded from the events that had happened then ("hermes execution history" lists them), and what it
had printed until then. A moment is written ` + moment.Help + `.

With --gpu it draws what the execution's GPUs did, while it runs too: how much of the time they were used,
the memory that it held, and their power.`,
		Example: `  hermes execution inspect 15
  hermes execution inspect 15 -r > result.txt
  hermes execution inspect 15 --at 12:03:05
  hermes execution inspect 15 --gpu
  hermes execution:inspect 15 --json`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeRuns,
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			o.ctx = cmd.Context()
			if o.ref, err = parseExecution(args[0]); err != nil {
				return err
			}
			if o.gpu && (o.at != "" || o.result) {
				return usage("--gpu goes neither with --at nor with --result")
			}
			if o.moment, err = a.momentFlag("at", o.at); err != nil {
				return usageOf(cmd, err)
			}
			return run(o)
		},
	}
	cmd.Flags().StringVar(&o.at, "at", "", "show it as it was at this `time`: 12:03:05, RFC 3339 or -30s")
	cmd.Flags().BoolVar(&o.gpu, "gpu", false, "draw what its GPUs did, in the place of what it printed")
	cmd.Flags().BoolVarP(&o.result, "result", "r", false, "print the output only: stdout to stdout, stderr to stderr")
	return cmd
}

// executionResult is an execution with what it has printed. What is not text stands in the Base64
// keys, since JSON cannot hold it.
type executionResult struct {
	executionJSON
	Out       string `json:"out"`
	Err       string `json:"err"`
	OutBase64 string `json:"outBase64,omitempty"`
	ErrBase64 string `json:"errBase64,omitempty"`
	// MissingBytes is how much was printed and is not stored any more.
	MissingBytes int64 `json:"missingBytes,omitempty"`
	// MissingWhy says why, if the server knows.
	MissingWhy string `json:"missingWhy,omitempty"`
	// GPUPlot is there with --gpu.
	GPUPlot *api.GPUPlot `json:"gpuPlot,omitempty"`
}

// lacking says what is not there.
func (r executionResult) lacking(m missing) executionResult {
	if r.MissingBytes = m.bytes; m.bytes > 0 {
		r.MissingWhy = m.why
	}
	return r
}

func newResult(j executionJSON, out, err []byte) executionResult {
	r := executionResult{executionJSON: j, Out: string(out), Err: string(err)}
	if !utf8.Valid(out) {
		r.OutBase64 = base64.StdEncoding.EncodeToString(out)
	}
	if !utf8.Valid(err) {
		r.ErrBase64 = base64.StdEncoding.EncodeToString(err)
	}
	return r
}

func runExecutionInspect(o *executionInspectOptions) error {
	client, done, err := o.app.connect()
	if err != nil {
		return err
	}
	defer done()
	e, err := o.inspect(client)
	if err != nil {
		return err
	}
	if o.result && o.app.human() {
		lacks, err := o.output(client, e, splitOutput(o.app.streams.Out, o.app.streams.Err))
		o.app.tellMissing(lacks)
		return err
	}
	if o.gpu && o.app.human() {
		plot, err := o.plot(client)
		if err == nil {
			err = o.print(e, nil, nil)
		}
		if err != nil {
			return err
		}
		return o.app.plotGPUs(o.app.streams.Out, *plot)
	}
	var out, errOut bytes.Buffer
	lacks, err := o.output(client, e, splitOutput(&out, &errOut))
	if err != nil {
		return err
	}
	if !o.app.human() {
		result := newResult(o.app.executionJSON(e), out.Bytes(), errOut.Bytes()).lacking(lacks)
		if o.gpu {
			if result.GPUPlot, err = o.plot(client); err != nil {
				return err
			}
		}
		return o.app.printJSON(result)
	}
	if err := o.print(e, out.Bytes(), errOut.Bytes()); err != nil {
		return err
	}
	o.app.tellMissing(lacks)
	return nil
}

// plot asks what the GPUs did.
func (o *executionInspectOptions) plot(client *api.Client) (*api.GPUPlot, error) {
	plot, err := api.Call[api.GPUPlot](o.ctx, client, api.OpExecutionGPU, api.ExecutionGPU{ExecutionRef: o.ref})
	return &plot, err
}

func (o *executionInspectOptions) print(e api.Execution, out, errOut []byte) error {
	w := o.app.streams.Out
	j := o.app.executionJSON(e)
	position, exit := "", ""
	if e.Position > 0 {
		position = fmt.Sprint(e.Position)
	}
	if j.ExitCode != nil {
		exit = fmt.Sprint(*j.ExitCode)
	}
	fields := [][2]string{
		{"runID", fmt.Sprint(e.Number)}, {"id", e.ID}, {"function", functionOf(e)},
		{"repeats", e.Request.Origin}, {"batch", batchOf(e)}, {"status", o.app.executionStatus(e.Status)}, {"position", position}, {"startsIn", startsIn(e.StartsInMillis)}, {"doing", e.Doing}, {"waits for", e.Waits},
		{"startTime", clockTime(e.StartedAt)}, {"runningTime", j.RunningTime}, {"endTime", clockTime(e.EndedAt)},
		{"queued", micros(j.QueuedMicros)}, {"sandbox", sandboxOf(j)}, {"network", j.Network}, {"gpu", gpuText(j.GPU)}, {"devices", strings.Join(j.Devices, ", ")},
		{"exitCode", exit}, {"reason", e.Reason}, {"error", j.Error}, {"cut", e.Output.Cut}, {"watcher", e.Watcher},
		{"cpuModel", printable(e.Hardware.CPUModel)}, {"gpuModel", modelsText(e.Hardware.GPUModels)}, {"driver", printable(e.Hardware.Driver)},
		{"cpuTime", micros(e.Usage.CPUMicros)}, {"peakMemory", bytesOf(e.Usage.PeakMemoryBytes)},
	}
	fields = append(fields, gpuFields(e.Usage.GPU)...)
	fields = append(fields, [2]string{"given", givenText(e)}, [2]string{"results", resultsText(e)})
	fields = append(fields, givenFields(e.Request.Args, e.Request.Env)...)
	if err := o.app.printFields(w, fields); err != nil {
		return err
	}
	if err := section(w, o.app.streams.Bold("in:"), givenBytes(e)); err != nil {
		return err
	}
	if err := section(w, o.app.streams.Bold("out:"), out); err != nil {
		return err
	}
	return section(w, o.app.streams.Bold("err:"), errOut)
}

// batchOf is which input of which batch it has.
func batchOf(e api.Execution) string {
	if b := e.Request.Batch; b != nil {
		return fmt.Sprintf("%s, input %d", b.ID, b.Index)
	}
	return ""
}

// startsIn says how long it will wait yet.
func startsIn(millis int64) string {
	if millis == 0 {
		return ""
	}
	return "about " + follow.About(time.Duration(millis)*time.Millisecond)
}

// sandboxOf is how the sandbox came to be, and how long that took.
func sandboxOf(j executionJSON) string {
	if j.Sandbox == "" {
		return ""
	}
	return fmt.Sprintf("%s, in %s", j.Sandbox, micros(j.SandboxMicros))
}

// modelsText says which models of GPUs there are, and how many of each.
func modelsText(models []string) string {
	var parts []string
	for _, model := range slices.Compact(slices.Sorted(slices.Values(models))) {
		text, n := printable(model), 0
		for _, other := range models {
			if other == model {
				n++
			}
		}
		if n > 1 {
			text = fmt.Sprintf("%d × %s", n, text)
		}
		parts = append(parts, text)
	}
	return strings.Join(parts, ", ")
}

// bytesOf is a size; 0 is empty.
func bytesOf(n int64) string {
	if n == 0 {
		return ""
	}
	return size(n)
}

// section prints a stream's bytes below a heading, if there are any, and ends the line.
func section(w io.Writer, heading string, data []byte) error {
	if len(data) == 0 {
		return nil
	}
	end := ""
	if data[len(data)-1] != '\n' {
		end = "\n"
	}
	_, err := fmt.Fprintf(w, "%s\n%s%s", heading, data, end)
	return err
}
