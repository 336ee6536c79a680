package bundle

import (
	"archive/tar"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"

	"github.com/klauspost/compress/zstd"

	"github.com/hermes-serverless/hermes/events"
)

// Pack writes the archive of a function's source folder to w and returns what was written. It
// leaves out .git and what .gitignore and .hermesignore say. A link, device, socket or pipe is an
// *Error, as is a folder beyond DefaultLimits. After an error w holds a part of an archive.
func Pack(ctx context.Context, dir string, w io.Writer) (events.Blob, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return events.Blob{}, fmt.Errorf("pack the folder: %w", err)
	}
	defer root.Close()
	return pack(ctx, &packer{root: root, ignore: &ignore{}, tally: tally{limits: DefaultLimits()}}, w)
}

// PackRoot writes the archive of everything beneath root, as Pack does, whoever may have prepared
// what lies there: nothing outside root is read. A link to a regular file beneath root is packed
// as that file; any other link is an *Error.
func PackRoot(ctx context.Context, root *os.Root, w io.Writer, limits Limits) (events.Blob, error) {
	return pack(ctx, &packer{root: root, follow: true, tally: tally{limits: limits.orDefault()}}, w)
}

type packer struct {
	root *os.Root
	// ignore is nil when everything is packed.
	ignore *ignore
	// follow packs links to files as those files.
	follow bool
	// kept is nil where nothing may be left out but what is ignored.
	kept  *Kept
	tally tally
	tar   *tar.Writer
	sum   *events.BlobWriter
}

func pack(ctx context.Context, p *packer, w io.Writer) (events.Blob, error) {
	p.sum = events.NewBlobWriter(w)
	// One goroutine and a fixed window: the bytes must not depend on the machine.
	z, err := zstd.NewWriter(p.sum, zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(4<<20),
		zstd.WithEncoderLevel(zstd.SpeedDefault), zstd.WithEncoderCRC(true))
	if err != nil {
		return events.Blob{}, fmt.Errorf("pack: %w", err)
	}
	p.tar = tar.NewWriter(z)
	if err := p.folder(ctx, "."); err != nil {
		z.Reset(io.Discard) // what is buffered is not wanted any more
		return events.Blob{}, errors.Join(err, z.Close())
	}
	if err := errors.Join(p.tar.Close(), z.Close()); err != nil {
		return events.Blob{}, fmt.Errorf("pack: %w", err)
	}
	return p.sum.Blob(), nil
}

