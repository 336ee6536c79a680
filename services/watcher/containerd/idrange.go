package containerd

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"
)

// The host's user and group ids from firstHostID on belong to sandboxes: 16,384 ranges of 65,536,
// in blocks that one process holds at a time. They lie above what distributions, NSS and
// systemd-nspawn hand out, and below 2^31, which some file systems cannot pass.
const (
	idsPerRange    = 65536
	rangesPerBlock = 256
	idBlocks       = 63
	firstHostID    = 1 << 30
)

var errNoIDs = errors.New("no user id range is free")

// idRanges hands out ranges. No two sandboxes on the machine hold the same one, and a range that
// was given back is the last to be used again.
type idRanges struct {
	dir string

	mu    sync.Mutex
	locks []*os.File
	free  []uint32 // first ids, the longest unused first
}

func newIDRanges(lockDir string) (*idRanges, error) {
	if err := os.MkdirAll(lockDir, 0o700); err != nil {
		return nil, fmt.Errorf("make the folder that shares out user ids: %w", err)
	}
	return &idRanges{dir: lockDir}, nil
}

// take returns the first host id of a range.
func (r *idRanges) take() (uint32, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.free) == 0 {
		if err := r.grow(); err != nil {
			return 0, err
		}
	}
	first := r.free[0]
	r.free = r.free[1:]
	return first, nil
}

// give returns a range; nothing may run under its ids any more.
func (r *idRanges) give(first uint32) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.free = append(r.free, first)
}

// grow locks a block that no other process holds. The caller holds mu.
func (r *idRanges) grow() error {
	for block := range idBlocks {
		path := filepath.Join(r.dir, fmt.Sprintf("block-%02d", block))
		f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR|unix.O_CLOEXEC, 0o600)
		if err != nil {
			return fmt.Errorf("share out user ids: %w", err)
		}
		if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
			_ = f.Close()
			if errors.Is(err, unix.EWOULDBLOCK) {
				continue
			}
			return fmt.Errorf("share out user ids: lock %s: %w", path, err)
		}
		r.locks = append(r.locks, f)
		for i := range rangesPerBlock {
			r.free = append(r.free, uint32(firstHostID+(block*rangesPerBlock+i)*idsPerRange))
		}
		return nil
	}
	return fmt.Errorf("%w: all %d blocks in %s are held", errNoIDs, idBlocks, r.dir)
}

func (r *idRanges) close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	var errs []error
	for _, f := range r.locks {
		errs = append(errs, f.Close())
	}
	r.locks, r.free = nil, nil
	return errors.Join(errs...)
}
