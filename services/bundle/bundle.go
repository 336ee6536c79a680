// Package bundle packs a folder into an archive whose bytes depend on nothing but the folder's
// content, and unpacks such archives from people who are not trusted.
//
// The archive is a tar of regular files and folders, compressed with zstd. Times, owners and all
// of the modes but the executable bit are left out, and the order is fixed: the same folder gives
// the same digest on every machine. Functions' sources and what their builds made are both kept so.
package bundle

import (
	"fmt"
	"io/fs"
	"path"
	"strings"
	"time"
)

// Error says what is wrong with a folder or an archive.
type Error struct {
	// Path is the entry, in slash form; empty for the archive as a whole.
	Path string
	Why  string
	err  error
}

// Error implements error.
func (e *Error) Error() string {
	if e.Path == "" {
		return "the archive " + e.Why
	}
	return fmt.Sprintf("%q %s", e.Path, e.Why)
}

// Unwrap returns the reason, if there is one: fs.ErrNotExist for a file that is not there.
func (e *Error) Unwrap() error { return e.err }

func wrong(path, format string, args ...any) error {
	return &Error{Path: path, Why: fmt.Sprintf(format, args...)}
}

// Limits bound a folder and its archive. A zero is the default.
type Limits struct {
	// Files counts regular files and folders.
	Files int
	// TotalBytes is of all files together, before compression.
	TotalBytes int64
	PathBytes  int
	Depth      int
	// Ratio is how many bytes one byte of the archive may become, once more than ratioFloor
	// bytes have come out.
	Ratio int64
	// WindowBytes bounds the memory that decompression takes.
	WindowBytes int64
}

// ratioFloor lets small archives be as regular as they like: what they become is small too.
const ratioFloor = 64 << 20

// maxNameBytes is what file systems allow for one part of a path.
const maxNameBytes = 255

// DefaultLimits is what a zero Limits means.
func DefaultLimits() Limits {
	return Limits{
		Files: 100_000, TotalBytes: 4 << 30, PathBytes: 1024, Depth: 64, Ratio: 1000, WindowBytes: 32 << 20,
	}
}

func (l Limits) orDefault() Limits {
	d := DefaultLimits()
	for _, f := range []struct {
		v *int64
		d int64
	}{{&l.TotalBytes, d.TotalBytes}, {&l.Ratio, d.Ratio}, {&l.WindowBytes, d.WindowBytes}} {
		if *f.v == 0 {
			*f.v = f.d
		}
	}
	for _, f := range []struct {
		v *int
		d int
	}{{&l.Files, d.Files}, {&l.PathBytes, d.PathBytes}, {&l.Depth, d.Depth}} {
		if *f.v == 0 {
			*f.v = f.d
		}
	}
	return l
}

// epoch is the time of every extracted file: equal times keep make from rebuilding what was
// shipped, and what a build embeds of them is the same everywhere.
var epoch = time.Date(1980, 1, 1, 0, 0, 0, 0, time.UTC)

// tally counts what has been seen against the limits.
type tally struct {
	limits Limits
	files  int
	bytes  int64
}

// entry counts a file or folder and checks its path.
func (t *tally) entry(name string) error {
	t.files++
	switch {
	case t.files > t.limits.Files:
		return wrong("", "has more than %d files and folders", t.limits.Files)
	case len(name) > t.limits.PathBytes:
		return wrong(name[:min(len(name), 32)]+"…", "has a path of %d bytes; at most %d are allowed", len(name), t.limits.PathBytes)
	case !fs.ValidPath(name) || name == ".":
		return wrong(name, "is not a path below the folder in UTF-8")
	case strings.ContainsRune(name, 0):
		return wrong(name, "has a zero byte in its path")
	case strings.Count(name, "/") >= t.limits.Depth:
		return wrong(name, "lies more than %d folders deep", t.limits.Depth)
	}
	for part := range strings.SplitSeq(name, "/") {
		if len(part) > maxNameBytes {
			return wrong(path.Dir(name), "holds a name of %d bytes; at most %d are allowed", len(part), maxNameBytes)
		}
	}
	return nil
}

// content counts bytes of a file.
func (t *tally) content(name string, n int64) error {
	if n > t.limits.TotalBytes-t.bytes {
		return wrong(name, "makes the folder larger than %d bytes", t.limits.TotalBytes)
	}
	t.bytes += n
	return nil
}

func (t *tally) ratio(raw, compressed int64) error {
	if raw > ratioFloor && raw/t.limits.Ratio > compressed {
		return wrong("", "grows to more than %d times its size when it is unpacked", t.limits.Ratio)
	}
	return nil
}
