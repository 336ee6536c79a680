package containerd

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"time"
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
