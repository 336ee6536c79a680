package containerd

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// attributes are those of a process that others of its user may change, and that its children inherit.
type attributes struct {
	limits   [numResources]unix.Rlimit
	schedule unix.SchedAttr
	cpus     unix.CPUSet
	priority uintptr // of its I/O
}

// numResources is how many there are of the kernel's RLIMIT_ numbers.
const numResources = 16

func attributesOf(pid int) (attributes, error) {
	var a attributes
	for i := range a.limits {
		if err := unix.Prlimit(pid, i, nil, &a.limits[i]); err != nil {
			return a, fmt.Errorf("read limit %d: %w", i, err)
		}
	}
	schedule, err := unix.SchedGetAttr(pid, 0)
	if err != nil {
		return a, fmt.Errorf("read its scheduling: %w", err)
	}
	a.schedule = *schedule
	a.schedule.Runtime = 0 // the scheduler's own, unless it is a deadline's, which nobody there may set
	if err := unix.SchedGetaffinity(pid, &a.cpus); err != nil {
		return a, fmt.Errorf("read its processors: %w", err)
	}
	const process = 1
	priority, _, errno := unix.Syscall(unix.SYS_IOPRIO_GET, process, uintptr(pid), 0)
	if errno != 0 {
		return a, fmt.Errorf("read its I/O priority: %w", errno)
	}
	a.priority = priority
	return a, nil
}
