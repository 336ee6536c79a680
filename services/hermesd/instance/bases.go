package instance

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/services/base"
	"github.com/hermes-serverless/hermes/services/blobs"
)

// storedBases fetches bases and keeps them unpacked.
type storedBases struct {
	store watcherBlobs
	cache *blobs.Cache

	mu      sync.Mutex
	fetched map[string]*transfer // by digest; those that are on their way
}

// transfer is how far a base has come.
type transfer struct{ done, total int64 }

func openBases(store watcherBlobs, folder string, log *slog.Logger) (*storedBases, error) {
	b := &storedBases{store: store, fetched: map[string]*transfer{}}
	var err error
	b.cache, err = blobs.OpenCache(blobs.CacheOptions{
		Source: b, Folder: folder, MaxBytes: baseCacheBytes, Unpack: base.Unpack, Sync: syncFolder, Log: log,
	})
	return b, err
}

// Stand implements watcher.Bases.
func (b *storedBases) Stand(ctx context.Context, ref events.BaseRef) (root string, env []string, release func(), err error) {
	blob, err := b.store.Stat(ctx, ref.Digest)
	if err != nil {
		return "", nil, nil, err
	}
	dir, release, err := b.cache.Dir(ctx, blob)
	if err != nil {
		return "", nil, nil, err
	}
	m, err := base.ReadManifest(dir)
	if err == nil && m.Architecture != runtime.GOARCH {
		err = &base.Error{Why: "is for " + m.Architecture + ", and this machine is " + runtime.GOARCH}
	}
	if err != nil {
		release()
		return "", nil, nil, err
	}
	return filepath.Join(dir, base.RootFS), m.Env, release, nil
}

// Get implements blobs.Source, and counts what has come.
func (b *storedBases) Get(ctx context.Context, blob events.Blob, w io.Writer) error {
	t := &transfer{total: blob.SizeBytes}
	b.mu.Lock()
	b.fetched[blob.Digest] = t
	b.mu.Unlock()
	return b.store.Get(ctx, blob, &counted{Writer: w, bases: b, transfer: t})
}

// Progress implements watcher.Bases.
func (b *storedBases) Progress(ref events.BaseRef) (done, total int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if t := b.fetched[ref.Digest]; t != nil {
		return t.done, t.total
	}
	return 0, 0
}

type counted struct {
	io.Writer
	bases    *storedBases
	transfer *transfer
}

func (c *counted) Write(p []byte) (int, error) {
	n, err := c.Writer.Write(p)
	c.bases.mu.Lock()
	defer c.bases.mu.Unlock()
	c.transfer.done += int64(n)
	return n, err
}

// syncFolder syncs the filesystem that a folder is on.
func syncFolder(folder string) error {
	f, err := os.Open(folder)
	if err != nil {
		return err
	}
	defer f.Close() //nolint:errcheck // only a handle
	if err := unix.Syncfs(int(f.Fd())); err != nil {
		return fmt.Errorf("sync the filesystem of %s: %w", folder, err)
	}
	return nil
}
