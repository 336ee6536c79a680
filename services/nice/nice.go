// Package nice gives the services of Hermes a higher priority on the processors than what functions
// compute: each run begins and ends with a little work of the services, and everybody waits for that.
package nice

import (
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// services is the nice value of the services: a thread weighs nine times as much as an ordinary one, and
// gets a processor soon when it wakes (sched(7)).
const services = -10

// ordinary is the kernel's own form of the nice value 0, which getpriority(2) returns: 20 less the value.
const ordinary = 20

// Raise gives all threads of this process the priority of services, and so those that they start, and
// child processes. A process that was started with another priority than the ordinary one keeps it. It
// needs CAP_SYS_NICE.
func Raise() error {
	if now, err := unix.Getpriority(unix.PRIO_PROCESS, 0); err != nil || now != ordinary {
		return err
	}
	threads, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return fmt.Errorf("find the threads of this process: %w", err)
	}
	for _, t := range threads {
		id, err := strconv.Atoi(t.Name())
		if err != nil {
			continue
		}
		// Linux keeps the value by thread.
		if err := unix.Setpriority(unix.PRIO_PROCESS, id, services); err != nil && err != unix.ESRCH {
			return fmt.Errorf("raise the priority of thread %d: %w", id, err)
		}
	}
	return nil
}

// LowerThread takes a raised priority from the calling thread again: for what it starts. The caller has
// locked it (runtime.LockOSThread) and never unlocks it.
func LowerThread() {
	if now, err := unix.Getpriority(unix.PRIO_PROCESS, 0); err == nil && now > ordinary {
		_ = unix.Setpriority(unix.PRIO_PROCESS, 0, 0) // to lower it is always allowed
	}
}