// folder packs what lies in dir: the files first, so that a small file of the top is found
// without unpacking much, then its folders.
func (p *packer) folder(ctx context.Context, dir string) error {
	if p.ignore != nil {
		if err := p.ignore.load(p.root, dir); err != nil {
			return err
		}
	}
	entries, err := p.list(dir)
	if err != nil {
		return p.leave(err)
	}
	for _, e := range entries {
		if err := ctx.Err(); err != nil {
			return err
		}
		name := path.Join(dir, e.Name())
		if p.ignore.match(name, e.IsDir()) {
			continue
		}
		err := p.tally.entry(name)
		switch {
		case err != nil:
			err = p.leave(err)
		case e.IsDir():
			err = p.subfolder(ctx, name)
		default:
			err = p.file(ctx, name, e.Type())
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// list returns a folder's entries in their order in the archive. It stops at the limit of files,
// so that a folder of millions takes no memory.
func (p *packer) list(dir string) ([]fs.DirEntry, error) {
	f, err := p.root.Open(dir)
	if err != nil {
		return nil, fmt.Errorf("pack: %w", err)
	}
	defer f.Close()
	var all []fs.DirEntry
	for {
		some, err := f.ReadDir(1024)
		all = append(all, some...)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("pack: %w", err)
		}
		if len(all) > 10*p.tally.limits.Files { // most may be ignored files
			return nil, wrong(dir, "has more than %d files", 10*p.tally.limits.Files)
		}
	}
	slices.SortFunc(all, func(a, b fs.DirEntry) int {
		if a.IsDir() != b.IsDir() {
			if b.IsDir() {
				return -1
			}
			return 1
		}
		return cmp.Compare(a.Name(), b.Name())
	})
	return all, nil
}

func (p *packer) subfolder(ctx context.Context, name string) error {
	h := &tar.Header{Typeflag: tar.TypeDir, Name: name + "/", Mode: 0o755, Format: tar.FormatPAX}
	if err := p.tar.WriteHeader(h); err != nil {
		return fmt.Errorf("pack %s: %w", name, err)
	}
	return p.folder(ctx, name)
}

func (p *packer) file(ctx context.Context, name string, kind fs.FileMode) error {
	f, before, err := p.openFile(name, kind)
	if err != nil {
		return p.leave(err)
	}
	defer f.Close()
	if err := p.content(ctx, name, f, before); err != nil {
		return err
	}
	return p.tally.ratio(p.tally.bytes, p.sum.SizeBytes()+ratioFloor/p.tally.limits.Ratio)
}

// openFile opens what is to be packed as a file, and counts it.
func (p *packer) openFile(name string, kind fs.FileMode) (_ *os.File, _ fs.FileInfo, err error) {
	switch {
	case kind.IsRegular():
	case kind&fs.ModeSymlink != 0 && p.follow:
		if info, err := p.root.Stat(name); err != nil || !info.Mode().IsRegular() {
			return nil, nil, wrong(name, "is a link that does not lead to a file inside the folder")
		}
	default:
		return nil, nil, wrong(name, "is %s; only files and folders can be packed", kindName(kind))
	}
	f, err := openRegular(p.root, name)
	if err != nil {
		return nil, nil, err
	}
	defer func() {
		if err != nil {
			_ = f.Close()
		}
	}()
	info, err := f.Stat()
	if err != nil {
		return nil, nil, fmt.Errorf("pack %s: %w", name, err)
	}
	return f, info, p.tally.content(name, info.Size())
}

func (p *packer) content(ctx context.Context, name string, f *os.File, before fs.FileInfo) error {
	h := &tar.Header{Typeflag: tar.TypeReg, Name: name, Size: before.Size(), Mode: fileMode(before.Mode()), Format: tar.FormatPAX}
	if err := p.tar.WriteHeader(h); err != nil {
		return fmt.Errorf("pack %s: %w", name, err)
	}
	var to io.Writer = p.tar
	sum := events.NewBlobWriter(io.Discard)
	if p.kept != nil {
		to = io.MultiWriter(p.tar, sum)
	}
	n, err := io.Copy(to, io.LimitReader(&ctxReader{ctx, f}, before.Size()))
	if err != nil {
		return fmt.Errorf("pack %s: %w", name, err)
	}
	after, err := f.Stat()
	if err != nil {
		return fmt.Errorf("pack %s: %w", name, err)
	}
	if n != before.Size() || after.Size() != n || !after.ModTime().Equal(before.ModTime()) {
		return wrong(name, "changed while it was read; try again")
	}
	if p.kept != nil {
		p.keep(name, before.Mode(), sum.Blob())
	}
	return nil
}

// openRegular opens a file that must be regular, whatever is put in its place meanwhile.
func openRegular(root *os.Root, name string) (*os.File, error) {
	f, err := root.OpenFile(name, os.O_RDONLY|openNonblock, 0)
	if err != nil {
		return nil, fmt.Errorf("pack: %w", err)
	}
	info, err := f.Stat()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("pack %s: %w", name, err), f.Close())
	}
	if !info.Mode().IsRegular() {
		return nil, errors.Join(wrong(name, "is %s; only files and folders can be packed", kindName(info.Mode())), f.Close())
	}
	return f, nil
}

func fileMode(m fs.FileMode) int64 {
	if m&0o111 != 0 {
		return 0o755
	}
	return 0o644
}

func kindName(m fs.FileMode) string {
	switch {
	case m&fs.ModeSymlink != 0:
		return "a link"
	case m&fs.ModeSocket != 0:
		return "a socket"
	case m&fs.ModeNamedPipe != 0:
		return "a pipe"
	case m&fs.ModeDevice != 0:
		return "a device"
	case m.IsDir():
		return "a folder"
	}
	return "no regular file"
}

// ctxReader ends with the context's error.
type ctxReader struct {
	ctx context.Context
	r   io.Reader
}

func (c *ctxReader) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}
