package containerd

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hermes-serverless/hermes/services/watcher/sandbox"
)

// errInitSilent: a container was started, but its init did not say that it is ready.
var errInitSilent = errors.New("hermes-init does not report")

// writeTimeout bounds sending one request. The init reads at once unless the sandbox's CPU quota
// holds it up.
const writeTimeout = 5 * time.Second

// link is the connection to one sandbox's init.
type link struct {
	conn *net.UnixConn
	pid  int // the init's, on the host
	// count reads the sandbox's counters when a command ends.
	count func() counted

	mu      sync.Mutex
	seq     uint32
	current *command
	before  counted
	gone    chan struct{} // closed when the init is gone
}

// command is one started command.
type command struct {
	seq     uint32
	started chan error // gets one value: nil, or why it did not start
	done    chan struct{}
	exit    sandbox.Exit // valid when done is closed
	err     error
}

// listen makes the socket that the init connects to, at dir/socket. The path handed to the kernel
// goes through a descriptor: socket paths are limited to 107 bytes, folders are not.
func listen(dir string) (*net.UnixListener, error) {
	folder, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	defer folder.Close()
	path := filepath.Join("/proc/self/fd", strconv.Itoa(int(folder.Fd())), "socket")
	listener, err := net.ListenUnix("unixpacket", &net.UnixAddr{Net: "unixpacket", Name: path})
	if err != nil {
		return nil, fmt.Errorf("listen for the init: %w", err)
	}
	listener.SetUnlinkOnClose(false) // the path ends with folder; the caller removes dir
	// Only the init gets near it: the folder is the host root's, the sandbox sees just this file.
	if err := os.Chmod(filepath.Join(dir, "socket"), 0o666); err != nil {
		return nil, errors.Join(err, listener.Close())
	}
	return listener, nil
}

