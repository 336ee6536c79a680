// Package containerd runs functions in containers: the sandbox.Runtime for production.
//
// A sandbox is a container whose PID 1 is hermes-init (init/hermes-init.c), prepared ahead of its
// use. containerd and runc only build it and take it away; a command is sent to the init over a
// socket of its own, so that starting one costs a fork and not a tour through containerd.
// spec.go is the whole isolation; protocol.go is the whole conversation with the init.
package containerd

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	goruntime "runtime"
	"sync"
	"time"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/opencontainers/runtime-spec/specs-go"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	cdispecs "tags.cncf.io/container-device-interface/specs-go"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/services/watcher/network"
	"github.com/hermes-serverless/hermes/services/watcher/sandbox"
)

// Options of New.
type Options struct {
	// Address is the path of containerd's gRPC socket.
	Address string
	// Namespace is the containerd namespace and the name of the cgroup below /hermes; everything
	// in it belongs to this runtime. When empty it follows from StateDir, so that two runtimes on one
	// machine, or on one containerd, leave each other's sandboxes alone.
	Namespace string
	// StateDir is where sandboxes keep their sockets, bases their mount points and runc its state.
	// It is made when missing. Every folder above it must allow others to pass (mode o+x): the
	// containers' own user looks their root up in it.
	StateDir string
	// Libexec are the programs that sandboxes are made with; FindLibexec finds them.
	Libexec Libexec
	// IDLockDir is where processes on this machine agree on user id ranges. "/run/hermes/ids"
	// when empty; all of a machine must say the same.
	IDLockDir string
	// AllowNetwork lets sandboxes have a network. Libexec.Network is required then.
	AllowNetwork bool
	// AllowNetworkTo are networks that sandboxes may reach beside public ones: network.Refused
	// says which are not. The machine's own addresses are never among them.
	AllowNetworkTo []netip.Prefix
	// Devices says what a container needs for devices, by their ids; nil: sandboxes have none.
	Devices func(ids []string) (*cdispecs.ContainerEdits, error)
	// CreateTimeout bounds one attempt to create a sandbox; there are two. 20 s when 0.
	CreateTimeout time.Duration
	// Logger hears of what went wrong behind a caller's back. slog.Default when nil.
	Logger *slog.Logger
}

// Runtime implements sandbox.Runtime on containerd.
type Runtime struct {
	opts   Options
	client *client.Client
	cgroup cgroupRoot
	limits rlimits
	base   []string // host paths of base host
	heat   []string
	ids    *idRanges
	lock   *os.File

	garbage    garbage
	background sync.WaitGroup // removals that nobody waits for but Close

	// changeReach lets tests take protection away, to see that it is what protects.
	changeReach func(*network.Reach)

	mu     sync.Mutex
	boxes  map[string]*box // by Spec.ID; nil while it is being created
	owned  map[string]bool // container ids that Reap must leave alone
	closed bool

	released bool

	// weaken is for the tests that show what each layer of the isolation is good for; nil otherwise.
	weaken func(*specs.Spec)
}

var _ sandbox.Runtime = (*Runtime)(nil)

// ErrStateInUse: another process that lives runs sandboxes from the same StateDir.
var ErrStateInUse = errors.New("state directory is in use by another process")

// New connects to containerd and prepares the bases. The context bounds the connecting only.
// Errors: sandbox.ErrUnavailable when nothing answers at the address, ErrStateInUse, ErrMissing.
func New(ctx context.Context, opts Options) (*Runtime, error) {
	opts = withDefaults(opts)
	if err := opts.Libexec.check(opts.AllowNetwork); err != nil {
		return nil, err
	}
	if err := prepareStateDir(opts.StateDir); err != nil {
		return nil, err
	}
	lock, err := lockFile(filepath.Join(opts.StateDir, "lock"), ErrStateInUse)
	if err != nil {
		return nil, err
	}
	r := &Runtime{opts: opts, lock: lock, boxes: map[string]*box{}, owned: map[string]bool{}}
	if err := r.open(ctx); err != nil {
		return nil, errors.Join(err, r.release())
	}
	return r, nil
}

func withDefaults(opts Options) Options {
	if opts.Namespace == "" {
		sum := sha256.Sum256([]byte(filepath.Clean(opts.StateDir)))
		opts.Namespace = "hermes-" + hex.EncodeToString(sum[:6])
	}
	if opts.IDLockDir == "" {
		opts.IDLockDir = "/run/hermes/ids"
	}
	if opts.CreateTimeout == 0 {
		opts.CreateTimeout = 20 * time.Second
	}
	if opts.Logger == nil {
		opts.Logger = slog.Default()
	}
	return opts
}

