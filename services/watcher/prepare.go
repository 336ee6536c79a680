package watcher

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/services/api"
	"github.com/hermes-serverless/hermes/services/base"
	"github.com/hermes-serverless/hermes/services/blobs"
	"github.com/hermes-serverless/hermes/services/bundle"
	"github.com/hermes-serverless/hermes/services/watcher/gpu"
	"github.com/hermes-serverless/hermes/services/watcher/pool"
)

const (
	// fetchFor is how long content that cannot be had is tried again: a server's restart long.
	fetchFor = 30 * time.Second
)

// prepared is everything that an attempt needs before it can start.
type prepared struct {
	pool.Ready
	// taken is what the pool gave for a run, and nil for a build.
	taken *pool.Taken[spareKey]
	took  time.Duration
	stdin *os.File
	// hold is nil for an attempt without GPUs.
	hold *gpu.Hold
}

// how the sandbox came to be.
func (p *prepared) how() pool.How {
	if p.taken == nil {
		return pool.Cold
	}
	return p.taken.How
}

// prepare makes the sandbox and brings what goes into it, side by side. It stops when the context
// ends. On a failure nothing is left behind.
func (w *Watcher) prepare(ctx context.Context, a *attempt) (*prepared, *failure) {
	p := &prepared{}
	var packed string
	group, together := errgroup.WithContext(ctx)
	if a.Request.Kind == events.KindBuild {
		group.Go(func() (err error) {
			done := w.spares.Cold(spareKey{})
			defer done()
			p.Ready, err = w.createBox(together, w.buildSpec(a), w.telling(a))
			return err
		})
		group.Go(func() (err error) { packed, err = w.fetchFile(together, a, "bundle", a.Request.Source); return err })
	} else {
		group.Go(func() error { return w.takeBox(together, a, p) })
		group.Go(func() error { return w.holdGPUs(together, a, p) })
	}
	group.Go(func() (err error) { p.stdin, err = w.openInput(together, a); return err })
	err := group.Wait()
	if err == nil && packed != "" {
		err = unpack(ctx, packed, p.Box.Work())
	}
	if packed != "" {
		_ = os.Remove(packed)
	}
	if err == nil {
		p.took = time.Since(a.arrived)
		return p, nil
	}
	w.discard(p)
	return nil, asFailure(err)
}

// preparing is an error with the reason that it is reported as.
type preparing struct {
	reason string
	err    error
}

func (e *preparing) Error() string { return e.err.Error() }
func (e *preparing) Unwrap() error { return e.err }

func asFailure(err error) *failure {
	var p *preparing
	if !errors.As(err, &p) {
		return failuref(events.ReasonSandbox, "%v", err)
	}
	return failuref(p.reason, "%v", p.err)
}

func inputError(what string, err error) error {
	return &preparing{events.ReasonInput, fmt.Errorf("%s could not be brought to the watcher: %w", what, err)}
}

// openInput returns what the command reads as its stdin.
func (w *Watcher) openInput(ctx context.Context, a *attempt) (*os.File, error) {
	in := a.Request.Input
	switch {
	case a.Request.Interactive:
		return w.openFeed(a)
	case in.Blob != nil:
		path, err := w.fetchFile(ctx, a, "input", *in.Blob)
		if err != nil {
			return nil, err
		}
		defer os.Remove(path) //nolint:errcheck // the open file is enough; a leftover goes at the next start
		return os.Open(path)
	case len(in.Inline) > events.MaxInlineInputBytes:
		return nil, inputError("the input", fmt.Errorf("%d bytes are too many for a request", len(in.Inline)))
	case len(in.Inline) > 0:
		return fullPipe(in.Inline)
	}
	return os.Open(os.DevNull)
}

// fetchFile brings a blob into a file of its own.
func (w *Watcher) fetchFile(ctx context.Context, a *attempt, what string, blob events.Blob) (string, error) {
	path := filepath.Join(w.scratch(), a.sandboxID()+"."+what)
	err := persist(ctx, fetchFor, permanentContent, func() error { return w.fetchOnce(ctx, path, blob) })
	if err != nil {
		_ = os.Remove(path)
		return "", inputError("the "+what, err)
	}
	return path, nil
}

func (w *Watcher) fetchOnce(ctx context.Context, path string, blob events.Blob) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	return errors.Join(w.Blobs.Get(ctx, blob, f), f.Close())
}

// unpack lays the bundle into a build's folder, as whoever owns that folder: make must be able to
// change what it finds. Nothing of the user's runs there yet.
func unpack(ctx context.Context, path string, root *os.Root) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close() //nolint:errcheck // only read
	err = bundle.Extract(ctx, f, root, bundle.Limits{})
	if errors.Is(err, syscall.ENOSPC) { // nothing else is written meanwhile
		return &preparing{events.ReasonDisk, fmt.Errorf("the function's folder does not fit into that of a build: %w; make it smaller", err)}
	}
	if err != nil {
		return inputError("the bundle", err)
	}
	return handOver(root)
}

// handOver gives everything beneath root to root's owner.
func handOver(root *os.Root) error {
	info, err := root.Stat(".")
	if err != nil {
		return fmt.Errorf("look at the build's folder: %w", err)
	}
	owner, ok := info.Sys().(*syscall.Stat_t)
	if !ok || int(owner.Uid) == os.Geteuid() {
		return nil
	}
	err = fs.WalkDir(root.FS(), ".", func(name string, _ fs.DirEntry, err error) error {
		if err != nil || name == "." {
			return err
		}
		return root.Lchown(name, int(owner.Uid), int(owner.Gid))
	})
	if err != nil {
		return fmt.Errorf("hand the build's folder over: %w", err)
	}
	return nil
}

// permanentContent reports whether content will not be had by asking again.
func permanentContent(err error) bool {
	var broken *bundle.Error
	var other *blobs.MismatchError
	var unfit *base.Error
	return errors.Is(err, blobs.ErrNoBlob) || api.IsKind(err, api.Unauthorized) || errors.As(err, &broken) || errors.As(err, &other) || errors.As(err, &unfit)
}

// persist calls until it works, the error is permanent, or the time is over.
func persist(ctx context.Context, within time.Duration, permanent func(error) bool, call func() error) error {
	until := time.Now().Add(within)
	for tries := 0; ; tries++ {
		err := call()
		wait := min(minAskBackoff<<min(tries, 10), maxAskBackoff)
		if err == nil || permanent(err) || ctx.Err() != nil || time.Now().Add(wait).After(until) {
			return err
		}
		if !pause(ctx, wait) {
			return err
		}
	}
}

// discard lets go of everything that was prepared.
func (w *Watcher) discard(p *prepared) {
	p.closeInput()
	w.spares.Return(p.taken, p.Ready, false)
	w.discardBox(p.Ready)
	w.freeGPUs(p, ending{})
}

func (p *prepared) closeInput() {
	if p.stdin != nil {
		_ = p.stdin.Close()
	}
}
