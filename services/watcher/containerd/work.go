package containerd

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/hermes-serverless/hermes/services/watcher/sandbox"
)

// The writable folder of a build is a tmpfs that is mounted nowhere on the host: it is made detached,
// opened through its descriptor, and moved into the container's own mount namespace. So its size is
// limited by the kernel, no path of the host leads into it, and it is gone with its last user
// however that ends. It belongs to the host's user namespace, as the host could not create files in
// one that belongs to the container's.

// attachWork mounts a work folder at FunctionDir in the mount namespace of the process pid, and
// returns the host's way into it. Kernels have all it takes since 5.2.
func attachWork(pid int, bytes int64, owner uint32) (*os.Root, error) {
	tree, err := detachedTmpfs(bytes, owner)
	if err != nil {
		return nil, fmt.Errorf("make the work folder: %w", err)
	}
	defer tree.Close()
	if err := inNamespaceOf(pid, "mnt", func() error {
		return unix.MoveMount(int(tree.Fd()), "", unix.AT_FDCWD, sandbox.FunctionDir, unix.MOVE_MOUNT_F_EMPTY_PATH)
	}); err != nil {
		return nil, fmt.Errorf("mount the work folder: %w", err)
	}
	work, err := os.OpenRoot(fmt.Sprintf("/proc/self/fd/%d", tree.Fd()))
	if err != nil {
		return nil, fmt.Errorf("open the work folder: %w", err)
	}
	return work, nil
}

func detachedTmpfs(bytes int64, owner uint32) (*os.File, error) {
	return detached("tmpfs", unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV, [][2]string{
		{"source", "work"}, {"mode", "0755"}, {"size", fmt.Sprint(bytes)}, {"nr_inodes", fmt.Sprint(workInodes)},
		{"uid", fmt.Sprint(owner)}, {"gid", fmt.Sprint(owner)},
	}...)
}

// detached makes a file system that is mounted nowhere.
func detached(kind string, attributes int, options ...[2]string) (*os.File, error) {
	fd, err := unix.Fsopen(kind, unix.FSOPEN_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("fsopen: %w", err)
	}
	defer unix.Close(fd)
	for _, option := range options {
		if err := unix.FsconfigSetString(fd, option[0], option[1]); err != nil {
			return nil, fmt.Errorf("set %s to %s: %w", option[0], option[1], err)
		}
	}
	if err := unix.FsconfigCreate(fd); err != nil {
		return nil, fmt.Errorf("fsconfig: %w", err)
	}
	tree, err := unix.Fsmount(fd, unix.FSMOUNT_CLOEXEC, attributes)
	if err != nil {
		return nil, fmt.Errorf("fsmount: %w", err)
	}
	return os.NewFile(uintptr(tree), kind), nil
}

// inNamespaceOf runs f in a namespace of another process, "mnt", "ipc" or "net", on a thread that
// ends with it.
func inNamespaceOf(pid int, kind string, f func() error) error {
	namespace, err := os.Open(fmt.Sprintf("/proc/%d/ns/%s", pid, kind))
	if err != nil {
		return err
	}
	defer namespace.Close()
	return onDyingThread(func() error {
		// A thread that shares its root and working directory may not change its mounts.
		if err := unix.Unshare(unix.CLONE_FS); err != nil {
			return fmt.Errorf("unshare: %w", err)
		}
		if err := unix.Setns(int(namespace.Fd()), 0); err != nil {
			return fmt.Errorf("setns: %w", err)
		}
		return f()
	})
}

// onDyingThread runs f on a thread of its own. It is not the process's first one, which does not end
// before the process: a namespace that it had entered would live on with all that is mounted there.
func onDyingThread(f func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		if unix.Gettid() == unix.Getpid() {
			defer runtime.UnlockOSThread()
			done <- onDyingThread(f) // on another one, as this one is taken
			return
		}
		done <- f() // and never unlocked: the thread is of no other use afterwards
	}()
	return <-done
}

// givenDepth is how many folders deep the host's own files may lie: a bundle's do at most 64.
const givenDepth = 100

// giveTo makes everything that the host put into a work folder the sandbox's own. Nothing may run in
// the sandbox meanwhile; what disappears anyway is not an error. It opens each folder from the one
// above and not by its path, so that no tree that a command left there takes more than a moment.
func giveTo(work *os.Root, owner uint32) error {
	return giveFolder(work, owner, givenDepth)
}

func giveFolder(folder *os.Root, owner uint32, depth int) error {
	entries, err := fs.ReadDir(folder.FS(), ".")
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if err := giveEntry(folder, entry, owner, depth); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

func giveEntry(folder *os.Root, entry fs.DirEntry, owner uint32, depth int) error {
	info, err := entry.Info()
	if err != nil {
		return err
	}
	if stat, ok := info.Sys().(*syscall.Stat_t); ok && (stat.Uid != owner || stat.Gid != owner) {
		if err := folder.Lchown(entry.Name(), int(owner), int(owner)); err != nil {
			return err
		}
	}
	if !entry.IsDir() || depth == 0 {
		return nil
	}
	below, err := folder.OpenRoot(entry.Name())
	if err != nil {
		return err
	}
	return errors.Join(giveFolder(below, owner, depth-1), below.Close())
}
