package bundle

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/hermes-serverless/hermes/events"
)

// Kept says what PackKept has packed, and what it left out.
type Kept struct {
	Archive events.Blob
	// Files counts regular files, Bytes what is in them.
	Files, Bytes int64
	// Left is how many files and folders were left out, and First why the first of them was.
	Left  int64
	First *Error
	// Listing says which files the archive holds; it is made to stand before it (see ReadListing). It is nil
	// where there are too many of them.
	Listing []byte

	files []File
}

// PackKept writes the archive of what can be packed of what lies beneath root, whoever may have put it
// there, and leaves out the rest: links, which it never follows, devices, sockets and pipes, names that
// are no paths, and what is beyond the limits. Nothing outside root is read. After an error w holds a
// part of an archive.
func PackKept(ctx context.Context, root *os.Root, w io.Writer, limits Limits) (Kept, error) {
	var kept Kept
	archive, err := pack(ctx, &packer{root: root, kept: &kept, tally: tally{limits: limits.orDefault()}}, w)
	if err != nil {
		return kept, err
	}
	kept.Archive = archive
	kept.Listing, err = listing(kept.files)
	kept.files = nil
	return kept, err
}

// leave notes what is left out. The error stays where nothing may be, and if it is not about what lies
// there.
func (p *packer) leave(err error) error {
	var why *Error
	if p.kept == nil || !errors.As(err, &why) {
		return err
	}
	if p.kept.Left++; p.kept.First == nil {
		p.kept.First = why
	}
	return nil
}

// keep counts a file that was packed, and lists it.
func (p *packer) keep(name string, mode fs.FileMode, content events.Blob) {
	p.kept.Files++
	p.kept.Bytes += content.SizeBytes
	p.kept.files = append(p.kept.files, File{Name: name, SizeBytes: content.SizeBytes, Executable: fileMode(mode) == 0o755, Digest: content.Digest})
}

// String says what was left out, empty if nothing was.
func (k Kept) String() string {
	switch {
	case k.Left == 0:
		return ""
	case k.Left == 1:
		return k.First.Error()
	}
	return fmt.Sprintf("%d files and folders were left out; the first: %v", k.Left, k.First)
}