// accept waits for the init that runs under uid, hears that it is ready, and closes the listener.
func accept(ctx context.Context, listener *net.UnixListener, uid uint32) (*link, error) {
	defer listener.Close()
	stop := context.AfterFunc(ctx, func() { _ = listener.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	conn, err := listener.AcceptUnix()
	if err != nil {
		return nil, fmt.Errorf("wait for the init: %w: %w", errInitSilent, err)
	}
	l := &link{conn: conn, gone: make(chan struct{})}
	if err := l.greet(ctx, uid); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return l, nil
}

func (l *link) greet(ctx context.Context, uid uint32) error {
	peer, err := peerOf(l.conn)
	if err != nil {
		return fmt.Errorf("ask who connected: %w", err)
	}
	if peer.Uid != uid {
		return fmt.Errorf("user %d connected instead of %d: %w", peer.Uid, uid, errInitProtocol)
	}
	l.pid = int(peer.Pid)
	stop := context.AfterFunc(ctx, func() { _ = l.conn.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	ready, err := l.receive()
	if err != nil {
		return fmt.Errorf("wait for the init's greeting: %w: %w", errInitSilent, err)
	}
	if ready.kind != replyReady || ready.a != protocolVersion {
		return fmt.Errorf("init greets with %+v: %w", ready, errInitProtocol)
	}
	return nil
}

func peerOf(conn *net.UnixConn) (*unix.Ucred, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil, err
	}
	var peer *unix.Ucred
	var failure error
	err = raw.Control(func(fd uintptr) {
		peer, failure = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	})
	return peer, errors.Join(err, failure)
}

func (l *link) receive() (reply, error) {
	var packet [replyBytes + 1]byte
	n, err := l.conn.Read(packet[:])
	if err != nil {
		return reply{}, err
	}
	return decodeReply(packet[:n])
}

// listenOn delivers the init's replies until it is gone.
func (l *link) listenOn() {
	for {
		r, err := l.receive()
		if err != nil {
			l.lost()
			return
		}
		l.deliver(r)
	}
}

func (l *link) deliver(r reply) {
	l.mu.Lock()
	defer l.mu.Unlock()
	c := l.current
	if c == nil || c.seq != r.seq || c.ended() {
		return
	}
	switch r.kind {
	case replyStarted:
		c.started <- nil
	case replyFailed:
		c.fail(startError(r.a, r.b))
	case replyEnded:
		c.exit = exitOf(syscall.WaitStatus(r.a))
		c.exit.Usage.CPU = r.cpu
		l.addCounted(&c.exit)
		close(c.done)
	}
}

// lost ends what waits: the init is gone, and with it every process of the sandbox.
func (l *link) lost() {
	l.mu.Lock()
	defer l.mu.Unlock()
	close(l.gone)
	c := l.current
	if c == nil || c.ended() {
		return
	}
	c.exit = sandbox.Exit{Code: 128 + int(syscall.SIGKILL), Signal: syscall.SIGKILL}
	l.addCounted(&c.exit)
	c.fail(sandbox.ErrGone)
}

func (l *link) addCounted(exit *sandbox.Exit) {
	now := l.count()
	exit.OOM = now.oomKills > l.before.oomKills
	exit.PIDsLimit = now.pidsRefused > l.before.pidsRefused
	exit.Full = now.full
	// The init's own count lacks what a sandbox took that it died with, and the children of a process
	// that ignores their ends.
	exit.Usage.CPU = max(exit.Usage.CPU, now.cpu-l.before.cpu)
	exit.Usage.PeakMemoryBytes = now.peakSince(l.before)
	l.before = now
}

// renew forgets the commands that have run.
func (l *link) renew(now counted) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.current, l.before = nil, now
}

func exitOf(status syscall.WaitStatus) sandbox.Exit {
	if status.Signaled() {
		return sandbox.Exit{Code: 128 + int(status.Signal()), Signal: status.Signal()}
	}
	return sandbox.Exit{Code: status.ExitStatus()}
}

// fail ends a command that did not start, or whose end nobody can tell any more.
func (c *command) fail(err error) {
	c.err = err
	select {
	case c.started <- err:
	default: // it had started
	}
	close(c.done)
}

func (c *command) ended() bool {
	select {
	case <-c.done:
		return true
	default:
		return false
	}
}

// start sends a command and waits until it executes. A context that ends first kills it.
func (l *link) start(ctx context.Context, cmd sandbox.Command) error {
	c, err := l.sendStart(cmd)
	if err != nil {
		return err
	}
	select {
	case err := <-c.started:
		return err
	case <-ctx.Done():
		return errors.Join(ctx.Err(), l.send(encodeRequest(requestKill, c.seq)))
	}
}

func (l *link) sendStart(cmd sandbox.Command) (*command, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.isGone() {
		return nil, sandbox.ErrGone
	}
	if l.current != nil && !l.current.ended() {
		return nil, sandbox.ErrBusy
	}
	message, err := encodeStart(l.seq+1, cmd)
	if err != nil {
		return nil, err
	}
	defer message.close()
	_ = l.conn.SetWriteDeadline(time.Now().Add(writeTimeout))
	if _, _, err := l.conn.WriteMsgUnix(message.packet, message.rights, nil); err != nil {
		return nil, sendError(err)
	}
	l.seq++
	l.current = &command{seq: l.seq, started: make(chan error, 1), done: make(chan struct{})}
	return l.current, nil
}

func (l *link) isGone() bool {
	select {
	case <-l.gone:
		return true
	default:
		return false
	}
}

func (l *link) send(packet []byte) error {
	_ = l.conn.SetWriteDeadline(time.Now().Add(writeTimeout))
	if _, err := l.conn.Write(packet); err != nil {
		return sendError(err)
	}
	return nil
}

func sendError(err error) error {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return fmt.Errorf("send to the init: %w: %w", sandbox.ErrUnavailable, err)
	}
	return fmt.Errorf("send to the init: %w: %w", sandbox.ErrGone, err)
}

// running is the command that has not ended, or nil.
func (l *link) running() *command {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.current == nil || l.current.ended() {
		return nil
	}
	return l.current
}

// last is the last command that was started, ended or not.
func (l *link) last() *command {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.current
}
