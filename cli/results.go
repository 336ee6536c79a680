package cli

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/services/api"
	"github.com/hermes-serverless/hermes/services/bundle"
)

// write writes the chosen files below the folder, once it is known that all of them can be.
func (o *executionFilesOptions) write(left *events.Results, archive *os.File) error {
	chosen, err := o.choose(left, archive)
	if err != nil {
		return err
	}
	if len(chosen) == 0 {
		o.app.note("it left no files")
		return nil
	}
	if err := os.MkdirAll(o.to, 0o777); err != nil {
		return fmt.Errorf("make the folder %s: %w", o.to, err)
	}
	root, err := os.OpenRoot(o.to)
	if err != nil {
		return fmt.Errorf("open the folder %s: %w", o.to, err)
	}
	defer root.Close()
	w := resultWriter{root: root, force: o.force}
	for _, name := range chosen {
		if err := w.check(name); err != nil {
			return err
		}
	}
	var written []resultFile
	next := 0
	err = o.walk(left, archive, func(e bundle.Entry, content func(io.Writer) error) error {
		if next == len(chosen) || e.Name != chosen[next] {
			return nil
		}
		next++
		f, err := w.write(e, content)
		written = append(written, f)
		if err == nil && next == len(chosen) {
			err = errEnough // there may be no more of it
		}
		return err
	})
	if err != nil {
		return err
	}
	if !o.app.human() {
		return printList(o.app, written)
	}
	for _, f := range written {
		if _, err := fmt.Fprintln(o.app.streams.Out, plainName(filepath.Join(o.to, filepath.FromSlash(f.Name)))); err != nil {
			return err
		}
	}
	return nil
}

// choose returns the names of the files that are asked for, in the order of the archive.
func (o *executionFilesOptions) choose(left *events.Results, archive *os.File) (chosen []string, err error) {
	asked := newAskedResults(o.paths)
	err = o.walk(left, archive, func(e bundle.Entry, _ func(io.Writer) error) error {
		if asked.take(e) && !e.Folder {
			chosen = append(chosen, e.Name)
		}
		if asked.complete() {
			return errEnough
		}
		return nil
	})
	if missing := asked.missing(); err == nil && missing != "" {
		err = noSuchResult(missing)
	}
	return chosen, err
}

// resultWriter writes files below a folder, which may hold anything, links too.
type resultWriter struct {
	root  *os.Root
	force bool
}

// check says what keeps a file from being written.
func (w resultWriter) check(name string) error {
	for dir := range folders(name) {
		info, err := w.root.Lstat(filepath.FromSlash(dir))
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil
		case err != nil:
			return err
		case !info.IsDir():
			return inTheWay(dir, "is there and is no folder")
		}
	}
	info, err := w.root.Lstat(filepath.FromSlash(name))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case !info.Mode().IsRegular():
		return inTheWay(name, "is there and is no file")
	case !w.force:
		return api.Errorf(api.Exists, fileExists, "%s is there already; nothing was written", plainName(name)).WithHint("--force replaces files, --to chooses another folder")
	}
	return nil
}

func inTheWay(name, why string) error {
	return api.Errorf(api.Exists, fileExists, "%s %s; nothing was written", plainName(name), why).WithHint("--to chooses another folder")
}

// folders are those above a file, the outermost first.
func folders(name string) func(func(string) bool) {
	return func(yield func(string) bool) {
		for i, c := range name {
			if c == '/' && !yield(name[:i]) {
				return
			}
		}
	}
}

// write puts a file in its place when it is whole: before that nothing of it can be seen there.
func (w resultWriter) write(e bundle.Entry, content func(io.Writer) error) (_ resultFile, err error) {
	if err := w.makeFolders(e.Name); err != nil {
		return resultFile{}, err
	}
	name := filepath.FromSlash(e.Name)
	part := filepath.Join(filepath.Dir(name), ".hermes-"+rand.Text()[:12])
	f, err := w.root.OpenFile(part, os.O_CREATE|os.O_EXCL|os.O_WRONLY, modeOf(e.Executable)|0o200)
	if err != nil {
		return resultFile{}, err
	}
	defer func() {
		if err != nil {
			_ = w.root.Remove(part)
		}
	}()
	sum := events.NewBlobWriter(f)
	if err := errors.Join(content(sum), f.Close()); err != nil {
		return resultFile{}, err
	}
	if err := w.place(part, name); err != nil {
		return resultFile{}, err
	}
	return resultFile{Name: e.Name, Size: e.SizeBytes, Mode: modeOf(e.Executable).String(), Digest: sum.Blob().Digest}, nil
}

// place gives a file its name. Renaming replaces what has the name, a link too; a hard link does not,
// where the file system knows such.
func (w resultWriter) place(part, name string) error {
	if !w.force {
		err := w.root.Link(part, name)
		if err == nil {
			return w.root.Remove(part)
		}
		if _, there := w.root.Lstat(name); !errors.Is(there, fs.ErrNotExist) {
			return errors.Join(err, there)
		}
	}
	return w.root.Rename(part, name)
}

// makeFolders makes what is missing, and goes through no link.
func (w resultWriter) makeFolders(name string) error {
	for dir := range folders(name) {
		dir := filepath.FromSlash(dir)
		if err := w.root.Mkdir(dir, 0o777); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
		info, err := w.root.Lstat(dir)
		if err != nil {
			return err
		}
		if !info.IsDir() {
			return inTheWay(filepath.ToSlash(dir), "has become something else than a folder")
		}
	}
	return nil
}
