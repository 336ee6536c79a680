// Package fake is a sandbox.Runtime without a sandbox: commands are local processes of the
// caller's own user, in a process group of their own. It keeps the contract as far as that goes
// without root and without isolation, so that the rest of the watcher is tested in milliseconds.
//
// What it cannot promise: limits, an own file system (FunctionDir is only understood as the
// command's path), and the death of a left-behind process that moved to another session.
package fake

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"sync"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/services/watcher/sandbox"
)

// Runtime runs commands as local processes. Its folder holds one folder a process of this
// program, and in it one a sandbox.
type Runtime struct {
	dir      string
	mu       sync.Mutex
	instance *instance
	boxes    map[string]*box
	closed   bool
}

var _ sandbox.Runtime = (*Runtime)(nil)

// New returns a fake runtime that keeps its state under dir, which it makes when it is needed.
func New(dir string) *Runtime {
	return &Runtime{dir: dir, boxes: map[string]*box{}}
}

// Info implements sandbox.Runtime.
func (r *Runtime) Info(context.Context) (sandbox.Info, error) {
	return sandbox.Info{
		Name: "fake", Version: runtime.Version(), OCI: "none",
		Bases: []string{events.HostBase, events.ImageBases(runtime.GOARCH)}, Network: true,
	}, nil
}

// Create implements sandbox.Runtime. Commands run on "host", whatever the base's root is.
func (r *Runtime) Create(ctx context.Context, spec sandbox.Spec) (sandbox.Sandbox, error) {
	if err := check(ctx, spec); err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return nil, fmt.Errorf("create sandbox %s: runtime is closed: %w", spec.ID, sandbox.ErrUnavailable)
	}
	if r.boxes[spec.ID] != nil {
		return nil, fmt.Errorf("create sandbox %s: a sandbox with this id exists", spec.ID)
	}
	if err := r.open(); err != nil {
		return nil, err
	}
	b, err := newBox(r, spec)
	if err != nil {
		return nil, fmt.Errorf("create sandbox %s: %w", spec.ID, err)
	}
	r.boxes[spec.ID] = b
	return b, nil
}

func check(ctx context.Context, spec sandbox.Spec) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("create sandbox %s: %w", spec.ID, err)
	}
	if err := spec.Validate(); err != nil {
		return fmt.Errorf("create sandbox: %w", err)
	}
	if spec.Base != events.HostBase && spec.Root == "" {
		return fmt.Errorf("create sandbox %s: base %q: %w", spec.ID, spec.Base, sandbox.ErrBase)
	}
	return nil
}

// open makes this process's folder on first use. The caller holds mu.
func (r *Runtime) open() error {
	if r.instance != nil {
		return nil
	}
	own, err := newInstance(r.dir)
	if err != nil {
		return err
	}
	r.instance = own
	return nil
}

// Reap implements sandbox.Runtime.
func (r *Runtime) Reap(ctx context.Context) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	own := ""
	if r.instance != nil {
		own = r.instance.dir
	}
	return reap(ctx, r.dir, own)
}

// Close implements sandbox.Runtime.
func (r *Runtime) Close(ctx context.Context) error {
	r.mu.Lock()
	r.closed = true
	boxes := make([]*box, 0, len(r.boxes))
	for _, b := range r.boxes {
		boxes = append(boxes, b)
	}
	own := r.instance
	r.instance = nil
	r.mu.Unlock()
	for _, b := range boxes {
		if err := b.Remove(ctx); err != nil {
			return err
		}
	}
	if own == nil {
		return nil
	}
	return own.close()
}

func (r *Runtime) forget(id string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.boxes, id)
}

// existingDir says why a Kind Run has nothing to run, before it is asked to.
func existingDir(dir string) error {
	info, err := os.Stat(dir)
	if err != nil {
		return fmt.Errorf("function folder: %w", err)
	}
	if !info.IsDir() || !filepath.IsAbs(dir) {
		return fmt.Errorf("function folder %s: want the absolute path of a directory", dir)
	}
	return nil
}
