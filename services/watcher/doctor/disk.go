package doctor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

const (
	lowSpaceBytes = 10 << 30
	noSpaceBytes  = 1 << 30
	syncWrites    = 20
	syncBytes     = 4096
	slowSync      = 10 * time.Millisecond
)

func (l looker) diskSpace(context.Context) Result {
	dir, err := existing(l.DataDir)
	if err != nil {
		return broken(err.Error(), "choose another data directory")
	}
	var disk unix.Statfs_t
	if err := unix.Statfs(dir, &disk); err != nil {
		return broken(fmt.Sprintf("look at %s: %v", dir, err), "choose another data directory")
	}
	return judgeSpace(dir, disk.Bavail*uint64(disk.Bsize))
}

func judgeSpace(dir string, free uint64) Result {
	detail := fmt.Sprintf("%.1f GiB free in %s", float64(free)/(1<<30), dir)
	fix := "free some space, or choose a data directory on another disk"
	switch {
	case free < noSpaceBytes:
		return broken(detail, fix)
	case free < lowSpaceBytes:
		return warn(detail, fix)
	}
	return ok(detail)
}

// diskLatency: acknowledged means on disk, so every request waits for this.
func (l looker) diskLatency(ctx context.Context) Result {
	dir, err := existing(l.DataDir)
	if err != nil {
		return broken(err.Error(), "choose another data directory")
	}
	median, err := medianSync(ctx, dir)
	if err != nil {
		return broken(fmt.Sprintf("write to %s: %v", dir, err), "choose a data directory that can be written")
	}
	return judgeSync(dir, median)
}

func judgeSync(dir string, median time.Duration) Result {
	detail := fmt.Sprintf("a write to %s is safe after %s (median of %d)", dir, median.Round(10*time.Microsecond), syncWrites)
	if median > slowSync {
		return warn(detail+", and every request waits for it", "choose a data directory on a local SSD, or relax --sync")
	}
	return ok(detail)
}

// medianSync writes and syncs blocks to a file that it removes again.
func medianSync(ctx context.Context, dir string) (time.Duration, error) {
	f, err := os.CreateTemp(dir, ".doctor-*")
	if err != nil {
		return 0, err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	block := make([]byte, syncBytes)
	took := make([]time.Duration, 0, syncWrites)
	for range syncWrites {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		at := time.Now()
		if _, err := f.Write(block); err != nil {
			return 0, err
		}
		if err := f.Sync(); err != nil {
			return 0, err
		}
		took = append(took, time.Since(at))
	}
	slices.Sort(took)
	return took[len(took)/2], nil
}

// existing is dir, or the nearest folder above it that exists: what dir would be made on.
func existing(dir string) (string, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	for {
		info, err := os.Stat(dir)
		if err == nil && info.IsDir() {
			return dir, nil
		}
		if err == nil {
			return "", fmt.Errorf("%s is no directory", dir)
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return "", err
		}
		dir = filepath.Dir(dir)
	}
}
