package bundle

import (
	"archive/tar"
	"context"
	"errors"
	"io"
)

// Entry is a file or folder of an archive.
type Entry struct {
	// Name is its path in slash form, which leads nowhere but below the archive's folder.
	Name       string
	Folder     bool
	SizeBytes  int64
	Executable bool
}

// Walk reads an archive from its beginning to its end and visits its entries in their order: a folder
// comes before what lies in it. content writes what is in a file, and may be left alone. Only when Walk
// returns without an error was the archive whole and within the limits.
func Walk(ctx context.Context, r io.Reader, limits Limits, visit func(e Entry, content func(io.Writer) error) error) error {
	a, err := open(ctx, r, limits.orDefault())
	if err != nil {
		return err
	}
	defer a.close()
	for {
		h, err := a.next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		e := Entry{Name: h.Name, Folder: h.Typeflag == tar.TypeDir, SizeBytes: h.Size, Executable: h.Mode&0o111 != 0}
		if err := visit(e, func(w io.Writer) error { return a.copy(w, h.Name) }); err != nil {
			return err
		}
	}
}
