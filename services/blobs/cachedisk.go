package blobs

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/hermes-serverless/hermes/events"
)

// tempPrefix begins the names of folders that are being filled or removed.
const tempPrefix = "tmp-"

// bootFile says since which boot of the machine the folder was filled. Files are not synced to
// the disk unless CacheOptions.Sync does it, so after a power cut they may be there with the right name
// and the wrong content.
const bootFile = "boot"

// OpenCache returns the cache in the folder, with what it held before. What an earlier process
// left half done is removed, and everything if the machine has started anew since.
func OpenCache(o CacheOptions) (*Cache, error) {
	c := &Cache{CacheOptions: o, entries: map[string]*entry{}}
	// What lies in the cache can be read by everybody, as sandboxes run as other users, so who may
	// not know a digest must not learn it here: functions may be private.
	if err := errors.Join(os.MkdirAll(o.Folder, 0o755), os.Chmod(o.Folder, 0o711)); err != nil {
		return nil, fmt.Errorf("open the cache: %w", err)
	}
	trusted := o.Sync != nil || sameBoot(o.Folder)
	all, err := os.ReadDir(o.Folder)
	if err != nil {
		return nil, fmt.Errorf("open the cache: %w", err)
	}
	slices.SortFunc(all, older)
	for _, d := range all {
		if d.Name() == bootFile {
			continue
		}
		if err := c.adopt(d, trusted); err != nil {
			return nil, fmt.Errorf("open the cache: %w", err)
		}
	}
	if err := os.WriteFile(filepath.Join(o.Folder, bootFile), []byte(bootID()), 0o644); err != nil {
		return nil, fmt.Errorf("open the cache: %w", err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.evict()
	return c, nil
}

// adopt takes over what an earlier process made, or removes it.
func (c *Cache) adopt(d fs.DirEntry, trusted bool) error {
	path := filepath.Join(c.Folder, d.Name())
	digest := "sha256:" + d.Name()
	if !trusted || !d.IsDir() || events.CheckDigest(digest) != nil {
		return removeAll(path)
	}
	bytes, err := size(path)
	if err != nil {
		return err
	}
	// An earlier process may have ended between naming the folder and closing it.
	if err := os.Chmod(path, 0o555); err != nil {
		return err
	}
	c.clock++
	e := &entry{digest: digest, used: c.clock, bytes: bytes, done: make(chan struct{})}
	close(e.done)
	c.entries[digest] = e
	c.bytes += bytes
	return nil
}

// older orders by when the folders were made: how they were used is not known any more.
func older(a, b fs.DirEntry) int {
	x, errX := a.Info()
	y, errY := b.Info()
	if errX != nil || errY != nil {
		return strings.Compare(a.Name(), b.Name())
	}
	return x.ModTime().Compare(y.ModTime())
}

// evict removes what was not used for longest until the rest fits; c.mu is held.
func (c *Cache) evict() {
	for c.bytes > c.MaxBytes {
		var oldest *entry
		for _, e := range c.entries {
			if e.refs == 0 && e.ready() && (oldest == nil || e.used < oldest.used) {
				oldest = e
			}
		}
		if oldest == nil {
			return // everything is in use
		}
		delete(c.entries, oldest.digest)
		c.bytes -= oldest.bytes
		c.remove(oldest)
	}
}

// remove takes the entry's name away at once, so that it can be fetched anew, and its files later.
func (c *Cache) remove(e *entry) {
	path := c.path(e.digest)
	gone, err := os.MkdirTemp(c.Folder, tempPrefix)
	if err == nil {
		err = errors.Join(os.Chmod(path, 0o755), os.Rename(path, filepath.Join(gone, "x")))
	}
	if err != nil {
		c.Log.Warn("cannot evict from the cache", "digest", e.digest, "err", err)
		return
	}
	c.work.Go(func() {
		if err := removeAll(gone); err != nil {
			c.Log.Warn("cannot remove from the cache", "folder", gone, "err", err)
		}
	})
}

// size is what a folder takes on disk, roughly: whole blocks.
func size(path string) (bytes int64, err error) {
	const block = 4096
	err = filepath.WalkDir(path, func(_ string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		bytes += block
		if info.Mode().IsRegular() {
			bytes += (info.Size() + block - 1) / block * block
		}
		return nil
	})
	return bytes, err
}

// removeAll also removes folders that were made read-only.
func removeAll(path string) error {
	err := os.RemoveAll(path)
	if !errors.Is(err, fs.ErrPermission) {
		return err
	}
	_ = filepath.WalkDir(path, func(p string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			return os.Chmod(p, 0o700)
		}
		return err
	})
	return os.RemoveAll(path)
}

// sameBoot reports whether the folder was filled since the machine started.
func sameBoot(folder string) bool {
	raw, err := os.ReadFile(filepath.Join(folder, bootFile))
	return err == nil && len(raw) > 0 && string(raw) == bootID()
}

// bootID is empty where the system does not tell; there nothing outlives the process.
func bootID() string {
	raw, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(raw))
}
