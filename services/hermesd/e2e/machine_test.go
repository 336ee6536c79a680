package e2e

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// newDataDir is a short folder that the containers' own users may pass, which t.TempDir is not. At
// the end of the test nothing that has to do with it may be left on the machine.
func newDataDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "h")
	must(t, err)
	must(t, os.Chmod(dir, 0o755))
	t.Cleanup(func() {
		checkGone(t, dir)
		if err := os.RemoveAll(dir); err != nil {
			t.Errorf("the data directory cannot be removed: %v", err)
		}
	})
	return dir
}

// checkGone says what the processes that worked in a folder have left. It is called when they have
// ended; only the kernel may need a moment more to clear up.
func checkGone(t *testing.T, dir string) {
	t.Helper()
	var left []string
	for deadline := time.Now().Add(patience); ; time.Sleep(pollEvery) {
		if left = leftovers(t, dir); len(left) == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Errorf("left on the machine:\n  %s", strings.Join(left, "\n  "))
			return
		}
	}
}

func leftovers(t *testing.T, dir string) []string {
	t.Helper()
	// runc keeps its state below the name that the sandboxes' cgroup has, too.
	states, err := filepath.Glob(dir + "/*/runc/*")
	must(t, err)
	deeper, err := filepath.Glob(dir + "/*/sandboxes/runc/*")
	must(t, err)
	var left, groups []string
	for _, state := range append(states, deeper...) {
		groups = append(groups, "/hermes/"+filepath.Base(state))
		containers, err := os.ReadDir(state)
		must(t, err)
		for _, c := range containers {
			left = append(left, "a container's state: "+filepath.Join(state, c.Name()))
		}
	}
	for _, group := range groups {
		found, err := filepath.Glob("/sys/fs/cgroup/*" + group)
		must(t, err)
		if _, err := os.Stat("/sys/fs/cgroup" + group); err == nil {
			found = append(found, "/sys/fs/cgroup"+group)
		}
		for _, f := range found {
			left = append(left, "a cgroup: "+f)
		}
	}
	boxes, err := filepath.Glob(dir + "/*/sandboxes/*/socket")
	must(t, err)
	for _, box := range boxes {
		left = append(left, "a sandbox's folder: "+box)
	}
	return append(left, leftProcesses(t, dir, groups)...)
}

// leftProcesses are those that name the folder, are in the cgroups, or see mounts of it. What is
// mounted in a namespace is there as long as a process of that namespace.
func leftProcesses(t *testing.T, dir string, groups []string) []string {
	t.Helper()
	folders, err := filepath.Glob("/proc/[0-9]*")
	must(t, err)
	var left []string
	for _, folder := range folders {
		command := strings.ReplaceAll(readText(folder+"/cmdline"), "\x00", " ")
		if command == "" && isZombie(folder) {
			continue // it has ended, and only its parent knows nothing of it yet
		}
		if strings.Contains(command, dir+"/") {
			left = append(left, "a process: "+folder+" "+command)
		}
		for _, group := range groups {
			if strings.Contains(readText(folder+"/cgroup"), group+"/") {
				left = append(left, "a process of a container: "+folder+" "+command)
				break
			}
		}
		for line := range strings.Lines(readText(folder + "/mountinfo")) {
			if strings.Contains(line, dir+"/") {
				left = append(left, "a mount, seen by "+folder+" "+command+": "+strings.TrimSpace(line))
				break
			}
		}
	}
	return left
}

// readText is empty where there is no file any more.
func readText(file string) string {
	raw, _ := os.ReadFile(file)
	return string(raw)
}

func isZombie(folder string) bool {
	_, after, _ := strings.Cut(readText(folder+"/stat"), ") ")
	return strings.HasPrefix(after, "Z") || after == ""
}

// childContainerd is the process of the containerd that works in a data directory.
func childContainerd(t *testing.T, dir string) int {
	t.Helper()
	var pid int
	eventually(t, "a containerd of "+dir, func() bool {
		folders, err := filepath.Glob("/proc/[0-9]*")
		must(t, err)
		for _, folder := range folders {
			if strings.Contains(readText(folder+"/cmdline"), "\x00containerd\x00--dir\x00"+dir+"/") && !isZombie(folder) {
				pid, err = strconv.Atoi(filepath.Base(folder))
				must(t, err)
				return true
			}
		}
		return false
	})
	return pid
}

var addresses atomic.Int32

// newAddress is host:port at which nobody listens, on a loopback address of the test's own: nobody
// else takes the port while a server is down between its death and its next start.
func newAddress(t *testing.T) string {
	t.Helper()
	pid := os.Getpid()
	host := fmt.Sprintf("127.%d.%d.%d", 1+pid>>8%250, pid%256, addresses.Add(1))
	l, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
	must(t, err)
	defer l.Close()
	return l.Addr().String()
}
