package containerd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/containerd/containerd/v2/client"
	"golang.org/x/sys/unix"

	"github.com/hermes-serverless/hermes/services/watcher/sandbox"
)

// SuperviseOptions of Supervise.
type SuperviseOptions struct {
	// Dir is containerd's folder, as the child's Serve gets it.
	Dir string
	// Args are the arguments with which this executable calls Serve, such as
	// {"containerd", "--dir", DIR}.
	Args []string
	// Env are variables for the child beside this process's own, NAME=value.
	Env []string
	// Stderr gets containerd's log. os.Stderr when nil.
	Stderr io.Writer
	// Logger hears of deaths and restarts. slog.Default when nil.
	Logger *slog.Logger
}

// Supervised is a containerd that is kept running.
type Supervised struct {
	opts   SuperviseOptions
	lock   *os.File
	cancel context.CancelFunc
	done   chan struct{}
	err    error // valid when done is closed
}

const (
	readyTimeout  = 20 * time.Second
	stopTimeout   = 10 * time.Second
	firstBackoff  = 100 * time.Millisecond
	longestPause  = 10 * time.Second
	longLife      = time.Minute // who lives this long starts again with the first backoff
	readyPoll     = 5 * time.Millisecond
	superviseLock = "supervise.lock"
)

// ErrDirInUse: another living process supervises a containerd in this directory.
var ErrDirInUse = errors.New("containerd's directory is in use by another process")

// Supervise runs this executable again as containerd, in a mount namespace of its own, and returns
// when it answers. It is started again whenever it dies, until the context ends; then it is stopped
// with all its containers, and Wait returns. What an earlier process left in Dir is removed first.
// Errors: ErrDirInUse, sandbox.ErrUnavailable when it does not become ready in 20 s.
func Supervise(ctx context.Context, opts SuperviseOptions) (*Supervised, error) {
	if opts.Stderr == nil {
		opts.Stderr = os.Stderr
	}
	if opts.Logger == nil {
		opts.Logger = slog.Default()
	}
	lock, err := prepareDir(ctx, opts.Dir)
	if err != nil {
		return nil, err
	}
	life, cancel := context.WithCancel(ctx)
	s := &Supervised{opts: opts, lock: lock, cancel: cancel, done: make(chan struct{})}
	go s.run(life)
	ready, stop := context.WithTimeout(ctx, readyTimeout)
	defer stop()
	if err := s.waitReady(ready); err != nil {
		cancel()
		return nil, errors.Join(err, s.Wait())
	}
	return s, nil
}

// Address is the socket at which containerd answers.
func (s *Supervised) Address() string { return Address(s.opts.Dir) }

// Stop ends containerd and its containers, and waits for it.
func (s *Supervised) Stop() error {
	s.cancel()
	return s.Wait()
}

// Wait returns when the supervision has ended and nothing of it is left.
func (s *Supervised) Wait() error {
	<-s.done
	return s.err
}

// prepareDir locks the directory and removes what a process that was killed left in it.
func prepareDir(ctx context.Context, dir string) (*os.File, error) {
	if !filepath.IsAbs(dir) {
		return nil, fmt.Errorf("containerd: directory %q: want an absolute path", dir)
	}
	if err := os.MkdirAll(dir, 0o711); err != nil {
		return nil, fmt.Errorf("containerd: make its folder: %w", err)
	}
	lock, err := lockFile(filepath.Join(dir, superviseLock), ErrDirInUse)
	if err != nil {
		return nil, err
	}
	if err := sweep(ctx, dir); err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return lock, nil
}

// sweep waits for an earlier containerd to end, which it does with its parent, and removes its
// state. Containers do not outlive the process that made them: their inits end with
// the connection to it.
func sweep(ctx context.Context, dir string) error {
	ctx, cancel := context.WithTimeout(ctx, stopTimeout)
	defer cancel()
	lock, err := waitForLock(ctx, filepath.Join(dir, serveLock))
	if err != nil {
		return err
	}
	defer lock.Close()
	if err := unmountBelow(dir); err != nil {
		return err
	}
	for _, path := range []string{filepath.Join(dir, "state"), filepath.Join(dir, "root"), filepath.Join(dir, "tmp"), socketsDir(dir)} {
		if err := os.RemoveAll(path); err != nil {
			return fmt.Errorf("containerd: remove what an earlier one left: %w", err)
		}
	}
	return nil
}

