package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/spf13/cobra"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/events/streams"
	"github.com/hermes-serverless/hermes/projections/bases"
	"github.com/hermes-serverless/hermes/projections/projector/views"
	"github.com/hermes-serverless/hermes/services/blobs"
	"github.com/hermes-serverless/hermes/services/commandline"
	"github.com/hermes-serverless/hermes/services/hermesd/instance"
	"github.com/hermes-serverless/hermes/services/registry"
)

// baseCommand is what all commands about bases have in common.
type baseCommand struct {
	natsContext string
	format      format
}

func newBaseCommand() *cobra.Command {
	o := &baseCommand{}
	cmd := &cobra.Command{
		Use:   "base",
		Short: "Bring in the images that functions are built and run on",
		Long: `A base is the root filesystem that functions are built and run on. Without any there is "host", the
machine's own /usr. An image is brought in once, here; watchers fetch it from the instance when they
need it, so that none of them needs a registry.

A function remembers which image it was built on and runs on exactly that one, also after its name was
imported anew; its next deploy takes the new one.`,
		Example: `  hermesd base import gcc gcc.tar             # an OCI or docker archive, or a root filesystem
  hermesd base pull docker.io/library/gcc:14 --name gcc
  hermesd base build small --packages g++,make
  hermesd base default cpp gcc                # what functions in C++ are built on that name none`,
	}
	contextFlag(cmd.PersistentFlags(), &o.natsContext)
	cmd.AddCommand(newBaseImportCommand(o), newBaseBuildCommand(o), newBasePullCommand(o),
		o.list(), o.inspect(), o.remove(), o.setDefault())
	return cmd
}

// operating is a connection as the operator.
type operating struct {
	conn  *nats.Conn
	js    jetstream.JetStream
	bases registry.Bases
	views *views.Views
}

func (o *baseCommand) connect(ctx context.Context) (*operating, error) {
	nc, err := connectOperator(o.natsContext)
	if err != nil {
		return nil, err
	}
	js, err := jetstream.New(nc)
	if err == nil {
		var store *blobs.Store
		if store, err = blobs.Open(ctx, js, streams.Blobs); err == nil {
			logs := instance.OpenLogs(js)
			op := &operating{conn: nc, js: js, bases: instance.OpenBases(logs, store, slog.New(slog.DiscardHandler)), views: views.New(js, logs.Executions)}
			op.bases.By = operatorName()
			return op, nil
		}
	}
	nc.Close()
	return nil, err
}

// with runs f as the operator.
func (o *baseCommand) with(f func(cmd *cobra.Command, op *operating, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		op, err := o.connect(cmd.Context())
		if err != nil {
			return err
		}
		defer op.conn.Close()
		return f(cmd, op, args)
	}
}

// acting is with for what changes something: what fails is in the audit.
func (o *baseCommand) acting(f func(cmd *cobra.Command, op *operating, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		op, err := o.connect(cmd.Context())
		if err != nil {
			return err
		}
		defer op.conn.Close()
		err = f(cmd, op, args)
		return inVain(cmd.Context(), op.js, "base."+cmd.Name(), strings.Join(args, " "), err)
	}
}

func (o *baseCommand) outputFlag(cmd *cobra.Command) *cobra.Command {
	o.format.flags(cmd, cmd.Flags())
	return cmd
}

// baseRow is an image of a base, as list and inspect show it.
type baseRow struct {
	Name string `json:"name"`
	// Current: the name means this image.
	Current       bool      `json:"current"`
	Digest        string    `json:"digest"`
	Architecture  string    `json:"architecture"`
	SizeBytes     int64     `json:"sizeBytes"`
	UnpackedBytes int64     `json:"unpackedBytes"`
	Files         int64     `json:"files"`
	ImportedAt    time.Time `json:"importedAt"`
	Source        string    `json:"source"`
	// Languages are built on it unless a function says otherwise.
	Languages []string `json:"languages,omitempty"`
}

func rowsOf(all []bases.Base, languages []bases.Language) []baseRow {
	rows := []baseRow{}
	for _, b := range all {
		for i, image := range slices.Backward(b.Images) {
			row := baseRow{
				Name: b.Name, Current: i == len(b.Images)-1, Digest: image.Image.Digest, Architecture: image.Architecture,
				SizeBytes: image.Image.SizeBytes, UnpackedBytes: image.UnpackedBytes, Files: image.Files,
				ImportedAt: image.ImportedAt, Source: image.Source,
			}
			for _, l := range languages {
				if row.Current && l.Base == b.Name {
					row.Languages = append(row.Languages, l.Language)
				}
			}
			rows = append(rows, row)
		}
	}
	return rows
}

func (o *baseCommand) list() *cobra.Command {
	return o.outputFlag(&cobra.Command{
		Use: "list", Short: "List the images, and the languages that are built on them", Args: cobra.NoArgs,
		Example: "  hermesd base list\n  hermesd base list -o json",
		RunE: o.with(func(cmd *cobra.Command, op *operating, _ []string) error {
			all, err := op.views.Bases(cmd.Context())
			if err != nil {
				return err
			}
			languages, err := op.views.Languages(cmd.Context())
			if err != nil {
				return err
			}
			rows := rowsOf(all, languages)
			if !o.format.human() {
				return printAll(o.format, cmd.OutOrStdout(), rows)
			}
			return printBases(cmd.OutOrStdout(), rows)
		}),
	})
}

