package containerd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"github.com/hermes-serverless/hermes/services/watcher/sandbox"
)

// What a command can leave behind in a sandbox, once all its processes are dead, are files in its
// tmpfs (everything else is read-only), objects of the IPC namespace, and attributes of the init,
// which are its children's too. All of it is looked at from the host, through descriptors that were
// opened before the first command: no path of the sandbox is followed, and a sandbox that was left
// clean costs some twenty system calls.

// mostLeft is how many files are cleared away. Making a sandbox anew is cheaper than more of them.
const mostLeft = 1000

var errLeft = errors.New("something is left of what ran in it")

// renewal is what it takes to renew one sandbox.
type renewal struct {
	disks  []disk
	queues *os.File   // the folder of the POSIX message queues
	ipc    []*os.File // the kernel's lists of System V objects
	pid    int        // the init's
	init   attributes
}

// disk is a tmpfs of the sandbox.
type disk struct {
	name string
	root *os.Root
	file *os.File // its root
	free uint64   // inodes when it was empty
}

// newRenewal looks at a sandbox in which nothing has run, and that can write to these folders.
func newRenewal(pid int, folders []string) (_ *renewal, err error) {
	r := &renewal{pid: pid}
	defer func() {
		if err != nil {
			r.close()
		}
	}()
	if r.init, err = attributesOf(pid); err != nil {
		return nil, fmt.Errorf("look at the init: %w", err)
	}
	if err := inNamespaceOf(pid, "ipc", r.openIPC); err != nil {
		return nil, fmt.Errorf("open the IPC namespace: %w", err)
	}
	if err := inNamespaceOf(pid, "mnt", func() error { return r.openDisks(folders) }); err != nil {
		return nil, fmt.Errorf("enter the sandbox's mounts: %w", err)
	}
	return r, r.openRoots()
}

// openIPC is called in the sandbox's IPC namespace and the host's mounts.
func (r *renewal) openIPC() error {
	for _, kind := range []string{"msg", "sem", "shm"} {
		list, err := os.Open("/proc/sysvipc/" + kind)
		if err != nil {
			return err
		}
		r.ipc = append(r.ipc, list)
	}
	mount, err := detached("mqueue", unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV)
	if err != nil {
		return fmt.Errorf("the message queues: %w", err)
	}
	defer mount.Close()
	fd, err := unix.Openat(int(mount.Fd()), ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("the message queues: %w", err)
	}
	r.queues = os.NewFile(uintptr(fd), "mqueue")
	return nil
}

// openDisks is called in the sandbox's mounts.
func (r *renewal) openDisks(folders []string) error {
	for _, name := range folders {
		fd, err := unix.Open(name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if err != nil {
			return fmt.Errorf("open %s: %w", name, err)
		}
		d := disk{name: name, file: os.NewFile(uintptr(fd), name)}
		r.disks = append(r.disks, d)
	}
	return nil
}

// openRoots is called in the host's mounts, where /proc has this process.
func (r *renewal) openRoots() (err error) {
	for i := range r.disks {
		d := &r.disks[i]
		if d.root, err = os.OpenRoot(fmt.Sprintf("/proc/self/fd/%d", d.file.Fd())); err != nil {
			return fmt.Errorf("open %s: %w", d.name, err)
		}
		if d.free, err = freeInodes(d.file); err != nil {
			return err
		}
	}
	return nil
}

func (r *renewal) close() {
	if r == nil {
		return
	}
	for _, d := range r.disks {
		_ = d.file.Close()
		if d.root != nil {
			_ = d.root.Close()
		}
	}
	for _, f := range append(r.ipc, r.queues) {
		if f != nil {
			_ = f.Close()
		}
	}
}

// clean removes what is left, or says why it does not.
func (r *renewal) clean() error {
	now, err := attributesOf(r.pid)
	if err != nil {
		return fmt.Errorf("look at the init: %w", err)
	}
	if now != r.init {
		return fmt.Errorf("%w: the init's attributes were changed", errLeft)
	}
	for _, list := range r.ipc {
		if hasRows(list) {
			return fmt.Errorf("%w: %s has objects", errLeft, list.Name())
		}
	}
	if _, err := r.queues.Seek(0, io.SeekStart); err != nil {
		return fmt.Errorf("look for message queues: %w", err)
	}
	if names, err := r.queues.Readdirnames(1); err != io.EOF {
		return errors.Join(fmt.Errorf("%w: message queues %v", errLeft, names), err)
	}
	for _, d := range r.disks {
		if err := d.clear(); err != nil {
			return err
		}
	}
	return nil
}

// hasRows says that a list of /proc/sysvipc has more than its heading.
func hasRows(list *os.File) bool {
	var text [1024]byte // of headings the longest has 170 bytes
	n, _ := list.ReadAt(text[:], 0)
	lines := 0
	for _, c := range text[:n] {
		if c == '\n' {
			lines++
		}
	}
	return lines != 1
}

// freeInodes is how many a folder's filesystem has left: how many files are in it costs one system call.
func freeInodes(folder *os.File) (uint64, error) {
	var s unix.Statfs_t
	if err := unix.Fstatfs(int(folder.Fd()), &s); err != nil {
		return 0, fmt.Errorf("look at %s: %w", folder.Name(), err)
	}
	return s.Ffree, nil
}

// clear removes everything from a disk. The kernel's own count says that it is all of it.
func (d disk) clear() error {
	free, err := freeInodes(d.file)
	if err != nil || free == d.free {
		return err
	}
	if d.free-free > mostLeft {
		return fmt.Errorf("%w: %d files in %s, of which at most %d are cleared away", errLeft, d.free-free, d.name, mostLeft)
	}
	folder, err := d.root.Open(".")
	if err != nil {
		return fmt.Errorf("clear %s: %w", d.name, err)
	}
	defer folder.Close()
	names, err := folder.Readdirnames(-1)
	for _, name := range names {
		err = errors.Join(err, d.root.RemoveAll(name))
	}
	if err != nil {
		return fmt.Errorf("clear %s: %w", d.name, err)
	}
	if free, err = freeInodes(d.file); err == nil && free != d.free {
		err = fmt.Errorf("%w: files in %s that have no name", errLeft, d.name)
	}
	return err
}

// Renew implements sandbox.Sandbox.
func (b *box) Renew(ctx context.Context) error {
	var err error
	switch {
	case ctx.Err() != nil:
		err = ctx.Err()
	case b.renewal == nil:
		err = errors.New("it was not made for that")
	case b.link.running() != nil:
		err = sandbox.ErrBusy
	case b.link.isGone():
		err = sandbox.ErrGone
	default:
		err = b.renewal.clean()
	}
	if err != nil {
		return fmt.Errorf("renew sandbox %s: %w", b.spec.ID, err)
	}
	b.link.renew(b.container.counters.restart())
	return nil
}
