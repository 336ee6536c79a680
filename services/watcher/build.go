package watcher

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path"
	"path/filepath"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/services/bundle"
)

// makefiles are the names that make looks for.
var makefiles = [...]string{"GNUmakefile", "makefile", "Makefile"}

// build runs make on the unpacked bundle and keeps what it made.
func (r *runner) build() {
	root := r.prepared.Box.Work()
	r.ending.step = "the build"
	if !hasMakefile(root) {
		r.ending.failure = failuref(events.ReasonMake, "the folder has no Makefile; `make` must build the function, "+
			"and `make clean` remove what it made")
		return
	}
	missing := func(reason string) func(error) *failure {
		return func(err error) *failure {
			return failuref(reason, "make cannot be executed on the base %q: %v", r.attempt.Request.Base, err)
		}
	}
	if !r.step("make clean", events.ReasonClean, []string{"make", "clean"}, r.prepared.stdin, missing(events.ReasonClean)) ||
		!r.step("make", events.ReasonMake, []string{"make"}, r.prepared.stdin, missing(events.ReasonMake)) {
		return
	}
	if r.ending.failure = checkHandler(root, r.attempt.Request.Handler); r.ending.failure != nil {
		return
	}
	ctx, cancel := r.watcher.until(r.attempt.halted, nil)
	defer cancel()
	artifact, err := r.watcher.keep(ctx, r.attempt, root)
	if err != nil {
		r.ending.failure = failuref(events.ReasonArtifact, "what make made cannot be kept: %v", err)
		return
	}
	r.artifact = &artifact
}

func hasMakefile(root *os.Root) bool {
	for _, name := range makefiles {
		if info, err := root.Stat(name); err == nil && info.Mode().IsRegular() {
			return true
		}
	}
	return false
}

// checkHandler says what is wrong with the handler that a build made, or nil. No part of its path
// may be a link: the artifact keeps no links, and what one points to may be anywhere.
func checkHandler(root *os.Root, handler string) *failure {
	clean := path.Clean(filepath.ToSlash(handler))
	if !filepath.IsLocal(clean) {
		return failuref(events.ReasonHandler, "the handler %q is not a path inside the folder", handler)
	}
	for end := 0; end < len(clean); end++ {
		if clean[end] != '/' {
			continue
		}
		if f := checkNoLink(root, clean[:end], handler); f != nil {
			return f
		}
	}
	if f := checkNoLink(root, clean, handler); f != nil {
		return f
	}
	info, err := root.Lstat(clean)
	switch {
	case err != nil:
		return failuref(events.ReasonHandler, "the handler %q cannot be looked at: %v", handler, err)
	case !info.Mode().IsRegular():
		return failuref(events.ReasonHandler, "the handler %q is not a regular file", handler)
	case info.Mode().Perm()&0o111 == 0:
		return failuref(events.ReasonHandler, "the handler %q is not executable; let make do `chmod +x %s`", handler, handler)
	}
	return nil
}

func checkNoLink(root *os.Root, name, handler string) *failure {
	info, err := root.Lstat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return failuref(events.ReasonHandler, "make succeeded, but the handler %q is not there; "+
			"check \"handler\" in hermes.config.json and what make makes", handler)
	case err != nil:
		return failuref(events.ReasonHandler, "the handler %q cannot be looked at: %v", handler, err)
	case info.Mode()&fs.ModeSymlink != 0:
		return failuref(events.ReasonHandler, "the handler %q: %s is a symbolic link; it must be the file itself", handler, name)
	}
	return nil
}

// keep stores the folder as an artifact.
func (w *Watcher) keep(ctx context.Context, a *attempt, root *os.Root) (events.Blob, error) {
	name := filepath.Join(w.scratch(), a.sandboxID()+".artifact")
	f, err := os.OpenFile(name, os.O_CREATE|os.O_RDWR|os.O_TRUNC, 0o600)
	if err != nil {
		return events.Blob{}, err
	}
	defer func() { _ = errors.Join(f.Close(), os.Remove(name)) }()
	packed, err := bundle.PackRoot(ctx, root, f, bundle.Limits{})
	if err != nil {
		return events.Blob{}, err
	}
	return packed, w.put(ctx, packed, f)
}
