package fake

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hermes-serverless/hermes/services/watcher/sandbox"
)

// box is one fake sandbox: a folder, and at most one running process group.
type box struct {
	runtime *Runtime
	spec    sandbox.Spec
	state   string // the sandbox's own folder
	cwd     string
	work    *os.Root
	results string // its folder of results, or empty

	mu      sync.Mutex
	run     *run
	removed bool
}

// run is one command. done is closed once exit is known and its group has been killed.
type run struct {
	pid  int
	done chan struct{}
	exit sandbox.Exit
	err  error

	mu     sync.Mutex
	reaped bool // from here on the pid may be another process's
}

func newBox(r *Runtime, spec sandbox.Spec) (*box, error) {
	b := &box{runtime: r, spec: spec, state: filepath.Join(r.instance.dir, spec.ID), cwd: spec.Dir}
	if spec.Kind == sandbox.Run {
		if err := existingDir(spec.Dir); err != nil {
			return nil, err
		}
	}
	if err := os.Mkdir(b.state, 0o700); err != nil {
		return nil, err
	}
	if spec.Kind == sandbox.Run {
		return b, b.makeResults()
	}
	b.cwd = filepath.Join(b.state, "work")
	if err := os.Mkdir(b.cwd, 0o755); err != nil {
		return nil, errors.Join(err, os.RemoveAll(b.state))
	}
	work, err := os.OpenRoot(b.cwd)
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(b.state))
	}
	b.work = work
	return b, nil
}

func (b *box) makeResults() error {
	if b.spec.Limits.ResultsBytes == 0 {
		return nil
	}
	b.results = filepath.Join(b.state, "results")
	if err := os.Mkdir(b.results, 0o700); err != nil {
		return errors.Join(err, os.RemoveAll(b.state))
	}
	return nil
}

// Results implements sandbox.Sandbox.
func (b *box) Results() (*os.Root, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.removed:
		return nil, fmt.Errorf("results of sandbox %s: %w", b.spec.ID, sandbox.ErrGone)
	case b.run != nil && !b.run.ended():
		return nil, fmt.Errorf("results of sandbox %s: %w", b.spec.ID, sandbox.ErrBusy)
	case b.results == "":
		return nil, nil
	}
	there, err := os.ReadDir(b.results)
	if err != nil || len(there) == 0 {
		return nil, err
	}
	return os.OpenRoot(b.results)
}

// ID implements sandbox.Sandbox.
func (b *box) ID() string { return b.spec.ID }

// Alive implements sandbox.Sandbox.
func (b *box) Alive() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return !b.removed
}

// Work implements sandbox.Sandbox.
func (b *box) Work() *os.Root { return b.work }