func (r *Runtime) open(ctx context.Context) error {
	var err error
	if r.cgroup, err = findCgroupRoot(r.opts.Namespace); err != nil {
		return err
	}
	if r.limits, err = ownLimits(); err != nil {
		return err
	}
	r.base, r.heat = hostBinds(), heatPaths()
	if err := prepareHostBase(r.hostRoot(), r.base); err != nil {
		return err
	}
	if err := r.prepareNetwork(); err != nil {
		return err
	}
	if r.ids, err = newIDRanges(r.opts.IDLockDir); err != nil {
		return err
	}
	if _, err := os.Stat(r.opts.Address); err != nil {
		return fmt.Errorf("containerd at %s: %w: %w", r.opts.Address, sandbox.ErrUnavailable, err)
	}
	r.client, err = connect(r.opts.Address)
	if err != nil {
		return unavailable("connect to containerd at "+r.opts.Address, err)
	}
	ctx, cancel := r.call(ctx, connectTimeout)
	defer cancel()
	if _, err := r.client.Version(ctx); err != nil {
		return unavailable("ask containerd at "+r.opts.Address+" for its version", err)
	}
	return nil
}

// How long one call to containerd may take. A shim connect has been seen to stall for 25 to 30 s;
// a call that takes longer than this is given up and, where that is safe, repeated.
const (
	connectTimeout = 5 * time.Second
	callTimeout    = 10 * time.Second
)

// connect makes a client whose calls wait, within their deadlines, for a containerd that is just
// starting again, and that dials it eagerly.
func connect(address string) (*client.Client, error) {
	return client.New(address,
		client.WithTimeout(connectTimeout),
		client.WithCallOpts([]grpc.CallOption{grpc.WaitForReady(true)}),
		client.WithExtraDialOpts([]grpc.DialOption{grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 20 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: time.Second},
			MinConnectTimeout: connectTimeout,
		})}))
}

// call is the context of one call: in the namespace, with a deadline.
func (r *Runtime) call(ctx context.Context, limit time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(namespaces.WithNamespace(ctx, r.opts.Namespace), limit)
}

func (r *Runtime) hostRoot() string { return filepath.Join(r.opts.StateDir, "bases", "host") }

func (r *Runtime) sandboxesDir() string { return filepath.Join(r.opts.StateDir, "sandboxes") }

// Info implements sandbox.Runtime.
func (r *Runtime) Info(ctx context.Context) (sandbox.Info, error) {
	ctx, cancel := r.call(ctx, callTimeout)
	defer cancel()
	version, err := r.client.Version(ctx)
	if err != nil {
		return sandbox.Info{}, unavailable("ask containerd for its version", err)
	}
	oci, err := OCIVersion(ctx, r.opts.Libexec.Runc)
	if err != nil {
		return sandbox.Info{}, err
	}
	return sandbox.Info{
		Name: "containerd", Version: version.Version, OCI: oci,
		Bases: []string{events.HostBase, events.ImageBases(goruntime.GOARCH)}, Network: r.opts.AllowNetwork,
	}, nil
}

// Close implements sandbox.Runtime. It may be called again when it failed.
func (r *Runtime) Close(ctx context.Context) error {
	r.mu.Lock()
	r.closed = true
	boxes := make([]*box, 0, len(r.boxes))
	for _, b := range r.boxes {
		if b != nil {
			boxes = append(boxes, b)
		}
	}
	r.mu.Unlock()
	errs := make([]error, len(boxes))
	var all sync.WaitGroup
	for i, b := range boxes {
		all.Go(func() { errs[i] = b.Remove(ctx) })
	}
	all.Wait()
	r.background.Wait()
	errs = append(errs, r.garbage.collect(ctx, r.removeContainer))
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("close container runtime: %w", err)
	}
	r.cgroup.removeParent()
	return r.release()
}

// release lets go of what New took, whatever of it there is.
func (r *Runtime) release() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.released {
		return nil
	}
	r.released = true
	errs := []error{r.lock.Close()}
	if r.client != nil {
		errs = append(errs, r.client.Close())
	}
	if r.ids != nil {
		errs = append(errs, r.ids.close())
	}
	return errors.Join(errs...)
}
