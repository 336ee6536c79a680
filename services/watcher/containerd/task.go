package containerd

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	goruntime "runtime"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/containerd/containerd/v2/core/runtime"
	"github.com/containerd/containerd/v2/pkg/protobuf/types"
	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"
)

// task is one container of tasks: its init, from runc's call on.
type task struct {
	notImplemented
	id, namespace string
	spec          []byte // config.json
	bundle        string
	runc, root    string // runc's program, and its --root

	mu   sync.Mutex
	pid  int      // 0: not started
	init *os.File // a pidfd

	exited chan struct{}
	exit   runtime.Exit // valid when exited is closed
}

var _ runtime.Task = (*task)(nil)

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
	defer os.RemoveAll(t.bundle)
	pid, err := t.run(ctx)
	if err != nil {
		return err
	}
	return t.watch(pid)
}

// run calls runc, and returns the init's process id.
func (t *task) run(ctx context.Context) (int, error) {
	if err := os.Mkdir(t.bundle, 0o700); err != nil {
		return 0, fmt.Errorf("make the bundle: %w", err)
	}
	if err := os.WriteFile(filepath.Join(t.bundle, "config.json"), t.spec, 0o600); err != nil {
		return 0, fmt.Errorf("write the bundle: %w", err)
	}
	log, pidFile := filepath.Join(t.bundle, "log.json"), filepath.Join(t.bundle, "pid")
	cmd := exec.CommandContext(ctx, t.runc, "--root", t.root, "--log", log, "--log-format", "json",
		"run", "--detach", "--bundle", t.bundle, "--pid-file", pidFile, t.id)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	// The death signal comes when the thread ends that forked, so that thread must stay.
	goruntime.LockOSThread()
	defer goruntime.UnlockOSThread()
	if err := cmd.Run(); err != nil {
		return 0, fmt.Errorf("runc run: %w: %s", errors.Join(err, ctx.Err()), lastError(log))
	}
	text, err := os.ReadFile(pidFile)
	if err != nil {
		return 0, fmt.Errorf("learn the init's process id: %w", err)
	}
	pid, err := strconv.Atoi(string(text))
	if err != nil {
		return 0, fmt.Errorf("learn the init's process id: %w", err)
	}
	return pid, nil
}

// lastError is the last thing that runc's log says.
func lastError(log string) string {
	text, err := os.ReadFile(log)
	if err != nil {
		return "it wrote no log"
	}
	lines := bytes.Split(bytes.TrimSpace(text), []byte("\n"))
	var entry struct{ Msg string }
	if last := lines[len(lines)-1]; json.Unmarshal(last, &entry) != nil {
		return string(last)
	}
	return entry.Msg
}

// watch reaps the init when it ends. It became this process's child when runc ended: Serve made
// this process its descendants' reaper. Nobody else waits for it, so its number stays its own.
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
		var status unix.WaitStatus
		var failure error
		// Go's poller waits, not a thread for every container.
		err := conn.Read(func(uintptr) bool {
			var reaped int
			reaped, failure = unix.Wait4(pid, &status, unix.WNOHANG, nil)
			return reaped != 0 || failure != nil && failure != unix.EINTR
		})
		t.exit = runtime.Exit{Pid: uint32(pid), Status: exitStatus(status, errors.Join(err, failure)), Timestamp: time.Now()}
		close(t.exited)
	}()
	return nil
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

// end kills the container and waits until it is gone.
func (t *task) end(limit time.Duration) error {
	err := t.Kill(context.Background(), uint32(unix.SIGKILL), true)
	if errdefs.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
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
