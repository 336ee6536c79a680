package bundle

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"

	"github.com/klauspost/compress/zstd"
)

// headerBytes is more than the tar headers and the padding of one entry with a long path take.
const headerBytes = 8 << 10

// archive reads an archive entry by entry and enforces everything that can be said of it without
// a file system.
type archive struct {
	source *counter
	zstd   *zstd.Decoder
	stream *unpacked
	tar    *tar.Reader
	tally  tally
	// seen holds every path; true for a folder.
	seen map[string]bool
}

// counter counts what the decompressor takes, and keeps the source's own error apart from those
// of a bad archive.
type counter struct {
	ctx context.Context
	r   io.Reader
	n   int64
	err error
}

func (c *counter) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		c.err = err
		return 0, err
	}
	n, err := c.r.Read(p)
	c.n += int64(n)
	if err != nil && !errors.Is(err, io.EOF) {
		c.err = err
	}
	return n, err
}

// unpacked is the tar stream; it ends with an error at the first byte beyond a limit.
type unpacked struct {
	a *archive
	n int64
}

func (u *unpacked) Read(p []byte) (int, error) {
	n, err := u.a.zstd.Read(p)
	u.n += int64(n)
	limits := u.a.tally.limits
	if u.n > limits.TotalBytes+int64(limits.Files+1)*headerBytes {
		return n, wrong("", "is larger than %d bytes when it is unpacked", limits.TotalBytes)
	}
	if err := u.a.tally.ratio(u.n, u.a.source.n); err != nil {
		return n, err
	}
	return n, err
}

func open(ctx context.Context, r io.Reader, limits Limits) (*archive, error) {
	a := &archive{source: &counter{ctx: ctx, r: r}, tally: tally{limits: limits}, seen: map[string]bool{".": true}}
	z, err := zstd.NewReader(a.source, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
		zstd.WithDecoderMaxWindow(uint64(limits.WindowBytes)))
	if err != nil {
		return nil, fmt.Errorf("unpack: %w", err)
	}
	a.zstd = z
	a.stream = &unpacked{a: a}
	a.tar = tar.NewReader(a.stream)
	return a, nil
}

func (a *archive) close() { a.zstd.Close() }

// next returns the next entry, its name clean and without a trailing slash; io.EOF behind the
// last, if the archive is complete and nothing follows it.
func (a *archive) next() (*tar.Header, error) {
	h, err := a.tar.Next()
	if errors.Is(err, io.EOF) {
		return nil, a.end()
	}
	if err != nil {
		return nil, a.explain("", err)
	}
	if h.Typeflag == tar.TypeDir {
		h.Name = strings.TrimSuffix(h.Name, "/")
	}
	if err := a.check(h); err != nil {
		return nil, err
	}
	a.seen[h.Name] = h.Typeflag == tar.TypeDir
	return h, nil
}

func (a *archive) check(h *tar.Header) error {
	if err := a.tally.entry(h.Name); err != nil {
		return err
	}
	if h.Typeflag != tar.TypeReg && h.Typeflag != tar.TypeDir {
		return wrong(h.Name, "is %s; only files and folders are allowed", tarKind(h.Typeflag))
	}
	for key := range h.PAXRecords {
		if key != "path" && key != "size" { // sparse files become large from nothing
			return wrong(h.Name, "has the attribute %q, which is not allowed", key)
		}
	}
	if _, again := a.seen[h.Name]; again {
		return wrong(h.Name, "is in the archive twice")
	}
	if isDir, there := a.seen[path.Dir(h.Name)]; !there || !isDir {
		return wrong(h.Name, "lies in a folder that is not in the archive before it")
	}
	return nil
}

// copy writes the entry's content, counting what really comes and not what its header says.
func (a *archive) copy(w io.Writer, name string) error {
	buf := make([]byte, 64<<10)
	for {
		n, err := a.tar.Read(buf)
		if over := a.tally.content(name, int64(n)); over != nil {
			return over
		}
		if _, err := w.Write(buf[:n]); err != nil {
			return fmt.Errorf("unpack: %w", err)
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return a.explain(name, err)
		}
	}
}

// end reads to the very end: only there the checksum is known to be right.
func (a *archive) end() error {
	n, err := io.Copy(io.Discard, a.stream)
	if err != nil {
		return a.explain("", err)
	}
	if n > 0 {
		return wrong("", "has %d bytes behind its end", n)
	}
	if a.source.n == 0 {
		return wrong("", "is empty")
	}
	return io.EOF
}

// explain tells errors of the source and of limits from those of a broken archive.
func (a *archive) explain(name string, err error) error {
	var e *Error
	switch {
	case a.source.err != nil:
		return fmt.Errorf("unpack: %w", a.source.err)
	case errors.As(err, &e):
		return e
	case errors.Is(err, zstd.ErrMagicMismatch):
		return wrong("", "is not compressed with zstd")
	case errors.Is(err, io.ErrUnexpectedEOF):
		return &Error{Path: name, Why: "is cut short", err: err}
	case errors.Is(err, zstd.ErrWindowSizeExceeded), errors.Is(err, zstd.ErrDecoderSizeExceeded):
		return wrong("", "needs more than %d bytes of memory to be unpacked", a.tally.limits.WindowBytes)
	}
	return &Error{Path: name, Why: "is broken: " + err.Error(), err: err}
}

func tarKind(flag byte) string {
	switch flag {
	case tar.TypeSymlink:
		return "a symbolic link"
	case tar.TypeLink:
		return "a hard link"
	case tar.TypeChar, tar.TypeBlock:
		return "a device"
	case tar.TypeFifo:
		return "a pipe"
	}
	return fmt.Sprintf("of the type %q", flag)
}