// unmountBelow unmounts what is mounted below dir in this namespace, the innermost first.
func unmountBelow(dir string) error {
	text, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return fmt.Errorf("containerd: list mounts: %w", err)
	}
	lines := strings.Split(string(text), "\n")
	for i := len(lines) - 1; i >= 0; i-- {
		fields := strings.Fields(lines[i])
		if len(fields) < 5 || !strings.HasPrefix(fields[4], dir+"/") {
			continue
		}
		if err := unix.Unmount(fields[4], unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err != nil {
			return fmt.Errorf("containerd: unmount %s: %w", fields[4], err)
		}
	}
	return nil
}

// run keeps containerd running until the context ends.
func (s *Supervised) run(ctx context.Context) {
	defer close(s.done)
	// The kernel sends the child its parent's death signal when the thread that forked it ends, so
	// that thread must live as long.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	pause := firstBackoff
	for ctx.Err() == nil {
		born := time.Now()
		err := s.once(ctx)
		if ctx.Err() != nil {
			break
		}
		if time.Since(born) > longLife {
			pause = firstBackoff
		}
		s.opts.Logger.Error("containerd died; starting it again", "cause", err, "pause", pause)
		sleep(ctx, pause)
		pause = min(2*pause, longestPause)
	}
	s.err = errors.Join(os.RemoveAll(socketsDir(s.opts.Dir)), s.lock.Close())
}

func sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// once runs one child to its end.
func (s *Supervised) once(ctx context.Context) error {
	executable, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this executable: %w", err)
	}
	child := exec.CommandContext(ctx, executable, s.opts.Args...)
	child.Env = childEnv(os.Environ(), s.opts.Env, runtime.NumCPU())
	child.Stdout, child.Stderr = s.opts.Stderr, s.opts.Stderr
	child.Cancel = func() error { return child.Process.Signal(syscall.SIGTERM) }
	child.WaitDelay = stopTimeout
	child.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWNS,
		Pdeathsig:  syscall.SIGTERM,
		Setpgid:    true, // Ctrl-C is for the parent, which stops the child when it is done with it
	}
	return child.Run()
}

// childEnv is containerd's environment on a machine with so many processors. Its calls are short: a thread
// that is woken for one mostly finds that another has done it, and a sandbox then costs a fifth more in it.
func childEnv(own, more []string, processors int) []string {
	few := min(max(processors/2, 1), 4)
	// The last of a name counts; the operator's wish is among their own.
	return slices.Concat([]string{fmt.Sprintf("GOMAXPROCS=%d", few)}, own, more, []string{ownMountsEnv + "=1"})
}

func (s *Supervised) waitReady(ctx context.Context) error {
	tick := time.NewTicker(readyPoll)
	defer tick.Stop()
	for {
		if _, err := os.Stat(s.Address()); err == nil {
			if err := Answers(ctx, s.Address()); err == nil {
				return nil
			}
		}
		select {
		case <-tick.C:
		case <-s.done:
			return fmt.Errorf("containerd ended before it was ready: %w", sandbox.ErrUnavailable)
		case <-ctx.Done():
			return fmt.Errorf("containerd in %s is not ready: %w: %w; its log says why", s.opts.Dir, sandbox.ErrUnavailable, ctx.Err())
		}
	}
}

// Answers says whether a containerd serves at an address: nil, or why not (sandbox.ErrUnavailable).
func Answers(ctx context.Context, address string) error {
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	if _, err := os.Stat(address); err != nil {
		return fmt.Errorf("containerd at %s: %w: %w", address, sandbox.ErrUnavailable, err)
	}
	c, err := client.New(address, client.WithTimeout(connectTimeout))
	if err != nil {
		return fmt.Errorf("containerd at %s: %w: %w", address, sandbox.ErrUnavailable, err)
	}
	defer c.Close()
	if _, err := c.Version(ctx); err != nil {
		return fmt.Errorf("containerd at %s: %w: %w", address, sandbox.ErrUnavailable, err)
	}
	return nil
}