// Start implements sandbox.Sandbox.
func (b *box) Start(ctx context.Context, cmd sandbox.Command) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("start in sandbox %s: %w", b.spec.ID, err)
	}
	if err := cmd.Validate(); err != nil {
		return fmt.Errorf("start in sandbox %s: %w", b.spec.ID, err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.removed {
		return fmt.Errorf("start in sandbox %s: %w", b.spec.ID, sandbox.ErrGone)
	}
	if b.run != nil && !b.run.ended() {
		return fmt.Errorf("start in sandbox %s: %w", b.spec.ID, sandbox.ErrBusy)
	}
	path, err := resolve(b.cwd, cmd)
	if err != nil {
		return fmt.Errorf("start %q in sandbox %s: %w", cmd.Args[0], b.spec.ID, err)
	}
	cmd.Env = b.withResults(cmd.Env)
	process, err := launch(path, b.cwd, cmd)
	if err != nil {
		return fmt.Errorf("start %q in sandbox %s: %w", cmd.Args[0], b.spec.ID, err)
	}
	b.run = &run{pid: process.Pid, done: make(chan struct{})}
	// Best effort: without the note a crash leaves a process behind, nothing else depends on it.
	_ = record(b.state, process.Pid)
	go b.run.watch(process)
	return nil
}

// withResults puts the folder that there is in the place of the one inside a real sandbox, where that
// is the value of a variable.
func (b *box) withResults(env []string) []string {
	env = slices.Clone(env)
	for i, variable := range env {
		if name, value, _ := strings.Cut(variable, "="); value == sandbox.ResultsDir {
			env[i] = name + "=" + b.results
		}
	}
	return env
}

// busyFor bounds the wait for who writes a program. A program that this process has unpacked a moment
// ago may still be open for that in a child which was forked meanwhile, until its exec.
const busyFor = 10 * time.Second

func launch(path, cwd string, cmd sandbox.Command) (*os.Process, error) {
	env := cmd.Env
	if env == nil {
		env = []string{} // nil would mean the caller's own environment
	}
	var process *os.Process
	var err error
	for end := time.Now().Add(busyFor); ; time.Sleep(time.Millisecond) {
		process, err = os.StartProcess(path, cmd.Args, &os.ProcAttr{
			Dir: cwd, Env: env,
			Files: []*os.File{cmd.Stdin, cmd.Stdout, cmd.Stderr},
			Sys:   &syscall.SysProcAttr{Setsid: true},
		})
		if !errors.Is(err, syscall.ETXTBSY) || time.Now().After(end) {
			break
		}
	}
	if err != nil {
		// The file is there (resolve looked), so it is the kernel that refuses it.
		return nil, fmt.Errorf("%w: %w", sandbox.ErrNotExecutable, err)
	}
	return process, nil
}

func (r *run) ended() bool {
	select {
	case <-r.done:
		return true
	default:
		return false
	}
}

// watch waits for the command's end, kills what it left in its group, and only then reaps it:
// until then its number cannot belong to anybody else.
func (r *run) watch(process *os.Process) {
	defer close(r.done)
	for {
		err := unix.Waitid(unix.P_PID, r.pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	_ = syscall.Kill(-r.pid, syscall.SIGKILL)
	state, err := process.Wait()
	r.reaped = true
	if err != nil {
		r.err = fmt.Errorf("wait for process %d: %w", r.pid, err)
		return
	}
	r.exit = exitOf(state)
}

func exitOf(state *os.ProcessState) sandbox.Exit {
	status := state.Sys().(syscall.WaitStatus)
	exit := sandbox.Exit{Code: status.ExitStatus()}
	if status.Signaled() {
		exit.Signal = status.Signal()
		exit.Code = 128 + int(exit.Signal)
	}
	exit.Usage.CPU = state.UserTime() + state.SystemTime()
	if usage, ok := state.SysUsage().(*syscall.Rusage); ok {
		exit.Usage.PeakMemoryBytes = usage.Maxrss * 1024
	}
	return exit
}

// Wait implements sandbox.Sandbox.
func (b *box) Wait(ctx context.Context) (sandbox.Exit, error) {
	b.mu.Lock()
	current := b.run
	b.mu.Unlock()
	if current == nil {
		return sandbox.Exit{}, fmt.Errorf("wait in sandbox %s: nothing was started", b.spec.ID)
	}
	select {
	case <-current.done:
	case <-ctx.Done():
		return sandbox.Exit{}, fmt.Errorf("wait in sandbox %s: %w", b.spec.ID, ctx.Err())
	}
	if current.err != nil {
		return current.exit, fmt.Errorf("sandbox %s: %w: %w", b.spec.ID, sandbox.ErrGone, current.err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.removed && current.exit.Signal == syscall.SIGKILL {
		return current.exit, fmt.Errorf("sandbox %s was removed while its command ran: %w", b.spec.ID, sandbox.ErrGone)
	}
	return current.exit, nil
}

// Processes implements sandbox.Sandbox: the process group of the running command.
func (b *box) Processes() ([]int, error) {
	b.mu.Lock()
	current := b.run
	b.mu.Unlock()
	if current == nil || current.ended() {
		return nil, nil
	}
	return processGroup(current.pid)
}

// Signal implements sandbox.Sandbox.
func (b *box) Signal(_ context.Context, signal syscall.Signal) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.run == nil {
		return nil
	}
	return b.run.signal(signal)
}

func (r *run) signal(signal syscall.Signal) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.reaped {
		return nil
	}
	if err := syscall.Kill(-r.pid, signal); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("signal process group %d: %w", r.pid, err)
	}
	return nil
}

// Kill implements sandbox.Sandbox.
func (b *box) Kill(ctx context.Context) error { return b.Signal(ctx, syscall.SIGKILL) }

// Renew implements sandbox.Sandbox. There is nothing of its own that a command could have changed but the
// folder of results.
func (b *box) Renew(ctx context.Context) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("renew sandbox %s: %w", b.spec.ID, ctx.Err())
	case !b.spec.Renewable:
		return fmt.Errorf("renew sandbox %s: it was not made for that", b.spec.ID)
	case b.removed:
		return fmt.Errorf("renew sandbox %s: %w", b.spec.ID, sandbox.ErrGone)
	case b.run != nil && !b.run.ended():
		return fmt.Errorf("renew sandbox %s: %w", b.spec.ID, sandbox.ErrBusy)
	}
	b.run = nil
	if b.results == "" {
		return nil
	}
	if err := os.RemoveAll(b.results); err != nil {
		return fmt.Errorf("renew sandbox %s: %w", b.spec.ID, err)
	}
	return os.Mkdir(b.results, 0o700)
}

// removeWait bounds how long Remove waits for a killed process: one in uninterruptible sleep
// stays until the kernel lets it go.
const removeWait = 10 * time.Second

// Remove implements sandbox.Sandbox.
func (b *box) Remove(ctx context.Context) error {
	b.mu.Lock()
	if b.removed {
		b.mu.Unlock()
		return nil
	}
	b.removed = true
	current := b.run
	b.mu.Unlock()
	if current != nil {
		if err := b.end(ctx, current); err != nil {
			return err
		}
	}
	if b.work != nil {
		_ = b.work.Close()
	}
	b.runtime.forget(b.spec.ID)
	if err := os.RemoveAll(b.state); err != nil {
		return fmt.Errorf("remove sandbox %s: %w", b.spec.ID, err)
	}
	return nil
}

func (b *box) end(ctx context.Context, current *run) error {
	if err := current.signal(syscall.SIGKILL); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, removeWait)
	defer cancel()
	select {
	case <-current.done:
		return nil
	case <-ctx.Done():
		b.mu.Lock()
		b.removed = false // so that it can be tried again
		b.mu.Unlock()
		return fmt.Errorf("remove sandbox %s: process %d does not end: %w", b.spec.ID, current.pid, ctx.Err())
	}
}
