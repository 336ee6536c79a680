package fake

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// instance is the folder of one process of this program, locked for as long as it lives: the
// kernel lets go of the lock however the process ends.
type instance struct {
	dir  string
	lock *os.File
}

const lockName = "lock"

func newInstance(parent string) (*instance, error) {
	if err := os.MkdirAll(parent, 0o700); err != nil {
		return nil, fmt.Errorf("fake runtime: make state folder: %w", err)
	}
	dir, err := os.MkdirTemp(parent, "instance-")
	if err != nil {
		return nil, fmt.Errorf("fake runtime: make instance folder: %w", err)
	}
	lock, err := tryLock(dir)
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	return &instance{dir: dir, lock: lock}, nil
}

func (i *instance) close() error {
	return errors.Join(os.RemoveAll(i.dir), i.lock.Close())
}

// tryLock takes the lock of an instance's folder, or says that its owner lives.
func tryLock(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, lockName), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("fake runtime: open lock: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return nil, errors.Join(fmt.Errorf("fake runtime: lock %s: %w", f.Name(), err), f.Close())
	}
	return f, nil
}

// reap ends what dead instances left under parent. own is this process's folder, or "".
func reap(ctx context.Context, parent, own string) error {
	dirs, err := filepath.Glob(filepath.Join(parent, "instance-*"))
	if err != nil {
		return err
	}
	for _, dir := range dirs {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("fake runtime: reap: %w", err)
		}
		if dir == own {
			continue
		}
		lock, err := tryLock(dir)
		if err != nil {
			if errors.Is(err, syscall.EWOULDBLOCK) || errors.Is(err, os.ErrNotExist) {
				continue // its process lives, or has just tidied up itself
			}
			return err
		}
		killRecorded(dir)
		if err := errors.Join(os.RemoveAll(dir), lock.Close()); err != nil {
			return fmt.Errorf("fake runtime: reap %s: %w", dir, err)
		}
	}
	return nil
}

// record notes a running process group where reap finds it. The start time tells it from a later
// process with the same number.
func record(dir string, pid int) error {
	text := fmt.Sprintf("%d %s\n", pid, startTime(pid))
	return os.WriteFile(filepath.Join(dir, "running"), []byte(text), 0o600)
}

func killRecorded(instanceDir string) {
	files, _ := filepath.Glob(filepath.Join(instanceDir, "*", "running"))
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		fields := strings.Fields(string(text))
		if len(fields) != 2 {
			continue
		}
		pid, err := strconv.Atoi(fields[0])
		if err == nil && pid > 1 && startTime(pid) == fields[1] {
			_ = syscall.Kill(-pid, syscall.SIGKILL)
		}
	}
}

// startTime is field 22 of /proc/PID/stat, or "-" where there is no such process or no /proc.
func startTime(pid int) string {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return "-"
	}
	// The second field is the program's name, in parentheses, and may hold anything.
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	const startField = 22 - 3 // counted from the third field
	if len(fields) <= startField {
		return "-"
	}
	return fields[startField]
}

// processGroup lists the processes of a group. One that is just ending may be missing.
func processGroup(group int) ([]int, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	var found []int
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil {
			continue
		}
		if of, err := syscall.Getpgid(pid); err == nil && of == group {
			found = append(found, pid)
		}
	}
	return found, nil
}
