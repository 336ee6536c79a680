package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/services/commandline"
)

const (
	// mapConcurrency is how many executions of a map are under way at once when nobody says.
	mapConcurrency = 32
	// maxMapConcurrency bounds it: the server waits for each of them.
	maxMapConcurrency = 1000
)

type functionMapOptions struct {
	app         *app
	ctx         context.Context
	function    string
	ref         events.FunctionRef
	inputs      string
	concurrency int
	batch       string
	out         string
	timeout     time.Duration
	gpu         gpuFlag
}

func newFunctionMapCmd(a *app, run func(*functionMapOptions) error) *cobra.Command {
	if run == nil {
		run = runFunctionMap
	}
	o := &functionMapOptions{app: a}
	cmd := &cobra.Command{
		Use:   "map ID",
		Short: "Run a function on each line of a file, or on each file of a folder",
		Long: `Runs a function once for each of many inputs: each line of a file (with its line end; an empty line is
an input too), or each file of a folder and of the folders in it, in the order of their paths, without
those whose names begin with a dot. It shows how far it is, waits for the end of all, sums them up, and
exits with 1 if not all have succeeded.

The executions are a batch, with an id that is printed at the start. All run one version: the one that
was the highest at the start, when none is named. At most --concurrency of them are in the queue or
run at once; when your quota has no room for more, it waits.

Ctrl-C asks whether to cancel the batch or to leave: then what was accepted goes on without it, and
nothing more is sent. Where nobody can be asked, it leaves. The same command with --resume BATCH goes
on, wherever it was and however it ended: each input runs once. The inputs must be the same.

--gpu says what each run asks of GPUs, as it does for "hermes function run".

With --out each output is written into a folder: 000001.stdout for the first line, and 000001.stderr if
it printed anything there; or a.txt.stdout for the file a.txt. With --output jsonl each execution is
printed as a line when it has ended.`,
		Example: `  hermes function map pi --inputs points.txt
  hermes function map ana/resize:1.0.0 --inputs images/ --out resized/ --concurrency 100
  hermes function map train --inputs seeds.txt --gpu "memory=40GiB,model=H100|A100"
  seq 1000 | hermes function map pi --inputs - -o jsonl > ended.jsonl
  hermes function map pi --inputs points.txt --resume 01JDY3M8WZ0000000000000000
  hermes execution list --batch 01JDY3M8WZ0000000000000000 --status error`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeFunctions(true),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			o.ctx, o.function = cmd.Context(), args[0]
			if o.ref, err = parseRef(args[0]); err != nil {
				return err
			}
			if err := o.check(cmd); err != nil {
				return usageOf(cmd, err)
			}
			return run(o)
		},
	}
	cmd.Flags().StringVar(&o.inputs, "inputs", "", "the `file` whose lines, or the folder whose files, are the inputs; - is stdin")
	cmd.Flags().IntVar(&o.concurrency, "concurrency", mapConcurrency, "how many are in the queue or run at once, at most")
	cmd.Flags().StringVar(&o.batch, "resume", "", "go on with this `batch`")
	cmd.Flags().StringVar(&o.out, "out", "", "write each output into this `folder`")
	commandline.DurationVar(cmd.Flags(), &o.timeout, "timeout", "end each after this `time`, if that is shorter than the function's own: 90s, 5m")
	o.gpu.flag(cmd, "ask for this of GPUs for each, like `count=2,memory=8GiB`, in place of what the function's config says; may be repeated")
	_ = cmd.RegisterFlagCompletionFunc("resume", a.completeBatches)
	_ = cmd.MarkFlagDirname("out")
	return cmd
}

func (o *functionMapOptions) check(cmd *cobra.Command) error {
	switch {
	case o.inputs == "":
		return usage("--inputs names no file and no folder")
	case o.concurrency < 1 || o.concurrency > maxMapConcurrency:
		return usage("--concurrency %d: must be from 1 to %d", o.concurrency, maxMapConcurrency)
	case cmd.Flags().Changed("timeout") && o.timeout < time.Millisecond:
		return usage("--timeout %s: must be at least 1ms", o.timeout)
	case cmd.Flags().Changed("out") && o.out == "":
		return usage("--out names no folder")
	case cmd.Flags().Changed("resume"):
		var err error
		o.batch, err = parseBatch("resume", o.batch)
		return err
	}
	return nil
}

// parseBatch reads a flag that names a batch.
func parseBatch(flag, text string) (string, error) {
	id := strings.ToUpper(text)
	if events.CheckExecutionID(id) != nil {
		return "", usage("--%s %q: must be a batch's id, of 26 characters", flag, text).
			WithHint("`hermes function map` prints it at its start")
	}
	return id, nil
}

func runFunctionMap(o *functionMapOptions) error {
	inputs, err := openMapInputs(o.inputs, o.app.streams)
	if err != nil {
		return err
	}
	defer inputs.close()
	if inputs.total == 0 {
		return o.nothing()
	}
	if o.out != "" {
		if err := o.openOut(); err != nil {
			return err
		}
	}
	client, done, err := o.app.connect()
	if err != nil {
		return err
	}
	defer done()
	m := newMapper(o, client, inputs.total)
	verb := "begins"
	if m.resumed {
		verb = "goes on"
	}
	o.app.note("batch %s %s: %s of %s", o.batch, verb, countOf(inputs.total, "input"), o.function)
	return m.run(inputs)
}

// nothing is the error of inputs of which there are none.
func (o *functionMapOptions) nothing() error {
	return usage("the inputs %s are empty: there is nothing to run", o.inputs)
}

// countOf says a number of things; -1 is not known.
func countOf(n int64, what string) string {
	switch n {
	case -1:
		return what + "s"
	case 1:
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// openOut makes the folder of the outputs. Among the inputs, they would be inputs the next time.
func (o *functionMapOptions) openOut() error {
	if o.inputs != "-" {
		in, err := realPath(o.inputs)
		if err != nil {
			return err
		}
		out, err := realPath(o.out)
		if err != nil {
			return err
		}
		if rel, err := filepath.Rel(in, out); err == nil && filepath.IsLocal(rel) {
			return usage("--out %s lies in the folder of the inputs, %s: the outputs would be inputs the next time", o.out, o.inputs)
		}
	}
	return os.MkdirAll(o.out, 0o777)
}

// realPath follows the links in a path, of which the end need not be there yet.
func realPath(path string) (string, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	real, err := filepath.EvalSymlinks(path)
	if parent := filepath.Dir(path); errors.Is(err, fs.ErrNotExist) && parent != path {
		real, err = realPath(parent)
		return filepath.Join(real, filepath.Base(path)), err
	}
	return real, err
}

// again is the command line that goes on with the batch.
func (o *functionMapOptions) again() string {
	words := []string{"hermes", "function", "map", o.function, "--inputs", shellWord(o.inputs)}
	if o.out != "" {
		words = append(words, "--out", shellWord(o.out))
	}
	if o.timeout != 0 {
		words = append(words, "--timeout", o.timeout.String())
	}
	if asked := o.gpu.String(); asked != "" {
		words = append(words, "--gpu", shellWord(asked))
	}
	return strings.Join(append(words, "--resume", o.batch), " ")
}

// shellWord quotes what a shell would take apart.
func shellWord(text string) string {
	plain := func(r rune) bool {
		return strings.ContainsRune("+,-./:=@_", r) || r >= '0' && r <= '9' || r >= 'A' && r <= 'Z' || r >= 'a' && r <= 'z'
	}
	if text != "" && strings.IndexFunc(text, func(r rune) bool { return !plain(r) }) < 0 {
		return text
	}
	return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'"
}
