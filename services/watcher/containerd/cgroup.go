package containerd

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const cgroupMount = "/sys/fs/cgroup"

// cgroupRoot knows how this machine lays out cgroups and where the sandboxes' are.
type cgroupRoot struct {
	unified bool   // version 2 only; otherwise version 1, or both with the controllers on 1
	parent  string // path of the sandboxes' parent below each hierarchy
	swap    bool
}

func findCgroupRoot(namespace string) (cgroupRoot, error) {
	var fs unix.Statfs_t
	if err := unix.Statfs(cgroupMount, &fs); err != nil {
		return cgroupRoot{}, fmt.Errorf("look at %s: %w; mount the cgroup file system there", cgroupMount, err)
	}
	root := cgroupRoot{unified: fs.Type == unix.CGROUP2_SUPER_MAGIC, parent: "/hermes/" + namespace}
	swapFile := cgroupMount + "/memory/memory.memsw.limit_in_bytes"
	if _, err := os.Stat(swapFile); err == nil || root.unified {
		root.swap = true
	}
	return root, nil
}

// path is a sandbox's cgroup as the OCI spec names it.
func (r cgroupRoot) path(id string) string { return r.parent + "/" + id }

// folder is a cgroup's folder in the hierarchy of a controller.
func (r cgroupRoot) folder(controller, path string) string {
	if r.unified {
		return filepath.Join(cgroupMount, path)
	}
	return filepath.Join(cgroupMount, controller, path)
}

// hierarchies are the folders of path in all hierarchies.
func (r cgroupRoot) hierarchies(path string) []string {
	if r.unified {
		return []string{filepath.Join(cgroupMount, path)}
	}
	mounts, _ := os.ReadDir(cgroupMount)
	var folders []string
	for _, mount := range mounts {
		if mount.IsDir() { // links are second names: cpu,cpuacct
			folders = append(folders, filepath.Join(cgroupMount, mount.Name(), path))
		}
	}
	return folders
}

// killAll sends SIGKILL to every process in path and below, and waits until there is none.
func (r cgroupRoot) killAll(path string, limit time.Duration) error {
	deadline := time.Now().Add(limit)
	for {
		pids := r.processes(path)
		if len(pids) == 0 {
			return nil
		}
		for _, pid := range pids {
			_ = unix.Kill(pid, unix.SIGKILL)
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("processes %v of cgroup %s do not end within %s", pids, path, limit)
		}
		time.Sleep(killPoll)
	}
}

const killPoll = 5 * time.Millisecond

func (r cgroupRoot) processes(path string) []int {
	var pids []int
	_ = filepath.WalkDir(r.folder("pids", path), func(at string, entry os.DirEntry, err error) error {
		if err != nil || !entry.IsDir() {
			return nil
		}
		text, _ := os.ReadFile(filepath.Join(at, "cgroup.procs"))
		for line := range strings.FieldsSeq(string(text)) {
			if pid, err := strconv.Atoi(line); err == nil && pid > 1 {
				pids = append(pids, pid)
			}
		}
		return nil
	})
	return pids
}

// remove removes path and everything below it from all hierarchies. They must be empty.
func (r cgroupRoot) remove(path string) error {
	var errs []error
	for _, folder := range r.hierarchies(path) {
		errs = append(errs, removeTree(folder))
	}
	return errors.Join(errs...)
}

// removeParent removes the sandboxes' parent where it is empty.
func (r cgroupRoot) removeParent() {
	for _, folder := range r.hierarchies(r.parent) {
		_ = unix.Rmdir(folder)
	}
}

// removeTree removes cgroup folders from the bottom up; their files go with them.
func removeTree(folder string) error {
	if err := unix.Rmdir(folder); err == nil || errors.Is(err, unix.ENOENT) {
		return nil // most have nothing below them, and nobody in them any more
	}
	entries, err := os.ReadDir(folder)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if entry.IsDir() {
			if err := removeTree(filepath.Join(folder, entry.Name())); err != nil {
				return err
			}
		}
	}
	return removeFolder(folder)
}

// removeFolder tries again while the kernel still counts the last process that has just died.
func removeFolder(folder string) error {
	deadline := time.Now().Add(2 * time.Second)
	for {
		err := unix.Rmdir(folder)
		if err == nil || errors.Is(err, unix.ENOENT) {
			return nil
		}
		if !errors.Is(err, unix.EBUSY) || time.Now().After(deadline) {
			return fmt.Errorf("remove cgroup %s: %w", folder, err)
		}
		time.Sleep(killPoll)
	}
}
