package containerd

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// prepareStateDir makes the folder and checks that a container's own user can look through it.
func prepareStateDir(dir string) error {
	if !filepath.IsAbs(dir) {
		return fmt.Errorf("state directory %q: want an absolute path", dir)
	}
	for _, sub := range []string{"", "bases", "sandboxes"} {
		path := filepath.Join(dir, sub)
		if err := os.MkdirAll(path, 0o711); err != nil {
			return fmt.Errorf("make state directory: %w", err)
		}
		if err := os.Chmod(path, 0o711); err != nil {
			return fmt.Errorf("make state directory passable: %w", err)
		}
	}
	for above := filepath.Dir(dir); above != "/"; above = filepath.Dir(above) {
		info, err := os.Stat(above)
		if err != nil {
			return fmt.Errorf("look at state directory: %w", err)
		}
		if info.Mode().Perm()&0o001 == 0 {
			return fmt.Errorf("state directory %s: containers run as another user, who may not pass %s: chmod o+x it, or keep the state elsewhere", dir, above)
		}
	}
	return nil
}

// lockFile makes sure that no other living process does what this one is about to. The lock goes
// with the file, and so with the process. Errors: inUse, wrapped.
func lockFile(path string, inUse error) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open lock: %w", err)
	}
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if err == nil {
		return f, nil
	}
	if errors.Is(err, unix.EWOULDBLOCK) {
		err = inUse
	}
	return nil, errors.Join(fmt.Errorf("lock %s: %w", path, err), f.Close())
}
