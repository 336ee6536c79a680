package blobs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"sync"

	"github.com/hermes-serverless/hermes/events"
)

// Source is where a cache gets blobs from: a *Store, or a *Remote.
type Source interface {
	// Get is that of a Store.
	Get(ctx context.Context, blob events.Blob, w io.Writer) error
}

// CacheOptions say what a Cache is. All of them must be set.
type CacheOptions struct {
	Source Source
	// Folder holds the cache and nothing else. One Cache at a time may use it.
	Folder string
	// MaxBytes is how much may lie there; only what is in use may make it more.
	MaxBytes int64
	// Unpack extracts an archive into an empty folder: bundle.ExtractReadOnly. It must not trust
	// the archive, which is verified only when all of it was read.
	Unpack func(ctx context.Context, archive io.Reader, into *os.Root) error
	// Sync makes what was written into a folder outlive a crash of the machine. Without it everything
	// in the cache goes when the machine has started anew.
	Sync func(folder string) error
	Log  *slog.Logger
}

// Cache keeps unpacked archives on disk by their digest. What it hands out is complete and
// verified, and stays until it is released. All methods may be called from many goroutines.
type Cache struct {
	CacheOptions

	mu      sync.Mutex
	entries map[string]*entry
	bytes   int64
	// clock counts uses: the entry with the lowest is evicted first.
	clock int64
	work  sync.WaitGroup
}

// entry is one archive, there or being fetched.
type entry struct {
	digest string
	// refs counts those who use it or wait for it.
	refs  int
	used  int64
	bytes int64
	// done is closed when it is fetched, or err says why it is not.
	done chan struct{}
	err  error
	// cancel ends the fetching.
	cancel context.CancelFunc
}

func (e *entry) ready() bool {
	select {
	case <-e.done:
		return e.err == nil
	default:
		return false
	}
}

// Dir returns the folder of what the archive holds, and holds it there until release is called
// (more than once is harmless). The first caller of many fetches it, the others wait.
//
// Errors: those of the Source (ErrNoBlob, a *MismatchError), of Unpack, of the disk, the context's.
func (c *Cache) Dir(ctx context.Context, blob events.Blob) (path string, release func(), err error) {
	if err := events.CheckDigest(blob.Digest); err != nil {
		return "", nil, err
	}
	for {
		e := c.hold(ctx, blob)
		select {
		case <-e.done:
		case <-ctx.Done():
			c.release(e)
			return "", nil, ctx.Err()
		}
		if e.err == nil {
			return c.path(e.digest), sync.OnceFunc(func() { c.release(e) }), nil
		}
		c.release(e)
		if !errors.Is(e.err, context.Canceled) || ctx.Err() != nil {
			return "", nil, e.err
		}
		// Everybody who waited had gone and the fetching was ended just as this call came.
	}
}

// Close waits until nothing is fetched or removed any more. Nobody may call Dir meanwhile.
func (c *Cache) Close() { c.work.Wait() }

// Bytes is how much lies in the cache.
func (c *Cache) Bytes() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.bytes
}

func (c *Cache) path(digest string) string { return filepath.Join(c.Folder, objectName(digest)) }

// hold returns the entry with one more reference, and starts fetching a new one.
func (c *Cache) hold(ctx context.Context, blob events.Blob) *entry {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.entries[blob.Digest]
	if e == nil {
		e = &entry{digest: blob.Digest, done: make(chan struct{})}
		ctx, e.cancel = context.WithCancel(context.WithoutCancel(ctx))
		c.entries[blob.Digest] = e
		c.work.Go(func() { c.fetched(e, c.fetch(ctx, e, blob)) })
	}
	e.refs++
	c.clock++
	e.used = c.clock
	return e
}

func (c *Cache) release(e *entry) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e.refs--
	if e.refs == 0 && e.cancel != nil {
		e.cancel() // nobody waits any more
	}
	c.evict()
}

// fetched ends the fetching of an entry.
func (c *Cache) fetched(e *entry, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e.cancel()
	e.cancel, e.err = nil, err
	if err != nil {
		delete(c.entries, e.digest)
	} else {
		c.bytes += e.bytes
	}
	close(e.done)
	c.evict()
}

// fetch makes the entry's folder. It appears under its name only when it is whole and verified.
func (c *Cache) fetch(ctx context.Context, e *entry, blob events.Blob) error {
	temp, err := os.MkdirTemp(c.Folder, tempPrefix)
	if err != nil {
		return fmt.Errorf("cache %s: %w", blob.Digest, err)
	}
	if err := c.unpack(ctx, blob, temp); err != nil {
		return errors.Join(err, removeAll(temp))
	}
	if e.bytes, err = size(temp); err == nil {
		err = errors.Join(os.Chmod(temp, 0o755), c.sync(temp))
	}
	if err == nil {
		err = os.Rename(temp, c.path(blob.Digest))
	}
	if err == nil {
		// Only then, as moving a folder that cannot be written takes root.
		err = os.Chmod(c.path(blob.Digest), 0o555)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("cache %s: %w", blob.Digest, err), removeAll(temp))
	}
	return nil
}

func (c *Cache) sync(folder string) error {
	if c.Sync == nil {
		return nil
	}
	return c.Sync(folder)
}

func (c *Cache) unpack(ctx context.Context, blob events.Blob, into string) error {
	root, err := os.OpenRoot(into)
	if err != nil {
		return fmt.Errorf("cache %s: %w", blob.Digest, err)
	}
	defer root.Close()
	pr, pw := io.Pipe()
	got := make(chan error, 1)
	go func() {
		err := c.Source.Get(ctx, blob, pw)
		pw.CloseWithError(err)
		got <- err
	}()
	unpackErr := c.Unpack(ctx, pr, root)
	if unpackErr == nil {
		_, unpackErr = io.Copy(io.Discard, pr) // the source verifies what it has sent to its end
	}
	pr.CloseWithError(unpackErr)
	if getErr := <-got; getErr != nil && (unpackErr == nil || !errors.Is(getErr, unpackErr)) {
		return getErr
	}
	if unpackErr != nil {
		return fmt.Errorf("unpack %s: %w", blob.Digest, unpackErr)
	}
	return nil
}
