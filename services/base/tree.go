package base

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
	"syscall"

	securejoin "github.com/cyphar/filepath-securejoin"
)

// Tree is a root filesystem that is being filled, layer by layer. Nothing outside its folder is
// touched, whatever a layer says: links are followed as in a root of their own, and the folder itself
// is opened so that no path leaves it.
//
// The layers are laid over each other on the disk and not merged as archives: a hard link of one
// layer keeps its content when a later layer replaces the file that it is a link to.
type Tree struct {
	root   *os.Root
	limits Limits
	files  int64
	bytes  int64
}

// NewTree fills an empty folder.
func NewTree(root *os.Root, limits Limits) *Tree {
	return &Tree{root: root, limits: limits.orDefault()}
}

// whiteouts are the names by which a layer takes away what the layers below it have.
const (
	whiteoutPrefix = ".wh."
	opaqueWhiteout = whiteoutPrefix + whiteoutPrefix + ".opq"
)

// Whole unpacks a tar that is the filesystem itself.
func (t *Tree) Whole(ctx context.Context, r io.Reader) error {
	_, err := t.unpack(ctx, tar.NewReader(r), nil)
	return err
}

// Layer unpacks the tar of an image's next layer, and removes what it takes away.
func (t *Tree) Layer(ctx context.Context, r io.Reader) error {
	_, err := t.unpack(ctx, tar.NewReader(r), map[string]bool{})
	return err
}

// unpack returns the manifest in the archive's global header, if it has one. made, when not nil, are
// the paths of this layer, and names of whiteouts mean something.
func (t *Tree) unpack(ctx context.Context, r *tar.Reader, made map[string]bool) (manifest string, err error) {
	for {
		if err := ctx.Err(); err != nil {
			return "", err
		}
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return manifest, nil
		}
		if err != nil {
			return "", fmt.Errorf("unpack: %w", err)
		}
		if t.files++; t.files > t.limits.Files {
			return "", wrong("", "has more than %d files", t.limits.Files)
		}
		if h.Typeflag == tar.TypeXGlobalHeader {
			if m := h.PAXRecords[manifestRecord]; m != "" {
				manifest = m
			}
			continue
		}
		if err := t.entry(h, r, made); err != nil {
			return "", err
		}
	}
}

func (t *Tree) entry(h *tar.Header, content io.Reader, made map[string]bool) error {
	name, err := cleanName(h.Name)
	if err != nil || name == "." {
		return err
	}
	parent, last, err := t.parent(name)
	if err != nil {
		return err
	}
	if made != nil && strings.HasPrefix(last, whiteoutPrefix) {
		gone := strings.TrimPrefix(last, whiteoutPrefix)
		switch {
		case last == opaqueWhiteout:
			return t.pruneBelow(parent, made)
		case gone == "" || gone == "." || gone == "..":
			return wrong(h.Name, "takes away what is no file of its folder")
		}
		return t.prune(path.Join(parent, gone), made)
	}
	at := path.Join(parent, last)
	if err := t.put(h, at, content); err != nil {
		return t.refused(h.Name, err)
	}
	if made != nil {
		for p := at; p != "." && !made[p]; p = path.Dir(p) {
			made[p] = true
		}
	}
	return nil
}

// cleanName returns the name relative to the root, "." for the root itself.
func cleanName(name string) (string, error) {
	for part := range strings.SplitSeq(name, "/") {
		if part == ".." {
			return "", wrong(name, "leads out of it")
		}
	}
	clean := strings.TrimPrefix(path.Clean("/"+name), "/")
	switch {
	case len(name) > maxPathBytes:
		return "", wrong(name[:64]+"…", "has a name of %d bytes; at most %d are allowed", len(name), maxPathBytes)
	case strings.Count(clean, "/") >= maxDepth:
		return "", wrong(name, "lies deeper than %d folders", maxDepth)
	case strings.ContainsRune(name, 0):
		return "", wrong(name, "has a NUL character in its name")
	case clean == "":
		return ".", nil
	}
	return clean, nil
}

// parent returns the real path of the folder that an entry lies in, which is there then, and the
// entry's name in it.
func (t *Tree) parent(name string) (folder, last string, err error) {
	folder, last = path.Split(name)
	folder, err = securejoin.SecureJoinVFS("/", folder, links{t.root})
	if err == nil {
		folder = strings.TrimPrefix(folder, "/")
		if folder == "" {
			return ".", last, nil
		}
		err = t.root.MkdirAll(folder, 0o755)
	}
	return folder, last, t.refused(name, err)
}

// links lets paths be resolved beneath a root.
type links struct{ root *os.Root }

