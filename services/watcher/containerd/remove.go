package containerd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/errdefs"
)

// removeTimeout bounds removing one container. It is not the caller's context that does: half a
// removal helps nobody.
const removeTimeout = 30 * time.Second

// removeContainer removes every trace of a container. It can be called again, and for a container
// that was never completely made.
func (r *Runtime) removeContainer(ctx context.Context, c container) error {
	ctx, cancel := r.call(context.WithoutCancel(ctx), removeTimeout)
	defer cancel()
	if err := r.deleteContainer(ctx, c.id); err != nil {
		return err
	}
	if err := r.removeTraces(c); err != nil {
		return err
	}
	// Only now: until here a process could have been alive under these ids.
	r.ids.give(c.firstID)
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.owned, c.id)
	return nil
}

// removeTraces removes what containerd does not know of, or lost sight of.
func (r *Runtime) removeTraces(c container) error {
	if err := errors.Join(r.cgroup.killAll(c.cgroup, killPatience), r.removeNetwork(c)); err != nil {
		return err
	}
	return errors.Join(r.cgroup.remove(c.cgroup), os.RemoveAll(c.dir), os.RemoveAll(filepath.Join(r.runcRoot(), r.opts.Namespace, c.id)))
}

// deleteContainer ends and deletes a container and its task in containerd.
func (r *Runtime) deleteContainer(ctx context.Context, id string) error {
	loaded, err := r.client.LoadContainer(ctx, id)
	if errdefs.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return unavailable("look for container "+id, err)
	}
	if err := deleteTask(ctx, loaded); err != nil {
		return unavailable("delete task of container "+id, err)
	}
	if err := loaded.Delete(ctx); err != nil && !errdefs.IsNotFound(err) {
		return unavailable("delete container "+id, err)
	}
	return nil
}

func deleteTask(ctx context.Context, c client.Container) error {
	task, err := c.Task(ctx, nil)
	if errdefs.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	_, err = task.Delete(ctx, client.WithProcessKill)
	if err == nil || errdefs.IsNotFound(err) {
		return nil
	}
	return fmt.Errorf("kill and delete: %w", err)
}
