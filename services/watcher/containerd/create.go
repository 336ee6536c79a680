package containerd

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/hermes-serverless/hermes/services/watcher/network"
	"github.com/hermes-serverless/hermes/services/watcher/sandbox"
)

// container is what a sandbox takes of the machine, and what removing it gives back.
type container struct {
	id       string // containerd's id: random, so that a second attempt never meets the first
	dir      string
	cgroup   string
	firstID  uint32
	counters *counters
	network  *network.Process // nil without a network
	given    given
}

// Create implements sandbox.Runtime.
func (r *Runtime) Create(ctx context.Context, spec sandbox.Spec) (sandbox.Sandbox, error) {
	if err := r.reserve(spec); err != nil {
		return nil, err
	}
	if err := r.garbage.collect(ctx, r.removeContainer); err != nil {
		r.opts.Logger.Warn("containers that could not be removed are still there", "cause", err)
	}
	devices, err := r.give(spec)
	if err != nil {
		r.forget(spec.ID)
		return nil, fmt.Errorf("create sandbox %s: %w", spec.ID, err)
	}
	b, err := r.create(ctx, spec, devices)
	if err != nil && retryable(err) && ctx.Err() == nil {
		r.opts.Logger.Warn("creating a sandbox failed; trying once more", "sandbox", spec.ID, "cause", err)
		b, err = r.create(ctx, spec, devices)
	}
	if err != nil {
		r.forget(spec.ID)
		return nil, unavailable("create sandbox "+spec.ID, err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.boxes[spec.ID] = b
	return b, nil
}

// reserve checks a spec and takes its ID.
func (r *Runtime) reserve(spec sandbox.Spec) error {
	if err := spec.Validate(); err != nil {
		return fmt.Errorf("create sandbox: %w", err)
	}
	if err := checkBase(spec); err != nil {
		return fmt.Errorf("create sandbox %s: %w", spec.ID, err)
	}
	if spec.Network != sandbox.NoNetwork && !r.opts.AllowNetwork {
		return fmt.Errorf("create sandbox %s: %w", spec.ID, sandbox.ErrNetwork)
	}
	if spec.Kind == sandbox.Run {
		if info, err := os.Stat(spec.Dir); err != nil || !info.IsDir() {
			return fmt.Errorf("create sandbox %s: function folder %s is no directory: %w", spec.ID, spec.Dir, errors.Join(err, os.ErrInvalid))
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return fmt.Errorf("create sandbox %s: runtime is closed: %w", spec.ID, sandbox.ErrUnavailable)
	}
	if _, taken := r.boxes[spec.ID]; taken {
		return fmt.Errorf("create sandbox %s: a sandbox with this id exists", spec.ID)
	}
	r.boxes[spec.ID] = nil
	return nil
}

func (r *Runtime) forget(id string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.boxes, id)
}

// create is one attempt. What it leaves behind on an error is removed, at once or later.
func (r *Runtime) create(ctx context.Context, spec sandbox.Spec, devices given) (*box, error) {
	c, err := r.newContainer()
	if err != nil {
		return nil, err
	}
	c.given = devices
	b, err := r.fill(ctx, spec, &c)
	if err == nil {
		return b, nil
	}
	if c.counters != nil {
		_ = c.counters.close()
	}
	remove := func() {
		// The caller's context may be why it failed; the removal must not fail for the same reason.
		if left := r.removeContainer(context.WithoutCancel(ctx), c); left != nil {
			r.opts.Logger.Warn("a failed sandbox is not removed yet", "sandbox", spec.ID, "container", c.id, "cause", left)
			r.garbage.add(c)
		}
	}
	if errors.Is(err, context.DeadlineExceeded) {
		r.background.Go(remove) // what stalled once may stall again: the caller need not wait for it
	} else {
		remove()
	}
	return nil, err
}

func (r *Runtime) newContainer() (container, error) {
	var random [8]byte
	_, _ = rand.Read(random[:]) // never fails
	id := hex.EncodeToString(random[:])
	first, err := r.ids.take()
	if err != nil {
		return container{}, err
	}
	r.mu.Lock()
	r.owned[id] = true
	r.mu.Unlock()
	return container{id: id, dir: filepath.Join(r.sandboxesDir(), id), cgroup: r.cgroup.path(id), firstID: first}, nil
}

// fill makes the container and brings its init up.
func (r *Runtime) fill(ctx context.Context, spec sandbox.Spec, c *container) (*box, error) {
	ctx, cancel := r.call(ctx, r.opts.CreateTimeout)
	defer cancel()
	if err := makeSocketDir(*c); err != nil {
		return nil, err
	}
	listener, err := listen(c.dir)
	if err != nil {
		return nil, err
	}
	isolation := r.ociSpec(spec, *c)
	l, err := r.bootWithNetwork(ctx, spec, c, isolation, listener)
	if err != nil {
		return nil, errors.Join(err, listener.Close())
	}
	b := &box{runtime: r, spec: spec, link: l, user: hostUser(isolation)}
	err = b.open(c)
	if err == nil && c.network != nil {
		err = r.connect(ctx, c, l)
	}
	if err != nil {
		b.renewal.close()
		return nil, errors.Join(err, b.closeWork(), l.conn.Close())
	}
	b.container = *c
	go l.listenOn()
	return b, nil
}

// makeSocketDir makes the folder of the socket. It is the container's root's, as whom runc looks the socket
// up before it becomes nobody: what it cannot see it asks of its parent, with a thread and messages for it.
func makeSocketDir(c container) error {
	if err := os.Mkdir(c.dir, 0o700); err != nil {
		return err
	}
	return os.Chown(c.dir, int(c.firstID), int(c.firstID))
}

// open opens what the watcher needs of a container that is up.
func (b *box) open(c *container) (err error) {
	// The init is connected, so its number is still its own.
	if b.spec.Kind == sandbox.Build {
		if b.work, err = attachWork(b.link.pid, b.spec.WorkBytes, b.user); err != nil {
			return err
		}
	}
	folders, err := openWritables(b.link.pid, b.spec)
	if err != nil {
		return err
	}
	if c.counters, err = openCounters(b.runtime.cgroup, c.cgroup, folders); err != nil {
		return err
	}
	b.link.count = c.counters.read
	b.link.before = c.counters.read()
	if b.spec.Renewable {
		if b.renewal, err = newRenewal(b.link.pid, writablePaths(b.spec)); err != nil {
			return err
		}
	}
	return b.openResults(folders)
}

// boot starts the container and waits for its init.
func (r *Runtime) boot(ctx context.Context, spec sandbox.Spec, c container, isolation *specs.Spec, listener *net.UnixListener) (*link, error) {
	if err := r.define(ctx, spec, c, isolation); err != nil {
		return nil, fmt.Errorf("create container: %w", err)
	}
	if err := r.startTask(ctx, c.id); err != nil {
		return nil, err
	}
	return accept(ctx, listener, hostUser(isolation))
}

func (r *Runtime) ociSpec(spec sandbox.Spec, c container) *specs.Spec {
	root, binds := r.rootOf(spec)
	isolation := ociSpec(plan{
		spec: spec, root: root, base: binds, initBinary: r.opts.Libexec.Init,
		etc: r.networkDir(), socket: filepath.Join(c.dir, "socket"), cgroup: c.cgroup, firstID: c.firstID,
		limits: r.limits, heat: r.heat, swap: r.cgroup.swap, given: c.given,
	})
	if r.weaken != nil {
		r.weaken(isolation)
	}
	return isolation
}

func (r *Runtime) runcRoot() string { return filepath.Join(r.opts.StateDir, "runc") }
