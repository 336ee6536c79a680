package containerd

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
)

// confines are the limits of a process beside a sandbox.
type confines struct {
	memoryBytes, pids int64
	cpus              float64
}

// enter makes the cgroup at path, in which what the calling thread starts with these attributes
// begins. Moving a process that runs already would be simpler, and holds up every fork of the
// machine for tens of milliseconds.
func (r cgroupRoot) enter(path string, attributes *syscall.SysProcAttr, c confines) (leave func(), err error) {
	controllers := []string{"memory", "pids", "cpu"}
	if r.unified {
		if err := delegate(filepath.Dir(path)); err != nil {
			return nil, err
		}
		controllers = controllers[:1]
	}
	for _, controller := range controllers {
		if err := os.MkdirAll(r.folder(controller, path), 0o755); err != nil {
			return nil, fmt.Errorf("make a cgroup: %w", err)
		}
	}
	for _, limit := range r.limitFiles(c) {
		if err := os.WriteFile(filepath.Join(r.folder(limit.controller, path), limit.file), []byte(limit.text), 0); err != nil {
			return nil, fmt.Errorf("limit a cgroup: %w", err)
		}
	}
	if r.unified {
		folder, err := os.Open(r.folder("", path))
		if err != nil {
			return nil, fmt.Errorf("open a cgroup: %w", err)
		}
		attributes.UseCgroupFD, attributes.CgroupFD = true, int(folder.Fd())
		return func() { _ = folder.Close() }, nil
	}
	for _, controller := range controllers {
		// 0 is the thread that writes, and tasks takes a thread without its process.
		if err := os.WriteFile(filepath.Join(r.folder(controller, path), "tasks"), []byte("0"), 0); err != nil {
			return nil, fmt.Errorf("enter a cgroup: %w", err)
		}
	}
	return func() {}, nil
}

type limitFile struct{ controller, file, text string }

// limitFiles are the kernel's files for limits, in the order in which they are written.
func (r cgroupRoot) limitFiles(c confines) []limitFile {
	memory, pids := strconv.FormatInt(c.memoryBytes, 10), strconv.FormatInt(c.pids, 10)
	quota := strconv.FormatInt(max(int64(c.cpus*cpuPeriod), minimumQuota), 10)
	if r.unified {
		return []limitFile{
			{"memory", "memory.max", memory}, {"memory", "memory.swap.max", "0"},
			{"pids", "pids.max", pids}, {"cpu", "cpu.max", fmt.Sprintf("%s %d", quota, cpuPeriod)},
		}
	}
	files := []limitFile{
		{"memory", "memory.limit_in_bytes", memory}, {"pids", "pids.max", pids},
		{"cpu", "cpu.cfs_period_us", strconv.Itoa(cpuPeriod)}, {"cpu", "cpu.cfs_quota_us", quota},
	}
	if r.swap {
		files = append(files, limitFile{"memory", "memory.memsw.limit_in_bytes", memory})
	}
	return files
}

// delegate lets the groups below path have limits, in version 2, where each group above has to.
func delegate(path string) error {
	if path != "/" {
		if err := delegate(filepath.Dir(path)); err != nil {
			return err
		}
	}
	folder := filepath.Join(cgroupMount, path)
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return fmt.Errorf("make a cgroup: %w", err)
	}
	if err := os.WriteFile(filepath.Join(folder, "cgroup.subtree_control"), []byte("+memory +pids +cpu"), 0); err != nil {
		return fmt.Errorf("let cgroups have limits: %w", err)
	}
	return nil
}
