package containerd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"github.com/containerd/containerd/api/types/runc/options"
	"github.com/containerd/containerd/v2/core/runtime"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/containerd/v2/plugins"
	"github.com/containerd/errdefs"
	"github.com/containerd/plugin"
	"github.com/containerd/plugin/registry"
	"github.com/containerd/typeurl/v2"
)

// tasks is the task runtime of the containerd that Serve runs, in the place of containerd's own,
// which starts a shim for every container. A shim keeps a container's output and exit status for
// those who come back for them; a sandbox has its init for that. So nothing is left for a shim to
// do, and a container costs one call of runc instead of six and of three execs of the shim, or none:
// hermes-launch is runc's library in a process that stays.
//
// Like a shim it leaves the isolation to runc alone. Tasks are not remembered: those of a
// containerd that died run on, and their Runtime removes them by their cgroups.
type tasks struct {
	state string // holds a container's bundle while runc reads it
	all   *runtime.NSMap[*task]

	mu        sync.Mutex
	launchers map[string]*launcher // by path
}

var _ runtime.PlatformRuntime = (*tasks)(nil)

func init() {
	registry.Register(&plugin.Registration{
		Type: plugins.RuntimePluginV2,
		ID:   "task",
		InitFn: func(ic *plugin.InitContext) (any, error) {
			return newTasks(ic.Properties[plugins.PropertyStateDir])
		},
	})
}

func newTasks(state string) (*tasks, error) {
	// Bundles that are there belong to a runc that died with its containerd.
	if err := errors.Join(os.RemoveAll(state), os.MkdirAll(state, 0o700)); err != nil {
		return nil, fmt.Errorf("prepare the folder of bundles: %w", err)
	}
	return &tasks{state: state, all: runtime.NewNSMap[*task](), launchers: map[string]*launcher{}}, nil
}

// ID implements runtime.PlatformRuntime.
func (t *tasks) ID() string { return plugins.RuntimePluginV2.String() + ".task" }

// Create implements runtime.PlatformRuntime. Nothing runs until Start: runc then does all in one go.
func (t *tasks) Create(ctx context.Context, id string, opts runtime.CreateOpts) (runtime.Task, error) {
	namespace, err := namespaces.NamespaceRequired(ctx)
	if err != nil {
		return nil, err
	}
	program, err := runcOptions(opts)
	if err != nil {
		return nil, err
	}
	if len(opts.Rootfs) > 0 || opts.Checkpoint != "" || opts.IO != (runtime.IO{}) {
		return nil, fmt.Errorf("task %s: mounts, checkpoints and streams: %w", id, errdefs.ErrNotImplemented)
	}
	created := &task{
		id: id, namespace: namespace, spec: opts.Spec.GetValue(),
		bundle:  filepath.Join(t.state, namespace+"-"+id),
		starter: t.starter(program.BinaryName), root: filepath.Join(program.Root, namespace),
		exited: make(chan struct{}),
	}
	if err := t.all.Add(ctx, created); err != nil {
		return nil, err
	}
	return created, nil
}

// starter is the launcher if the program is one, and else takes it for runc.
func (t *tasks) starter(path string) starter {
	if filepath.Base(path) != LaunchName {
		return runc{path}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.launchers[path] == nil {
		t.launchers[path] = &launcher{path: path}
	}
	return t.launchers[path]
}

func runcOptions(opts runtime.CreateOpts) (*options.Options, error) {
	if opts.RuntimeOptions == nil {
		return nil, fmt.Errorf("no options of runc are given: %w", errdefs.ErrInvalidArgument)
	}
	value, err := typeurl.UnmarshalAny(opts.RuntimeOptions)
	if err != nil {
		return nil, fmt.Errorf("read the options of runc: %w", err)
	}
	program, ok := value.(*options.Options)
	if !ok || program.BinaryName == "" || program.Root == "" {
		return nil, fmt.Errorf("options %T name no runc and no folder for its state: %w", value, errdefs.ErrInvalidArgument)
	}
	return program, nil
}

// Get implements runtime.PlatformRuntime.
func (t *tasks) Get(ctx context.Context, id string) (runtime.Task, error) {
	found, err := t.all.Get(ctx, id)
	if err != nil {
		return nil, err
	}
	return found, nil
}

// Tasks implements runtime.PlatformRuntime.
func (t *tasks) Tasks(ctx context.Context, all bool) ([]runtime.Task, error) {
	found, err := t.all.GetAll(ctx, all)
	if err != nil {
		return nil, err
	}
	list := make([]runtime.Task, len(found))
	for i, one := range found {
		list[i] = one
	}
	return list, nil
}

// Delete implements runtime.PlatformRuntime. What runs it ends, where a shim would want to be asked for that
// first, and for its end. The cgroups are the Runtime's, who counts in them.
func (t *tasks) Delete(ctx context.Context, id string) (*runtime.Exit, error) {
	deleted, err := t.all.Get(ctx, id)
	if err != nil {
		return nil, err
	}
	if err := deleted.end(ctx); err != nil {
		return nil, err
	}
	exit, err := deleted.delete()
	if err != nil {
		return nil, err
	}
	t.all.Delete(ctx, id)
	return exit, nil
}

// Close implements io.Closer: containerd ends, and no container outlives it that it could end.
func (t *tasks) Close() error {
	all, err := t.all.GetAll(context.Background(), true)
	if err != nil {
		return err
	}
	var errs []error
	for _, one := range all {
		ctx, cancel := context.WithTimeout(context.Background(), killPatience)
		errs = append(errs, one.end(ctx))
		cancel()
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, l := range t.launchers {
		l.close()
	}
	return errors.Join(errs...)
}
