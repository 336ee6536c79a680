package network

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hermes-serverless/hermes/services/nice"
)

// MemoryBytes and PIDs are what one process may take; the caller's cgroup sees to it. Threads are
// counted.
const (
	MemoryBytes = 128 << 20
	PIDs        = 64
)

// endTimeout is how long the process may take to end when it is told to.
const endTimeout = 5 * time.Second

// ProcessOptions of StartProcess. All are required.
type ProcessOptions struct {
	// Program is the path of hermes-network.
	Program string
	// User is the first of two user and group ids of the host that nothing else runs under.
	User uint32
	// Empty is a folder with nothing in it, to which others may pass.
	Empty string
	// Enter sees to it that what the calling thread starts with these attributes begins in its
	// cgroup. The thread is of no other use afterwards. leave lets go of what Enter opened.
	Enter func(*syscall.SysProcAttr) (leave func(), err error)
}

// Process is a sandbox's hermes-network. It has neither device nor network before Serve.
type Process struct {
	cmd     *exec.Cmd
	control *os.File
	said    *tail
	ended   chan struct{}
	err     error // valid when ended is closed
	closing sync.Once
}

// StartProcess starts the process. It ends with its Process: by Close, or when this process ends,
// however that comes, as the socket between them then closes.
func StartProcess(o ProcessOptions) (*Process, error) {
	program, err := os.Open(o.Program) // the user it runs under may not pass to it
	if err != nil {
		return nil, err
	}
	defer program.Close()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("socketpair: %w", err)
	}
	theirs := os.NewFile(uintptr(fds[1]), "control")
	defer theirs.Close()
	p := &Process{control: os.NewFile(uintptr(fds[0]), "control"), said: &tail{}, ended: make(chan struct{})}
	p.cmd = &exec.Cmd{
		Path: "/proc/self/fd/4", Args: []string{o.Program, o.Empty}, Env: []string{}, Dir: "/",
		ExtraFiles: []*os.File{theirs, program}, Stderr: p.said, SysProcAttr: attributes(o.User),
	}
	if err := p.start(o.Enter); err != nil {
		return nil, errors.Join(fmt.Errorf("start %s: %w", o.Program, err), p.control.Close())
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.ended)
	}()
	return p, nil
}

// start starts the command on a thread of its own, which ends then.
func (p *Process) start(enter func(*syscall.SysProcAttr) (func(), error)) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked
		nice.LowerThread()
		leave, err := enter(p.cmd.SysProcAttr)
		if err == nil {
			err = p.cmd.Start()
			leave()
		}
		done <- err
	}()
	return <-done
}

// attributes: namespaces of its own, but for the host's network, and in the user namespace no id but
// its own two.
func attributes(user uint32) *syscall.SysProcAttr {
	ids := []syscall.SysProcIDMap{{ContainerID: 0, HostID: int(user), Size: 2}}
	return &syscall.SysProcAttr{
		Setsid: true,
		Cloneflags: syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS | syscall.CLONE_NEWPID |
			syscall.CLONE_NEWIPC | syscall.CLONE_NEWUTS | syscall.CLONE_NEWCGROUP,
		UidMappings: ids, GidMappings: ids, GidMappingsEnableSetgroups: true,
		Credential: &syscall.Credential{Uid: 0, Gid: 0}, // and no further groups
	}
}

// Serve gives the process the device and what may be reached over it, and returns when it serves.
// The device is the process's from then on: the caller closes its own.
func (p *Process) Serve(ctx context.Context, tun *os.File, reach Reach) error {
	packet, err := json.Marshal(reach)
	if err != nil {
		return err
	}
	if len(packet) > maxPacketBytes {
		return fmt.Errorf("%d networks are too many", len(reach.Allow))
	}
	if err := unix.Sendmsg(int(p.control.Fd()), packet, unix.UnixRights(int(tun.Fd())), nil, unix.MSG_NOSIGNAL); err != nil {
		return fmt.Errorf("give the device to hermes-network: %w: %s", err, p.said)
	}
	got := make(chan error, 1)
	go func() { got <- p.receive() }()
	select {
	case err := <-got:
		return err
	case <-ctx.Done():
		_ = p.Close() // and with it the goroutine
		return errors.Join(ctx.Err(), errors.New("hermes-network does not answer"))
	}
}

func (p *Process) receive() error {
	buffer := make([]byte, maxPacketBytes)
	n, err := unix.Read(int(p.control.Fd()), buffer)
	if err != nil || n == 0 {
		<-p.ended
		return fmt.Errorf("hermes-network ended: %w: %s", errors.Join(err, p.err), p.said)
	}
	var a answer
	if err := json.Unmarshal(buffer[:n], &a); err != nil {
		return fmt.Errorf("read the answer of hermes-network: %w", err)
	}
	if a.Failure != "" {
		return errors.New("hermes-network: " + a.Failure)
	}
	return nil
}

// PID is the process's number on the host.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Ended is closed when the process has ended; Why then says how.
func (p *Process) Ended() <-chan struct{} { return p.ended }

// Why says how the process ended, and what it said last.
func (p *Process) Why() error { return fmt.Errorf("%w: %s", p.err, p.said) }

// Close ends the process and waits until it is gone. It may be called again.
func (p *Process) Close() error {
	p.closing.Do(func() {
		_ = unix.Shutdown(int(p.control.Fd()), unix.SHUT_RDWR) // who reads from it holds it open
		_ = p.control.Close()
	})
	select {
	case <-p.ended:
		return nil
	case <-time.After(endTimeout):
	}
	_ = p.cmd.Process.Kill()
	select {
	case <-p.ended:
		return nil
	case <-time.After(endTimeout):
		return errors.New("hermes-network does not end, not even by SIGKILL")
	}
}

// tail keeps the last of what is written to it.
type tail struct {
	mu   sync.Mutex
	text []byte
}

const tailBytes = 2 << 10

func (t *tail) Write(text []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.text = append(t.text, text...)
	t.text = t.text[max(0, len(t.text)-tailBytes):]
	return len(text), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.TrimSpace(string(bytes.ToValidUTF8(t.text, []byte("?"))))
}