// printBases shows an old image without its name: the name means another one.
func printBases(w io.Writer, rows []baseRow) error {
	table := tabwriter.NewWriter(w, 0, 4, 3, ' ', 0)
	fmt.Fprintln(table, "Name\tDigest\tArch\tSize\tImported\tLanguages\tSource")
	for _, r := range rows {
		name := r.Name
		if !r.Current {
			name = "  (older)"
		}
		fmt.Fprintf(table, "%s\t%.12s\t%s\t%s\t%s\t%s\t%s\n", name, strings.TrimPrefix(r.Digest, "sha256:"), r.Architecture,
			humanize.IBytes(uint64(r.SizeBytes)), r.ImportedAt.Local().Format("01/02 15:04:05"), strings.Join(r.Languages, ","), r.Source)
	}
	return table.Flush()
}

func (o *baseCommand) inspect() *cobra.Command {
	return o.outputFlag(&cobra.Command{
		Use: "inspect NAME", Short: "Show the images of one base", Args: cobra.ExactArgs(1), ValidArgsFunction: o.complete(0),
		Example: "  hermesd base inspect gcc",
		RunE: o.with(func(cmd *cobra.Command, op *operating, args []string) error {
			b, err := op.bases.Base(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			if !b.Exists() {
				_, err := op.bases.Resolve(cmd.Context(), b.Name, "")
				return err
			}
			languages, err := op.bases.Languages(cmd.Context())
			if err != nil {
				return err
			}
			rows := rowsOf([]bases.Base{b}, languages)
			if !o.format.human() {
				return printAll(o.format, cmd.OutOrStdout(), rows)
			}
			return printImages(cmd.OutOrStdout(), rows)
		}),
	})
}

func printImages(w io.Writer, rows []baseRow) error {
	table := tabwriter.NewWriter(w, 0, 4, 3, ' ', 0)
	for i, r := range rows {
		if i > 0 {
			fmt.Fprintln(table)
		}
		for _, line := range [][2]string{
			{"name", r.Name}, {"current", fmt.Sprint(r.Current)}, {"digest", r.Digest}, {"architecture", r.Architecture},
			{"size", humanize.IBytes(uint64(r.SizeBytes))}, {"unpacked", humanize.IBytes(uint64(r.UnpackedBytes))},
			{"files", fmt.Sprint(r.Files)}, {"imported", r.ImportedAt.Local().Format(time.DateTime)},
			{"source", r.Source}, {"languages", strings.Join(r.Languages, ", ")},
		} {
			if line[1] != "" {
				fmt.Fprintf(table, "%s\t%s\n", line[0], line[1])
			}
		}
	}
	return table.Flush()
}

func (o *baseCommand) remove() *cobra.Command {
	var force bool
	cmd := &cobra.Command{
		Use: "remove NAME[@DIGEST]", Short: "Remove a base, or one of its images", Args: cobra.ExactArgs(1), ValidArgsFunction: o.complete(0),
		Long: `Removes all images of a base, or the one whose digest begins so; the name then means the one that was
imported before it. It is refused, with their names, while functions need it or a language is built on
it: with --force they stay, and cannot run any more.`,
		Example: "  hermesd base remove gcc\n  hermesd base remove gcc@sha256:4be1",
		RunE: o.acting(func(cmd *cobra.Command, op *operating, args []string) error {
			name, digest := registry.SplitBase(args[0])
			removal, err := op.bases.Remove(cmd.Context(), name, digest, force)
			if err != nil {
				return err
			}
			for _, image := range removal.Images {
				kept := ""
				if slices.Contains(removal.Kept, image) {
					kept = " (its content stays: it is still needed)"
				}
				fmt.Fprintf(cmd.OutOrStdout(), "removed %s@%s%s\n", name, image, kept)
			}
			return nil
		}),
	}
	cmd.Flags().BoolVar(&force, "force", false, "remove it although functions need it, which can run no more then")
	return cmd
}

func (o *baseCommand) setDefault() *cobra.Command {
	return &cobra.Command{
		Use: "default LANGUAGE NAME", Short: "Choose what functions of a language are built on", Args: cobra.ExactArgs(2),
		Long: `Chooses the base of functions whose hermes.config.json has no "base". It holds from their next deploy
on. The name host is the machine's own /usr, which is what every language has at first.`,
		Example:           "  hermesd base default cpp gcc\n  hermesd base default cpp host",
		ValidArgsFunction: o.complete(1),
		PreRunE: func(cmd *cobra.Command, args []string) error {
			if !slices.Contains(languages, args[0]) {
				return commandline.UsageOf(cmd, commandline.Usage("%q is no language; there are %s", args[0], strings.Join(languages, " and ")))
			}
			return nil
		},
		RunE: o.acting(func(cmd *cobra.Command, op *operating, args []string) error {
			if err := op.bases.SetDefault(cmd.Context(), args[0], args[1]); err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "functions in %s that name no base are built on %s from now on\n", args[0], args[1])
			return nil
		}),
	}
}

// languages are those of functions.
var languages = []string{"cpp", "cuda"}

// complete offers the names of bases for the argument at this place.
func (o *baseCommand) complete(at int) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		if len(args) < at && at == 1 {
			return languages, cobra.ShellCompDirectiveNoFileComp
		}
		if len(args) != at {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		op, err := o.connect(cmd.Context())
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		defer op.conn.Close()
		all, err := op.bases.All(cmd.Context())
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		names := slices.Sorted(maps.Keys(all))
		if at == 1 {
			names = append(names, events.HostBase)
		}
		return names, cobra.ShellCompDirectiveNoFileComp
	}
}
