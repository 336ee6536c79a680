package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// process is a process of the instance and its share of the memory.
type process struct {
	Command  string `json:"command"`
	PSSBytes int64  `json:"pssBytes"`
}

// idleTime is how long an instance is left alone before its memory is looked at.
const idleTime = 5 * time.Second

func (b *bench) idleMemory(ctx context.Context, in *instance, _ *sshServer) (err error) {
	b.report.Idle, err = b.memory(ctx, in)
	return err
}

// memory finds the proportional set sizes of hermesd and of all that it has started, at rest.
func (b *bench) memory(ctx context.Context, in *instance) ([]process, error) {
	select {
	case <-time.After(idleTime):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	folders, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return nil, err
	}
	var found []process
	for _, folder := range folders {
		if !in.owns(folder) {
			continue
		}
		pss, err := pssOf(folder)
		if errors.Is(err, os.ErrNotExist) {
			continue // it has just ended
		}
		if err != nil {
			return nil, err
		}
		words := strings.Split(text(folder+"/cmdline"), "\x00")
		name := filepath.Base(words[0])
		if len(words) > 1 && name == "hermesd" {
			name += " " + words[1]
		}
		found = append(found, process{name, pss})
	}
	return found, nil
}

// owns says whether a process is the instance's: hermesd and what it has started, the shims, which
// are nobody's children but name the instance's folder, and what is in the sandboxes' cgroups.
func (in *instance) owns(folder string) bool {
	// runc keeps its state below the name that the sandboxes' cgroup has, too.
	groups, _ := filepath.Glob(in.data() + "/sandboxes/runc/*")
	for _, group := range groups {
		if strings.Contains(text(folder+"/cgroup"), "/hermes/"+filepath.Base(group)) {
			return true
		}
	}
	command := text(folder + "/cmdline")
	if strings.Contains(command, in.data()+"/") && strings.Contains(command, "containerd") {
		return true
	}
	for pid := filepath.Base(folder); pid != "" && pid != "0"; pid = parentOf(pid) {
		if pid == strconv.Itoa(in.pid) {
			return true
		}
	}
	return false
}

func parentOf(pid string) string {
	_, after, _ := strings.Cut(text("/proc/"+pid+"/stat"), ") ")
	fields := strings.Fields(after)
	if len(fields) < 2 {
		return ""
	}
	return fields[1]
}

func pssOf(folder string) (int64, error) {
	file, err := os.Open(folder + "/smaps_rollup")
	if err != nil {
		return 0, err
	}
	defer file.Close()
	for scan := bufio.NewScanner(file); scan.Scan(); {
		fields := strings.Fields(scan.Text())
		if len(fields) == 3 && fields[0] == "Pss:" {
			kib, err := strconv.ParseInt(fields[1], 10, 64)
			return kib << 10, err
		}
	}
	return 0, nil // a kernel thread, or one that is ending
}

// text is empty where there is no file.
func text(file string) string {
	raw, _ := os.ReadFile(file)
	return string(raw)
}

func cpus() int { return runtime.NumCPU() }

// machine says in a line what was measured on.
func machine() string {
	var name unix.Utsname
	_ = unix.Uname(&name)
	var info unix.Sysinfo_t
	_ = unix.Sysinfo(&info)
	_, model, _ := strings.Cut(text("/proc/cpuinfo"), "model name")
	model, _, _ = strings.Cut(model, "\n")
	return fmt.Sprintf("%d x %s, %d GiB, Linux %s", cpus(), strings.Trim(model, "\t: "),
		int64(info.Totalram)*int64(info.Unit)>>30, unix.ByteSliceToString(name.Release[:]))
}
