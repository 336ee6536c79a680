package containerd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/containerd/containerd/v2/core/runtime"
	"github.com/containerd/containerd/v2/pkg/protobuf/types"
	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"
)

// task is one container of tasks: its init, from its start on.
type task struct {
	notImplemented
	id, namespace string
	spec          []byte // config.json
	bundle        string // a folder for it, if it takes one
	root          string // of runc's state
	starter       starter

	mu   sync.Mutex
	pid  int      // 0: not started
	init *os.File // a pidfd

	exited chan struct{}
	exit   runtime.Exit // valid when exited is closed
}

var _ runtime.Task = (*task)(nil)

// starter is what makes containers of specs.
type starter interface {
	// start returns the process id of the container's init, which runs or has ended.
	start(ctx context.Context, t *task) (int, error)
	// reap returns how an init ended, which it has. Until then nobody else can get its number.
	reap(pid int) (unix.WaitStatus, error)
}

// ID implements runtime.Process.
func (t *task) ID() string { return t.id }

// Namespace implements runtime.Task.
func (t *task) Namespace() string { return t.namespace }

// PID implements runtime.Task. It is 0 before Start.
func (t *task) PID(context.Context) (uint32, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return uint32(t.pid), nil
}

// Start implements runtime.Process.
func (t *task) Start(ctx context.Context) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.pid != 0 {
		return fmt.Errorf("task %s was started before: %w", t.id, errdefs.ErrFailedPrecondition)
	}
	pid, err := t.starter.start(ctx, t)
	if err != nil {
		return err
	}
	return t.watch(pid)
}

// watch reaps the init when it ends. Nobody else does, so its number stays its own until then.
func (t *task) watch(pid int) error {
	fd, err := unix.PidfdOpen(pid, unix.PIDFD_NONBLOCK)
	if err != nil {
		return fmt.Errorf("watch the init: %w", err)
	}
	t.init, t.pid = os.NewFile(uintptr(fd), "pidfd"), pid
	conn, err := t.init.SyscallConn()
	if err != nil {
		return fmt.Errorf("watch the init: %w", err)
	}
	go func() {
		// Go's poller waits, not a thread for every container.
		waiting := conn.Read(hasEnded)
		status, err := t.starter.reap(pid)
		t.exit = runtime.Exit{Pid: uint32(pid), Status: exitStatus(status, errors.Join(waiting, err)), Timestamp: time.Now()}
		close(t.exited)
	}()
	return nil
}

// hasEnded reports whether a pidfd's process has ended.
func hasEnded(pidfd uintptr) bool {
	n, err := unix.Poll([]unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}, 0)
	return n > 0 || err != nil && err != unix.EINTR
}

// exitStatus is what a shell would say; 255 when nobody knows.
func exitStatus(status unix.WaitStatus, err error) uint32 {
	switch {
	case err != nil:
		return 255
	case status.Signaled():
		return 128 + uint32(status.Signal())
	}
	return uint32(status.ExitStatus())
}

// State implements runtime.Process.
func (t *task) State(context.Context) (runtime.State, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.pid == 0 {
		return runtime.State{Status: runtime.CreatedStatus}, nil
	}
	if !t.hasExited() {
		return runtime.State{Status: runtime.RunningStatus, Pid: uint32(t.pid)}, nil
	}
	return runtime.State{
		Status: runtime.StoppedStatus, Pid: t.exit.Pid, ExitStatus: t.exit.Status, ExitedAt: t.exit.Timestamp,
	}, nil
}

func (t *task) hasExited() bool {
	select {
	case <-t.exited:
		return true
	default:
		return false
	}
}

// Kill implements runtime.Process. All processes end with the init, which is PID 1 of their
// namespace.
func (t *task) Kill(_ context.Context, signal uint32, _ bool) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.pid == 0 || t.hasExited() {
		return fmt.Errorf("task %s does not run: %w", t.id, errdefs.ErrNotFound)
	}
	err := t.signal(unix.Signal(signal))
	if errors.Is(err, unix.ESRCH) {
		err = errdefs.ErrNotFound
	}
	if err != nil {
		return fmt.Errorf("signal task %s: %w", t.id, err)
	}
	return nil
}

func (t *task) signal(signal unix.Signal) error {
	conn, err := t.init.SyscallConn() // not Fd, which would take the file from Go's poller
	if err != nil {
		return err
	}
	var failure error
	err = conn.Control(func(fd uintptr) { failure = unix.PidfdSendSignal(int(fd), signal, nil, 0) })
	return errors.Join(err, failure)
}

// Wait implements runtime.Process.
func (t *task) Wait(ctx context.Context) (*runtime.Exit, error) {
	select {
	case <-t.exited:
		return &t.exit, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// delete removes what runc and this task keep of a container that does not run.
func (t *task) delete() (*runtime.Exit, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.pid != 0 && !t.hasExited() {
		return nil, fmt.Errorf("task %s runs: %w", t.id, errdefs.ErrFailedPrecondition)
	}
	if t.init != nil {
		_ = t.init.Close()
	}
	if err := os.RemoveAll(filepath.Join(t.root, t.id)); err != nil {
		return nil, fmt.Errorf("remove runc's state of %s: %w", t.id, err)
	}
	return &t.exit, nil
}

// end kills the container, if it was started, and waits until it is gone.
func (t *task) end(ctx context.Context) error {
	if pid, err := t.PID(ctx); pid == 0 {
		return err
	}
	if err := t.Kill(ctx, uint32(unix.SIGKILL), true); err != nil && !errdefs.IsNotFound(err) {
		return err
	}
	if _, err := t.Wait(ctx); err != nil {
		return fmt.Errorf("task %s does not end: %w", t.id, err)
	}
	return nil
}

// notImplemented is what containerd's tasks can do and sandboxes do not need.
type notImplemented struct{}

func (notImplemented) Pause(context.Context) error   { return errdefs.ErrNotImplemented }
func (notImplemented) Resume(context.Context) error  { return errdefs.ErrNotImplemented }
func (notImplemented) CloseIO(context.Context) error { return errdefs.ErrNotImplemented }
func (notImplemented) ResizePty(context.Context, runtime.ConsoleSize) error {
	return errdefs.ErrNotImplemented
}
func (notImplemented) Checkpoint(context.Context, string, *types.Any) error {
	return errdefs.ErrNotImplemented
}
func (notImplemented) Stats(context.Context) (*types.Any, error) {
	return nil, errdefs.ErrNotImplemented
}
func (notImplemented) Pids(context.Context) ([]runtime.ProcessInfo, error) {
	return nil, errdefs.ErrNotImplemented
}
func (notImplemented) Update(context.Context, *types.Any, map[string]string) error {
	return errdefs.ErrNotImplemented
}
func (notImplemented) Exec(context.Context, string, runtime.ExecOpts) (runtime.ExecProcess, error) {
	return nil, errdefs.ErrNotImplemented
}
func (notImplemented) Process(context.Context, string) (runtime.ExecProcess, error) {
	return nil, errdefs.ErrNotImplemented
}
