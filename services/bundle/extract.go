package bundle

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
)

// Owner is whom extracted files belong to.
type Owner struct{ UID, GID int }

// Options are what may differ in how an archive is unpacked.
type Options struct {
	// Owner, when set, gets every file and folder, root itself not.
	Owner *Owner
	// ReadOnly makes files 0444 (0555 when executable) and folders 0555 instead of 0644, 0755
	// and 0755.
	ReadOnly bool
}

// Extract unpacks an archive into root, which should be an empty folder. Nothing outside root is
// touched, whatever the archive says. An archive that breaks a rule or a limit is an *Error; it
// stops at the first such byte and leaves what was unpacked until then. An error of r itself is
// returned wrapped.
func Extract(ctx context.Context, r io.Reader, root *os.Root, limits Limits) error {
	return ExtractWith(ctx, r, root, limits, Options{})
}

// ExtractWith is Extract with options.
func ExtractWith(ctx context.Context, r io.Reader, root *os.Root, limits Limits, options Options) error {
	a, err := open(ctx, r, limits.orDefault())
	if err != nil {
		return err
	}
	defer a.close()
	x := extractor{root: root, options: options, archive: a}
	for {
		h, err := a.next()
		if errors.Is(err, io.EOF) {
			return x.finish()
		}
		if err != nil {
			return err
		}
		if h.Typeflag == tar.TypeDir {
			err = x.folder(h.Name)
		} else {
			err = x.file(h)
		}
		if err != nil {
			return err
		}
	}
}

type extractor struct {
	root    *os.Root
	options Options
	archive *archive
	// folders in the order of the archive: parents come first.
	folders []string
}

func (x *extractor) folder(name string) error {
	if err := x.root.Mkdir(name, 0o700); err != nil {
		return x.refused(name, err)
	}
	x.folders = append(x.folders, name)
	return nil
}

func (x *extractor) file(h *tar.Header) (err error) {
	f, err := x.root.OpenFile(h.Name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return x.refused(h.Name, err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if err := x.archive.copy(f, h.Name); err != nil {
		return err
	}
	mode := fs.FileMode(fileMode(fs.FileMode(h.Mode)))
	if x.options.ReadOnly {
		mode &^= 0o222
		if mode&0o100 != 0 {
			mode = 0o555
		}
	}
	if o := x.options.Owner; o != nil {
		if err := f.Chown(o.UID, o.GID); err != nil {
			return fmt.Errorf("unpack %s: %w", h.Name, err)
		}
	}
	if err := f.Chmod(mode); err != nil {
		return fmt.Errorf("unpack %s: %w", h.Name, err)
	}
	return x.root.Chtimes(h.Name, epoch, epoch)
}

// finish gives the folders their modes and times, which filling them would have undone.
func (x *extractor) finish() error {
	mode := fs.FileMode(0o755)
	if x.options.ReadOnly {
		mode = 0o555
	}
	for _, name := range slices.Backward(x.folders) {
		if o := x.options.Owner; o != nil {
			if err := x.root.Lchown(name, o.UID, o.GID); err != nil {
				return fmt.Errorf("unpack: %w", err)
			}
		}
		if err := x.root.Chtimes(name, epoch, epoch); err != nil {
			return fmt.Errorf("unpack: %w", err)
		}
		if err := x.root.Chmod(name, mode); err != nil {
			return fmt.Errorf("unpack: %w", err)
		}
	}
	return nil
}

func (x *extractor) refused(name string, err error) error {
	if errors.Is(err, fs.ErrExist) {
		return &Error{Path: name, Why: "is there already", err: err}
	}
	return fmt.Errorf("unpack: %w", err)
}

// ReadFile returns one regular file of an archive without unpacking it. A file that is not there
// is an *Error that wraps fs.ErrNotExist, one of more than maxBytes is an *Error.
func ReadFile(ctx context.Context, r io.Reader, name string, maxBytes int64) ([]byte, error) {
	a, err := open(ctx, r, DefaultLimits())
	if err != nil {
		return nil, err
	}
	defer a.close()
	for {
		h, err := a.next()
		if errors.Is(err, io.EOF) {
			return nil, &Error{Path: name, Why: "is not in the archive", err: fs.ErrNotExist}
		}
		if err != nil {
			return nil, err
		}
		if h.Name != name {
			continue
		}
		if h.Typeflag != tar.TypeReg {
			return nil, wrong(name, "is a folder, not a file")
		}
		raw, err := io.ReadAll(io.LimitReader(a.tar, maxBytes+1))
		if err != nil {
			return nil, a.explain(name, err)
		}
		if int64(len(raw)) > maxBytes {
			return nil, wrong(path.Clean(name), "is larger than %d bytes", maxBytes)
		}
		return raw, nil
	}
}

// ExtractReadOnly is Extract into files that nobody shall change: 0444, or 0555 when executable.
func ExtractReadOnly(ctx context.Context, r io.Reader, root *os.Root) error {
	return ExtractWith(ctx, r, root, Limits{}, Options{ReadOnly: true})
}
