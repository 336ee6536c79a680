package instance

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// format is the version of the data folder's layout. A folder with a higher one was written by a
// newer hermesd and is refused.
const format = 1

// Errors of opening a data folder. Each is wrapped with the folder and what to do.
var (
	ErrInUse  = errors.New("the data directory is in use by another hermesd")
	ErrNewer  = errors.New("the data directory was written by a newer hermesd")
	ErrNoData = errors.New("the data directory cannot be used")
)

// DataDir is an instance's folder, held exclusively until Close.
type DataDir struct {
	path string
	lock *os.File
	// existed: an instance ran here before. Whatever still claims to be it is dead, for the lock is ours.
	existed bool
}

// OpenDataDir makes the folder if it is not there, and locks it.
func OpenDataDir(path string) (*DataDir, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrNoData, path, err)
	}
	if err := os.MkdirAll(path, 0o711); err != nil {
		return nil, fmt.Errorf("%w: %w: choose another with --data-dir, or run as root", ErrNoData, err)
	}
	lock, err := os.OpenFile(filepath.Join(path, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("%w: %w: choose another with --data-dir, or run as root", ErrNoData, err)
	}
	d := &DataDir{path: path, lock: lock}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		defer d.Close()
		return nil, fmt.Errorf("%w: %s%s: stop that one, or choose another with --data-dir", ErrInUse, path, d.holder())
	}
	if err := d.checkFormat(); err != nil {
		return nil, errors.Join(err, d.Close())
	}
	if err := d.writeHolder(); err != nil {
		return nil, errors.Join(fmt.Errorf("%w: %w", ErrNoData, err), d.Close())
	}
	return d, nil
}

func (d *DataDir) holder() string {
	raw, err := os.ReadFile(d.lock.Name())
	if pid := strings.TrimSpace(string(raw)); err == nil && pid != "" {
		return " (process " + pid + ")"
	}
	return ""
}

func (d *DataDir) writeHolder() error {
	if err := d.lock.Truncate(0); err != nil {
		return err
	}
	_, err := d.lock.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	return err
}

func (d *DataDir) checkFormat() error {
	file := d.Path("format")
	raw, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return os.WriteFile(file, []byte(strconv.Itoa(format)+"\n"), 0o600)
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrNoData, err)
	}
	d.existed = true
	found, err := strconv.Atoi(strings.TrimSpace(string(raw)))
	switch {
	case err != nil:
		return fmt.Errorf("%w: %s holds %q, which is no version", ErrNoData, file, raw)
	case found > format:
		return fmt.Errorf("%w: %s is of format %d, this hermesd knows %d: start the newer hermesd, or choose another with --data-dir", ErrNewer, d.path, found, format)
	}
	return nil
}

// Path joins names to the folder's.
func (d *DataDir) Path(names ...string) string {
	return filepath.Join(append([]string{d.path}, names...)...)
}

// Close lets go of the folder.
func (d *DataDir) Close() error { return d.lock.Close() }
