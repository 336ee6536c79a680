package containerd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hermes-serverless/hermes/services/watcher/sandbox"
)

// box is one sandbox.
type box struct {
	runtime   *Runtime
	spec      sandbox.Spec
	container container
	link      *link
	user      uint32 // everything inside runs as this user and group of the host
	work      *os.Root
	renewal   *renewal // nil unless the spec is Renewable
	results   *results // nil without such a folder

	removing sync.Mutex
	removed  bool
}

var _ sandbox.Sandbox = (*box)(nil)

// ID implements sandbox.Sandbox.
func (b *box) ID() string { return b.spec.ID }

// Alive implements sandbox.Sandbox.
func (b *box) Alive() bool { return !b.link.isGone() && !b.container.networkIsLost() }

// Work implements sandbox.Sandbox.
func (b *box) Work() *os.Root { return b.work }

// Start implements sandbox.Sandbox.
func (b *box) Start(ctx context.Context, cmd sandbox.Command) error {
	if err := cmd.Validate(); err != nil {
		return fmt.Errorf("start in sandbox %s: %w", b.spec.ID, err)
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("start in sandbox %s: %w", b.spec.ID, err)
	}
	if err := b.prepare(cmd); err != nil {
		return fmt.Errorf("start %q in sandbox %s: %w", cmd.Args[0], b.spec.ID, err)
	}
	cmd.Env = b.container.given.environment(cmd.Env)
	if err := b.link.start(ctx, cmd); err != nil {
		return fmt.Errorf("start %q in sandbox %s: %w", cmd.Args[0], b.spec.ID, err)
	}
	return nil
}

// prepare gives the sandbox's user what the host made for the command: files in the work folder, and
// pipes, which it could not open by name (/dev/stderr) otherwise.
func (b *box) prepare(cmd sandbox.Command) error {
	if b.link.running() != nil {
		return sandbox.ErrBusy
	}
	if b.link.isGone() {
		return sandbox.ErrGone
	}
	for _, f := range []*os.File{cmd.Stdin, cmd.Stdout, cmd.Stderr} {
		info, err := f.Stat()
		if err != nil {
			return err
		}
		if err := harmless(f, info); err != nil {
			return err
		}
		if info.Mode()&(os.ModeNamedPipe|os.ModeSocket) == 0 {
			continue // a file or device of the host stays the host's
		}
		if err := f.Chown(int(b.user), int(b.user)); err != nil {
			return fmt.Errorf("hand over %s: %w", f.Name(), err)
		}
	}
	if b.work == nil {
		return nil
	}
	return giveTo(b.work, b.user)
}

// harmless refuses what a command could leave its sandbox through: a folder leads to all that is above
// it, a disk to everything on it, and whoever reads a terminal obeys what is typed into it.
func harmless(f *os.File, info os.FileInfo) error {
	_, notTerminal := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	disk := info.Mode()&os.ModeDevice != 0 && info.Mode()&os.ModeCharDevice == 0
	if info.IsDir() || disk || notTerminal == nil {
		return fmt.Errorf("%s as a standard file: a folder, a disk or a terminal of the host must not get inside: %w", f.Name(), os.ErrInvalid)
	}
	return nil
}

// Wait implements sandbox.Sandbox.
func (b *box) Wait(ctx context.Context) (sandbox.Exit, error) {
	c := b.link.last()
	if c == nil {
		return sandbox.Exit{}, fmt.Errorf("wait in sandbox %s: nothing was started", b.spec.ID)
	}
	select {
	case <-c.done:
	case <-ctx.Done():
		return sandbox.Exit{}, fmt.Errorf("wait in sandbox %s: %w", b.spec.ID, ctx.Err())
	}
	if c.err != nil {
		return c.exit, fmt.Errorf("wait in sandbox %s: %w", b.spec.ID, c.err)
	}
	return c.exit, nil
}

// Signal implements sandbox.Sandbox.
func (b *box) Signal(_ context.Context, signal syscall.Signal) error {
	c := b.link.running()
	if c == nil {
		return nil
	}
	return b.tell(encodeSignal(c.seq, signal))
}

// Processes implements sandbox.Sandbox. The init is none of them.
func (b *box) Processes() ([]int, error) {
	all := b.runtime.cgroup.processes(b.container.cgroup)
	return slices.DeleteFunc(all, func(pid int) bool { return pid == b.link.pid }), nil
}

// tell sends a request that means nothing any more once the sandbox is gone.
func (b *box) tell(packet []byte) error {
	if err := b.link.send(packet); err != nil && !errors.Is(err, sandbox.ErrGone) {
		return fmt.Errorf("sandbox %s: %w", b.spec.ID, err)
	}
	return nil
}

// killPatience is how long the init gets to kill a command before its whole container is killed:
// it answers in microseconds, unless a process is stuck in the kernel or the init itself is.
const killPatience = 5 * time.Second

// Kill implements sandbox.Sandbox.
func (b *box) Kill(ctx context.Context) error {
	c := b.link.running()
	if c == nil {
		return nil
	}
	err := b.tell(encodeRequest(requestKill, c.seq))
	if err == nil {
		err = waitFor(ctx, c.done, killPatience)
	}
	if err == nil || errors.Is(err, context.Canceled) {
		return err
	}
	b.runtime.opts.Logger.Warn("the init did not kill its command; killing the container", "sandbox", b.spec.ID, "cause", err)
	if err := b.runtime.cgroup.killAll(b.container.cgroup, killPatience); err != nil {
		return fmt.Errorf("kill in sandbox %s: %w", b.spec.ID, err)
	}
	return waitFor(ctx, c.done, killPatience)
}

func waitFor(ctx context.Context, done <-chan struct{}, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (b *box) closeWork() error {
	if b.work == nil {
		return nil
	}
	return b.work.Close()
}

// Remove implements sandbox.Sandbox.
func (b *box) Remove(ctx context.Context) error {
	b.removing.Lock()
	defer b.removing.Unlock()
	if b.removed {
		return nil
	}
	// The closed socket ends the init, and with it everything in the sandbox.
	_ = b.link.conn.Close()
	_ = b.closeWork()
	b.renewal.close()
	if err := b.runtime.removeContainer(ctx, b.container); err != nil {
		return fmt.Errorf("remove sandbox %s: %w", b.spec.ID, err)
	}
	<-b.link.gone // so that the counters are not read while they close
	_ = b.container.counters.close()
	b.runtime.forget(b.spec.ID)
	b.removed = true
	return nil
}
