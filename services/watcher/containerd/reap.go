package containerd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/containerd/containerd/v2/client"
)

// Reap implements sandbox.Runtime. It removes every container of the namespace, cgroup below
// /hermes/NAMESPACE and folder below StateDir/sandboxes that this process did not make; the lock on
// StateDir says that no other living process did.
func (r *Runtime) Reap(ctx context.Context) error {
	var errs []error
	ids, err := r.leftovers(ctx)
	if err != nil {
		return err
	}
	for _, id := range ids {
		if r.isOwned(id) {
			continue
		}
		errs = append(errs, r.reapContainer(ctx, id))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("remove what an earlier process left: %w", err)
	}
	return nil
}

func (r *Runtime) reapContainer(ctx context.Context, id string) error {
	ctx, cancel := r.call(ctx, removeTimeout)
	defer cancel()
	c := container{id: id, dir: filepath.Join(r.sandboxesDir(), id), cgroup: r.cgroup.path(id)}
	// First the processes: containerd may be unable to kill what its shim lost sight of.
	if err := r.cgroup.killAll(c.cgroup, killPatience); err != nil {
		return err
	}
	if err := r.deleteContainer(ctx, id); err != nil {
		return err
	}
	if err := killShims(func(s shimProcess) bool { return s.namespace == r.opts.Namespace && s.id == id }); err != nil {
		return err
	}
	return r.removeTraces(c)
}

// leftovers are the ids that appear anywhere: in containerd, as a folder, a cgroup, runc's state or
// a shim.
func (r *Runtime) leftovers(ctx context.Context) ([]string, error) {
	known, err := r.listContainers(ctx)
	if err != nil {
		return nil, err
	}
	folders := append(r.cgroup.hierarchies(r.cgroup.parent), r.sandboxesDir(), filepath.Join(r.runcRoot(), r.opts.Namespace))
	for _, folder := range folders {
		entries, err := os.ReadDir(folder)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, fmt.Errorf("look for leftovers: %w", err)
		}
		for _, entry := range entries {
			if entry.IsDir() {
				known[entry.Name()] = true
			}
		}
	}
	shims, err := shimProcesses()
	if err != nil {
		return nil, err
	}
	for _, shim := range shims {
		if shim.namespace == r.opts.Namespace && shim.address == r.opts.Address {
			known[shim.id] = true
		}
	}
	ids := make([]string, 0, len(known))
	for id := range known {
		ids = append(ids, id)
	}
	return ids, nil
}

func (r *Runtime) listContainers(ctx context.Context) (map[string]bool, error) {
	ctx, cancel := r.call(ctx, callTimeout)
	defer cancel()
	var containers []client.Container
	var err error
	// Reading may be repeated safely, and containerd may just be restarting.
	for range 2 {
		if containers, err = r.client.Containers(ctx); err == nil || ctx.Err() != nil {
			break
		}
	}
	if err != nil {
		return nil, unavailable("list containers", err)
	}
	known := map[string]bool{}
	for _, c := range containers {
		known[c.ID()] = true
	}
	return known, nil
}

func (r *Runtime) isOwned(id string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.owned[strings.TrimSuffix(id, networkSuffix)]
}