func (l links) Lstat(name string) (fs.FileInfo, error) {
	return l.root.Lstat(beneath(name))
}

func (l links) Readlink(name string) (string, error) {
	return l.root.Readlink(beneath(name))
}

func beneath(name string) string {
	if name = strings.TrimPrefix(path.Clean(name), "/"); name == "" {
		return "."
	}
	return name
}

// put makes one entry in the place of what is there.
func (t *Tree) put(h *tar.Header, at string, content io.Reader) error {
	if err := t.clear(at, h.Typeflag == tar.TypeDir); err != nil {
		return err
	}
	switch h.Typeflag {
	case tar.TypeDir:
		if err := t.root.Mkdir(at, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
		return nil
	case tar.TypeReg:
		return t.file(h, at, content)
	case tar.TypeSymlink:
		if h.Linkname == "" || len(h.Linkname) > maxPathBytes {
			return wrong(h.Name, "is a link to a name of %d bytes", len(h.Linkname))
		}
		return t.root.Symlink(h.Linkname, at)
	case tar.TypeLink:
		return t.link(h, at)
	case tar.TypeChar, tar.TypeBlock, tar.TypeFifo:
		return nil // a sandbox has a /dev of its own
	}
	return wrong(h.Name, "is of a kind (%q) that no filesystem has", string(h.Typeflag))
}

// clear makes room for an entry; a folder stays for another folder.
func (t *Tree) clear(at string, folder bool) error {
	info, err := t.root.Lstat(at)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil || folder && info.IsDir() {
		return err
	}
	return t.root.RemoveAll(at)
}

func (t *Tree) file(h *tar.Header, at string, content io.Reader) (err error) {
	if h.Size > t.limits.Bytes-t.bytes {
		return wrong("", "has more than %d bytes", t.limits.Bytes)
	}
	t.bytes += h.Size
	f, err := t.root.OpenFile(at, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if _, err := io.CopyN(f, content, h.Size); err != nil {
		return err
	}
	mode := fs.FileMode(0o444)
	if h.Mode&0o111 != 0 {
		mode = 0o555
	}
	if err := f.Chmod(mode); err != nil {
		return err
	}
	return t.root.Chtimes(at, h.ModTime, h.ModTime)
}

// link makes a hard link to a file that is there already.
func (t *Tree) link(h *tar.Header, at string) error {
	name, err := cleanName(h.Linkname)
	if err != nil {
		return err
	}
	folder, last, err := t.parent(name)
	if err != nil {
		return err
	}
	target := path.Join(folder, last)
	info, err := t.root.Lstat(target)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return wrong(h.Name, "is a link to %q, which is not there", h.Linkname)
	case err != nil:
		return err
	case info.Mode()&fs.ModeSymlink != 0:
		to, err := t.root.Readlink(target)
		if err != nil {
			return err
		}
		return t.root.Symlink(to, at)
	case !info.Mode().IsRegular():
		return wrong(h.Name, "is a link to %q, which is no file", h.Linkname)
	}
	return t.root.Link(target, at)
}

// prune removes what the layers below have at a path and this one has not.
func (t *Tree) prune(at string, made map[string]bool) error {
	if made[at] {
		return t.pruneBelow(at, made)
	}
	return t.refused(at, t.root.RemoveAll(at))
}

func (t *Tree) pruneBelow(folder string, made map[string]bool) error {
	info, err := t.root.Lstat(folder)
	if err != nil || !info.IsDir() {
		return t.refused(folder, err)
	}
	entries, err := fs.ReadDir(t.root.FS(), folder)
	for _, e := range entries {
		err = errors.Join(err, t.prune(path.Join(folder, e.Name()), made))
	}
	return t.refused(folder, err)
}

// refused tells what is wrong with an entry from what is wrong with the disk.
func (t *Tree) refused(name string, err error) error {
	var known *Error
	switch {
	case err == nil, errors.As(err, &known):
		return err
	case errors.Is(err, syscall.ENOTDIR), errors.Is(err, fs.ErrExist):
		return wrong(name, "lies in what is no folder")
	case errors.Is(err, syscall.ELOOP):
		return wrong(name, "lies behind links that lead in a circle")
	case errors.Is(err, syscall.ENAMETOOLONG):
		return wrong(name, "has a name that is too long")
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF):
		return wrong(name, "is cut short")
	}
	return fmt.Errorf("unpack %q: %w", name, err)
}

// Finish adds what every sandbox needs, and makes the folders those of nobody.
func (t *Tree) Finish() error {
	if err := t.prepare(); err != nil {
		return err
	}
	return fs.WalkDir(t.root.FS(), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return err
		}
		return t.root.Chmod(name, 0o555)
	})
}
