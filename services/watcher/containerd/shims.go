package containerd

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// shimName is the program that an operator's containerd runs for each container.
const shimName = "containerd-shim-runc-v2"

// shimProcess is a running shim, by its command line: -namespace NS -id ID -address ADDRESS.
type shimProcess struct {
	pid                    int
	namespace, id, address string
}

// shimProcesses lists all shims on the machine.
func shimProcesses() ([]shimProcess, error) {
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		return nil, err
	}
	var found []shimProcess
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			continue // it has just ended
		}
		args := strings.Split(string(text), "\x00")
		if filepath.Base(args[0]) != shimName {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(file)))
		if err != nil {
			continue
		}
		found = append(found, shimProcess{
			pid: pid, namespace: flagOf(args, "-namespace"), id: flagOf(args, "-id"), address: flagOf(args, "-address"),
		})
	}
	return found, nil
}

func flagOf(args []string, name string) string {
	for i, arg := range args[:len(args)-1] {
		if arg == name {
			return args[i+1]
		}
	}
	return ""
}

// killShims kills the shims that match, with the containers below them, and waits until they are gone.
func killShims(matches func(shimProcess) bool) error {
	deadline := time.Now().Add(killPatience)
	for {
		shims, err := shimProcesses()
		if err != nil {
			return fmt.Errorf("look for shims: %w", err)
		}
		left := 0
		for _, shim := range shims {
			if matches(shim) {
				left++
				killWithChildren(shim.pid)
			}
		}
		if left == 0 {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%d shims do not end within %s", left, killPatience)
		}
		time.Sleep(killPoll)
	}
}

// killWithChildren kills a process's children first: without their parent they could not be found.
func killWithChildren(pid int) {
	threads, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, file := range threads {
		text, _ := os.ReadFile(file)
		for child := range strings.FieldsSeq(string(text)) {
			if number, err := strconv.Atoi(child); err == nil && number > 1 {
				_ = unix.Kill(number, unix.SIGKILL)
			}
		}
	}
	_ = unix.Kill(pid, unix.SIGKILL)
}
