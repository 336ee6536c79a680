package containerd

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	goruntime "runtime"
	"sync"
	"syscall"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"

	"github.com/hermes-serverless/hermes/services/nice"
)

// launcher starts containers by hermes-launch, which does what runc does without an exec of runc for
// each. The program is started when it is first needed, and again when it has died.
type launcher struct {
	path string

	mu      sync.Mutex
	process *launching // nil: none is running
}

// launching is one process of hermes-launch, and who waits for its replies.
type launching struct {
	stop func()

	mu       sync.Mutex
	requests *json.Encoder
	seq      uint64
	waiting  map[uint64]chan launchReply // nil when it has ended
}

// launchRequest and launchReply are those of deployments/tools/hermes-launch.
type launchRequest struct {
	Seq   uint64       `json:"seq"`
	Start *launchStart `json:"start,omitempty"`
	Reap  int          `json:"reap,omitempty"`
}

type launchStart struct {
	ID   string          `json:"id"`
	Root string          `json:"root"`
	Spec json.RawMessage `json:"spec"`
}

type launchReply struct {
	Seq    uint64 `json:"seq"`
	PID    int    `json:"pid"`
	Status uint32 `json:"status"`
	Error  string `json:"error"`
}

// Launches says why the hermes-launch at the path does not come up; nil: it does. Asked nothing, it ends at once.
func Launches(ctx context.Context, path string) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, path)
	cmd.Env = launchEnv()
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s does not come up: %w: %.500s", path, err, bytes.TrimSpace(out))
	}
	return nil
}

// launchEnv: one container is made after the other, or few at once: threads cost more than they bring, in the
// init of each container too. Collecting less often costs memory, and brings nothing that could be measured.
func launchEnv() []string { return append(os.Environ(), "GOMAXPROCS=1", "GOGC=100") }

var errLauncherGone = fmt.Errorf("hermes-launch has ended: %w", errdefs.ErrUnavailable)

// start implements starter. A start that the context ends takes hermes-launch along, as it would
// take runc: what stalls may never end.
func (l *launcher) start(ctx context.Context, t *task) (int, error) {
	p, err := l.running()
	if err != nil {
		return 0, fmt.Errorf("start hermes-launch: %w", err)
	}
	reply, err := p.ask(ctx, launchRequest{Start: &launchStart{ID: t.id, Root: t.root, Spec: t.spec}})
	if ctx.Err() != nil {
		p.stop()
	}
	if err != nil {
		return 0, fmt.Errorf("launch: %w", err)
	}
	return reply.PID, nil
}

// reap implements starter. What a hermes-launch that died has left is this process's own child.
func (l *launcher) reap(pid int) (unix.WaitStatus, error) {
	l.mu.Lock()
	p := l.process
	l.mu.Unlock()
	if p != nil {
		reply, err := p.ask(context.Background(), launchRequest{Reap: pid})
		if err == nil {
			return unix.WaitStatus(reply.Status), nil
		}
	}
	return reapChild(pid)
}

// close ends hermes-launch.
func (l *launcher) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.process != nil {
		l.process.stop()
	}
}

// running is the process of hermes-launch, or a new one.
func (l *launcher) running() (*launching, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.process != nil {
		return l.process, nil
	}
	cmd := exec.Command(l.path)
	cmd.Env = launchEnv()
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	started := make(chan error)
	p := &launching{requests: json.NewEncoder(in), waiting: map[uint64]chan launchReply{}}
	p.stop = func() { _ = cmd.Process.Kill() }
	go func() {
		// The death signal comes when the thread ends that forked, so that thread must stay.
		goruntime.LockOSThread()
		nice.LowerThread()
		err := cmd.Start()
		started <- err
		if err != nil {
			return
		}
		p.listen(out)
		_ = in.Close()
		_ = cmd.Wait()
		l.mu.Lock()
		l.process = nil
		l.mu.Unlock()
		p.end()
	}()
	if err := <-started; err != nil {
		return nil, err
	}
	l.process = p
	return p, nil
}

// ask sends a request and waits for its reply.
func (p *launching) ask(ctx context.Context, r launchRequest) (launchReply, error) {
	answer := make(chan launchReply, 1)
	p.mu.Lock()
	if p.waiting == nil {
		p.mu.Unlock()
		return launchReply{}, errLauncherGone
	}
	p.seq++
	r.Seq = p.seq
	p.waiting[r.Seq] = answer
	if p.requests.Encode(r) != nil {
		p.stop() // it reads no more; that it is gone is said when its containers are this process's own
	}
	p.mu.Unlock()
	select {
	case reply, ok := <-answer:
		switch {
		case !ok:
			return launchReply{}, errLauncherGone
		case reply.Error != "":
			return launchReply{}, errors.New(reply.Error)
		}
		return reply, nil
	case <-ctx.Done():
		return launchReply{}, ctx.Err()
	}
}

// listen hands the replies to who waits for them, until there are no more.
func (p *launching) listen(out io.Reader) {
	for replies := json.NewDecoder(out); ; {
		var reply launchReply
		if replies.Decode(&reply) != nil {
			return
		}
		p.mu.Lock()
		if answer := p.waiting[reply.Seq]; answer != nil {
			answer <- reply
			delete(p.waiting, reply.Seq)
		}
		p.mu.Unlock()
	}
}

// end tells all who wait that there will be no reply.
func (p *launching) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, answer := range p.waiting {
		close(answer)
	}
	p.waiting = nil
}
