package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/services/api"
	"github.com/hermes-serverless/hermes/services/bundle"
)

type executionFilesOptions struct {
	app   *app
	ctx   context.Context
	ref   api.ExecutionRef
	get   bool
	paths []string
	to    string
	force bool
}

func newExecutionFilesCmd(a *app, run func(*executionFilesOptions) error) *cobra.Command {
	if run == nil {
		run = runExecutionFiles
	}
	o := &executionFilesOptions{app: a}
	cmd := &cobra.Command{
		Use:   "files ID [get [PATH…]]",
		Short: "List what an execution left in $HERMES_RESULTS, or have it back",
		Long: `Lists the files that a run left in the folder of results, which it finds in the variable
HERMES_RESULTS; also of a run that failed, ran too long or was cancelled. They are kept at its end.

"get" writes them below the folder of --to: all of them, or those that are named or lie in a folder
that is. What is there already stays, and then nothing is written, unless --force replaces files.
Nothing is written through a link, and nothing outside of the folder.`,
		Example: `  hermes execution files 15
  hermes execution files 15 get --to results
  hermes execution files 15 get model.bin plots
  hermes execution:files 15 -o jsonl`,
		Args: filesArgs,
		ValidArgsFunction: func(cmd *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
			if len(args) == 1 {
				return []string{"get\twrite them here"}, noFiles
			}
			return a.completeRuns(cmd, args, word)
		},
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			o.ctx = cmd.Context()
			if o.ref, err = parseExecution(args[0]); err != nil {
				return err
			}
			if o.get = len(args) > 1; o.get {
				o.paths = args[2:]
			} else if cmd.Flags().Changed("to") || o.force {
				return usageOf(cmd, usage("--to and --force are for \"get\""))
			}
			return run(o)
		},
	}
	cmd.Flags().StringVar(&o.to, "to", ".", "get: write them below this `folder`, which is made if it is not there")
	cmd.Flags().BoolVar(&o.force, "force", false, "get: replace files that are there already")
	return cmd
}

func filesArgs(_ *cobra.Command, args []string) error {
	switch {
	case len(args) == 0:
		return usage("an execution is missing")
	case len(args) > 1 && args[1] != "get":
		return usage("%q: after the execution only \"get\" and paths can follow", args[1])
	}
	return nil
}

// resultFile is a file that an execution left.
type resultFile struct {
	Name   string `json:"name"`
	Size   int64  `json:"size"`
	Mode   string `json:"mode"`
	Digest string `json:"digest"`
}

func runExecutionFiles(o *executionFilesOptions) error {
	client, done, err := o.app.connect()
	if err != nil {
		return err
	}
	defer done()
	archive, err := scratchFile("hermes-results-*")
	if err != nil {
		return fmt.Errorf("put the results aside: %w", err)
	}
	defer discard(archive)
	left, files, err := o.fetch(client, archive)
	if err != nil {
		return err
	}
	switch {
	case o.get && (left == nil || left.Archive == nil) && len(o.paths) > 0:
		err = noSuchResult(o.paths[0])
	case o.get:
		err = o.write(left, archive)
	case files != nil:
		err = o.list(files)
	default:
		err = o.listAll(left, archive)
	}
	if err == nil && left != nil && left.Cut != "" {
		o.app.note("not everything was kept: %s", left.Cut)
	}
	return err
}

// walk visits the entries of an archive from its beginning, until errEnough. Whoever made it may not be trusted; how
// large it may get is known.
func (o *executionFilesOptions) walk(left *events.Results, archive *os.File, visit func(bundle.Entry, func(io.Writer) error) error) error {
	if left == nil || left.Archive == nil {
		return nil
	}
	if _, err := archive.Seek(0, io.SeekStart); err != nil {
		return fmt.Errorf("read the results: %w", err)
	}
	err := bundle.Walk(o.ctx, archive, bundle.Limits{TotalBytes: max(left.Bytes, 1), Ratio: 1 << 40}, visit)
	if errors.Is(err, errEnough) {
		return nil
	}
	return err
}

// listAll lists what is in the whole archive.
func (o *executionFilesOptions) listAll(left *events.Results, archive *os.File) error {
	var files []bundle.File
	err := o.walk(left, archive, func(e bundle.Entry, content func(io.Writer) error) error {
		if e.Folder {
			return nil
		}
		sum := events.NewBlobWriter(io.Discard)
		if err := content(sum); err != nil {
			return err
		}
		files = append(files, bundle.File{Name: e.Name, SizeBytes: e.SizeBytes, Executable: e.Executable, Digest: sum.Blob().Digest})
		return nil
	})
	if err != nil {
		return err
	}
	return o.list(files)
}

func (o *executionFilesOptions) list(listed []bundle.File) error {
	files := make([]resultFile, len(listed))
	for i, f := range listed {
		files[i] = resultFile{Name: f.Name, Size: f.SizeBytes, Mode: modeOf(f.Executable).String(), Digest: f.Digest}
	}
	if !o.app.human() {
		return printList(o.app, files)
	}
	if len(files) == 0 {
		o.app.note("it left no files")
		return nil
	}
	var rows [][]string
	for _, f := range files {
		rows = append(rows, []string{f.Mode, size(f.Size), f.Digest, plainName(f.Name)})
	}
	return o.app.printTable(o.app.streams.Out, []string{"Mode", "Size", "Digest", "Name"}, rows)
}

func modeOf(executable bool) os.FileMode {
	if executable {
		return 0o755
	}
	return 0o644
}

// plainName is a name as a terminal can be shown it, in quotes if that is not as it is.
func plainName(name string) string {
	for _, r := range name {
		if !strconv.IsPrint(r) {
			return strconv.Quote(name)
		}
	}
	return name
}

func noSuchResult(path string) error {
	return api.Errorf(api.NotFound, noSuchFile, "the execution left no file or folder %s", plainName(path)).
		WithHint("`hermes execution files ID` lists what there is")
}
