package containerd

import (
	"context"
	"fmt"

	api "github.com/containerd/containerd/api/services/tasks/v1"
	"github.com/containerd/containerd/api/types/runc/options"
	"github.com/containerd/containerd/v2/core/containers"
	"github.com/containerd/errdefs"
	"github.com/containerd/errdefs/pkg/errgrpc"
	"github.com/containerd/typeurl/v2"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/hermes-serverless/hermes/services/watcher/sandbox"
)

// The calls to containerd by which a container lives. They are those of its API itself: containerd's own
// client makes fifteen of five, as before most of them it asks for the container, spec and all.

// define tells containerd what the container is; nothing runs yet.
func (r *Runtime) define(ctx context.Context, spec sandbox.Spec, c container, isolation *specs.Spec) error {
	what, err := typeurl.MarshalAny(isolation)
	if err != nil {
		return err
	}
	how, err := typeurl.MarshalAny(&options.Options{BinaryName: r.opts.Libexec.starts(), Root: r.runcRoot()})
	if err != nil {
		return err
	}
	_, err = r.client.ContainerService().Create(ctx, containers.Container{
		ID: c.id, Labels: map[string]string{"io.hermes.sandbox": spec.ID}, Spec: what,
		Runtime: containers.RuntimeInfo{Name: runtimeName, Options: how},
	})
	return err
}

// startTask starts a container that was defined.
func (r *Runtime) startTask(ctx context.Context, id string) error {
	if _, err := r.client.TaskService().Create(ctx, &api.CreateTaskRequest{ContainerID: id}); err != nil {
		return fmt.Errorf("create task: %w", errgrpc.ToNative(err))
	}
	if _, err := r.client.TaskService().Start(ctx, &api.StartRequest{ContainerID: id}); err != nil {
		return fmt.Errorf("start task: %w", errgrpc.ToNative(err))
	}
	return nil
}

// deleteContainer ends and deletes a container and its task in containerd, whatever of them there is.
func (r *Runtime) deleteContainer(ctx context.Context, id string) error {
	if err := r.deleteTask(ctx, id); err != nil {
		return unavailable("delete task of container "+id, err)
	}
	if err := r.client.ContainerService().Delete(ctx, id); err != nil && !errdefs.IsNotFound(err) {
		return unavailable("delete container "+id, err)
	}
	return nil
}

// deleteTask ends and deletes a task. The containerd of Serve does both when it is asked for the second.
func (r *Runtime) deleteTask(ctx context.Context, id string) error {
	if r.forgetTask(ctx, id) == nil {
		return nil
	}
	_, err := r.client.TaskService().Kill(ctx, &api.KillRequest{ContainerID: id, Signal: uint32(unix.SIGKILL), All: true})
	if err = errgrpc.ToNative(err); err != nil && !errdefs.IsNotFound(err) && !errdefs.IsFailedPrecondition(err) {
		return fmt.Errorf("kill: %w", err)
	}
	if err == nil {
		if err := r.awaitTask(ctx, id); err != nil {
			return err
		}
	}
	return r.forgetTask(ctx, id)
}

// awaitTask returns when the task has ended.
func (r *Runtime) awaitTask(ctx context.Context, id string) error {
	_, err := r.client.TaskService().Wait(ctx, &api.WaitRequest{ContainerID: id})
	if err = errgrpc.ToNative(err); err != nil && !errdefs.IsNotFound(err) {
		return fmt.Errorf("wait for its end: %w", err)
	}
	return nil
}

// forgetTask deletes a task. One that is not there is no error; one that runs is, unless containerd is ours.
func (r *Runtime) forgetTask(ctx context.Context, id string) error {
	_, err := r.client.TaskService().Delete(ctx, &api.DeleteTaskRequest{ContainerID: id})
	if err = errgrpc.ToNative(err); err != nil && !errdefs.IsNotFound(err) {
		return fmt.Errorf("delete: %w", err)
	}
	return nil
}

// runtimeName makes a containerd that is not ours take the shim that belongs to it, from its PATH. By
// this name, and not by a path, it also spares asking the shim what it can do, an exec for every
// container. Ours has no shims: tasks.go.
const runtimeName = "io.containerd.runc.v2"
