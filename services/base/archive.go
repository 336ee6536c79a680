package base

import (
	"archive/tar"
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"syscall"

	"github.com/klauspost/compress/zstd"

	"github.com/hermes-serverless/hermes/events"
)

// Packed is what Pack made.
type Packed struct {
	events.Blob
	// Files and UnpackedBytes are what the root filesystem takes.
	Files, UnpackedBytes int64
}

// Pack writes the root filesystem in a folder that a Tree has filled. The same folder and the same
// manifest give the same bytes.
func Pack(ctx context.Context, root *os.Root, m Manifest, w io.Writer) (Packed, error) {
	manifest, err := m.encode()
	if err != nil {
		return Packed{}, err
	}
	sum := events.NewBlobWriter(w)
	// One goroutine: how many there are must not show in the bytes.
	z, err := zstd.NewWriter(sum, zstd.WithEncoderConcurrency(1))
	if err != nil {
		return Packed{}, err
	}
	p := packer{root: root, tar: tar.NewWriter(z), links: map[uint64]string{}}
	err = p.tar.WriteHeader(&tar.Header{Typeflag: tar.TypeXGlobalHeader, PAXRecords: map[string]string{manifestRecord: manifest}})
	if err == nil {
		err = fs.WalkDir(root.FS(), ".", func(name string, d fs.DirEntry, err error) error {
			if err == nil {
				err = ctx.Err()
			}
			if err != nil || name == "." {
				return err
			}
			return p.add(name)
		})
	}
	if err = errors.Join(err, p.tar.Close(), z.Close()); err != nil {
		return Packed{}, fmt.Errorf("pack the root filesystem: %w", err)
	}
	return Packed{Blob: sum.Blob(), Files: p.files, UnpackedBytes: p.bytes}, nil
}

type packer struct {
	root         *os.Root
	tar          *tar.Writer
	files, bytes int64
	// links are the first names of files that have several, by inode.
	links map[uint64]string
}

func (p *packer) add(name string) error {
	info, err := p.root.Lstat(name)
	if err != nil {
		return err
	}
	p.files++
	h := &tar.Header{Name: name, Format: tar.FormatPAX, Mode: int64(info.Mode().Perm())}
	switch {
	case info.IsDir():
		h.Typeflag, h.Name = tar.TypeDir, name+"/"
		return p.tar.WriteHeader(h)
	case info.Mode()&fs.ModeSymlink != 0:
		h.Typeflag = tar.TypeSymlink
		if h.Linkname, err = p.root.Readlink(name); err != nil {
			return err
		}
		return p.tar.WriteHeader(h)
	case !info.Mode().IsRegular():
		return fmt.Errorf("%s: %s is no file", name, info.Mode())
	}
	if stat, ok := info.Sys().(*syscall.Stat_t); ok && stat.Nlink > 1 {
		if first, again := p.links[stat.Ino]; again {
			h.Typeflag, h.Linkname = tar.TypeLink, first
			return p.tar.WriteHeader(h)
		}
		p.links[stat.Ino] = name
	}
	h.Typeflag, h.Size, h.ModTime = tar.TypeReg, info.Size(), info.ModTime().Truncate(1e9)
	p.bytes += h.Size
	if err := p.tar.WriteHeader(h); err != nil {
		return err
	}
	return p.content(name)
}

func (p *packer) content(name string) error {
	f, err := p.root.Open(name)
	if err != nil {
		return err
	}
	defer f.Close() //nolint:errcheck // only read
	_, err = io.Copy(p.tar, f)
	return err
}

// Unpack unpacks an archive that Pack made into an empty folder: the root filesystem into RootFS, and
// beside it the manifest. An archive that breaks a rule is an *Error.
func Unpack(ctx context.Context, r io.Reader, folder *os.Root) error {
	if err := folder.Mkdir(RootFS, 0o755); err != nil {
		return fmt.Errorf("unpack a base: %w", err)
	}
	root, err := folder.OpenRoot(RootFS)
	if err != nil {
		return fmt.Errorf("unpack a base: %w", err)
	}
	defer root.Close() //nolint:errcheck // only a handle
	z, err := zstd.NewReader(r, zstd.WithDecoderMaxWindow(maxWindowBytes), zstd.WithDecoderConcurrency(1))
	if err != nil {
		return fmt.Errorf("unpack a base: %w", err)
	}
	defer z.Close()
	t := NewTree(root, Limits{})
	manifest, err := t.unpack(ctx, tar.NewReader(bufio.NewReaderSize(z, 1<<20)), nil)
	if err != nil {
		return err
	}
	if manifest == "" {
		return wrong("", "is none that Hermes packed: its archive has no manifest")
	}
	m, err := decodeManifest(manifest)
	if err != nil {
		return err
	}
	if err := t.Finish(); err != nil {
		return err
	}
	raw, err := json.Marshal(m)
	if err == nil {
		err = folder.WriteFile(manifestFile, raw, 0o444)
	}
	if err != nil {
		return fmt.Errorf("unpack a base: %w", err)
	}
	return nil
}

// ReadManifest returns the manifest of a base that Unpack put into a folder.
func ReadManifest(folder string) (Manifest, error) {
	raw, err := os.ReadFile(path.Join(folder, manifestFile))
	if err != nil {
		return Manifest{}, fmt.Errorf("read the manifest of a base: %w", err)
	}
	return decodeManifest(string(raw))
}
