package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/services/base"
	"github.com/hermes-serverless/hermes/services/base/image"
)

// bringing is a base that is being brought in.
type bringing struct {
	common       *baseCommand
	name         string
	architecture string
	// fill lays the root filesystem into a folder and says where it came from. scratch is for what is
	// needed meanwhile.
	fill func(ctx context.Context, scratch string, into *os.Root) (base.Manifest, string, error)
}

func (b *bringing) flags(cmd *cobra.Command) *cobra.Command {
	cmd.Flags().StringVar(&b.architecture, "arch", runtime.GOARCH, "`architecture` of the watchers that it is for, in Go's words")
	return cmd
}

func newBaseImportCommand(o *baseCommand) *cobra.Command {
	b := &bringing{common: o}
	return b.flags(&cobra.Command{
		Use:   "import NAME FILE",
		Short: "Import an OCI archive, a docker archive or a root filesystem",
		Long: `Imports an image that was saved to a file: an OCI archive, what docker save or podman save write, or the
plain tar of a root filesystem; each may be compressed with gzip or zstd. Its layers become one archive
in the instance's store. Of its config only the environment is kept. Devices, owners and setuid bits
are left out: functions read a base, and never write it.`,
		Example: `  docker save gcc:14 -o gcc.tar && hermesd base import gcc gcc.tar
  skopeo copy docker://gcc:14 oci-archive:gcc.tar && hermesd base import gcc gcc.tar`,
		Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			b.name = args[0]
			b.fill = func(ctx context.Context, scratch string, into *os.Root) (base.Manifest, string, error) {
				m, kind, err := image.Import(ctx, args[1], scratch, b.architecture, into)
				return m, fmt.Sprintf("%s (%s)", filepath.Base(args[1]), kind), err
			}
			return b.run(cmd)
		},
	})
}

// run brings the base in: a folder, one archive of it, the store, the event.
func (b *bringing) run(cmd *cobra.Command) error {
	if err := events.CheckBaseName(b.name); err != nil {
		return err
	}
	return b.common.acting(func(cmd *cobra.Command, op *operating, _ []string) error {
		return b.bring(cmd, op)
	})(cmd, []string{b.name})
}

func (b *bringing) bring(cmd *cobra.Command, op *operating) (err error) {
	ctx, out := cmd.Context(), cmd.OutOrStdout()
	scratch, err := os.MkdirTemp("", "hermes-base-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, removeTree(scratch)) }()
	f, imported, err := b.pack(ctx, scratch, cmd.ErrOrStderr())
	if err != nil {
		return err
	}
	defer f.Close() //nolint:errcheck // a temporary file
	stored := &progress{ReadSeeker: f, total: imported.Image.SizeBytes, w: cmd.ErrOrStderr(), what: "storing"}
	isNew, err := op.bases.Import(ctx, b.name, imported, stored)
	if err != nil {
		return err
	}
	word := "imported"
	if !isNew {
		word = "unchanged:"
	}
	fmt.Fprintf(out, "%s %s@%s, %s (%s and %d files unpacked)\n", word, b.name, imported.Image.Digest,
		humanize.IBytes(uint64(imported.Image.SizeBytes)), humanize.IBytes(uint64(imported.UnpackedBytes)), imported.Files)
	return nil
}

// pack returns the archive, at its beginning, and the event that would import it.
func (b *bringing) pack(ctx context.Context, scratch string, w io.Writer) (*os.File, events.BaseImported, error) {
	none := events.BaseImported{}
	root, err := openNew(filepath.Join(scratch, base.RootFS))
	if err != nil {
		return nil, none, err
	}
	defer root.Close() //nolint:errcheck // only a handle
	meanwhile := filepath.Join(scratch, "meanwhile")
	if err := os.Mkdir(meanwhile, 0o700); err != nil {
		return nil, none, err
	}
	fmt.Fprintln(w, "unpacking the layers")
	manifest, source, err := b.fill(ctx, meanwhile, root)
	if err != nil {
		return nil, none, err
	}
	fmt.Fprintln(w, "packing one archive")
	f, err := os.Create(filepath.Join(scratch, "archive"))
	if err != nil {
		return nil, none, err
	}
	packed, err := base.Pack(ctx, root, manifest, f)
	if err == nil {
		_, err = f.Seek(0, io.SeekStart)
	}
	if err != nil {
		return nil, none, errors.Join(err, f.Close())
	}
	return f, events.BaseImported{
		Image: packed.Blob, Architecture: manifest.Architecture, Files: packed.Files, UnpackedBytes: packed.UnpackedBytes, Source: source,
	}, nil
}

func openNew(dir string) (*os.Root, error) {
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, err
	}
	return os.OpenRoot(dir)
}

// removeTree also removes folders that were made read-only.
func removeTree(dir string) error {
	_ = filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			return os.Chmod(path, 0o700)
		}
		return err
	})
	return os.RemoveAll(dir)
}

// progress tells a person every second how much of a file was read.
type progress struct {
	io.ReadSeeker
	total, done int64
	w           io.Writer
	what        string
	told        time.Time
}

func (p *progress) Read(b []byte) (int, error) {
	n, err := p.ReadSeeker.Read(b)
	p.done += int64(n)
	if p.told.IsZero() {
		p.told = time.Now()
	}
	if n > 0 && time.Since(p.told) >= time.Second {
		p.told = time.Now()
		fmt.Fprintf(p.w, "%s: %s of %s (%d %%)\n", p.what, humanize.IBytes(uint64(p.done)), humanize.IBytes(uint64(p.total)), p.done*100/max(p.total, 1))
	}
	return n, err
}

// Seek starts over silently: it is done to make sure of what is stored.
func (p *progress) Seek(offset int64, whence int) (int64, error) {
	p.done, p.told = 0, time.Now().Add(time.Hour)
	return p.ReadSeeker.Seek(offset, whence)
}
