package containerd

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/containerd/containerd/api/types/runc/options"
	"github.com/containerd/containerd/v2/core/runtime"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/containerd/v2/pkg/protobuf/types"
	"github.com/containerd/errdefs"
	"github.com/containerd/typeurl/v2"
	"golang.org/x/sys/unix"
)

// fakeRunc writes a runc for `--root ROOT --log LOG --log-format json run --detach --bundle BUNDLE
// --pid-file FILE ID`.
func fakeRunc(t *testing.T, script string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "runc")
	text := "#!/bin/sh\nroot=$2 log=$4 bundle=${10} pid_file=${12} id=${13}\n" + script
	if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

const startsSleep = `
[ "$(cat $bundle/config.json)" = "{}" ] || exit 9
mkdir -p $root/$id
sleep 1000 &
printf %s $! >$pid_file
`

func testTasks(t *testing.T) (*tasks, context.Context) {
	t.Helper()
	// As in Serve: what runc leaves running is this process's child.
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		t.Fatal(err)
	}
	all, err := newTasks(filepath.Join(t.TempDir(), "bundles"))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(namespaces.WithNamespace(t.Context(), "test"), time.Minute)
	t.Cleanup(cancel)
	return all, ctx
}

func makeTask(t *testing.T, ctx context.Context, all *tasks, runc, root string) runtime.Task {
	t.Helper()
	given, err := typeurl.MarshalAny(&options.Options{BinaryName: runc, Root: root})
	if err != nil {
		t.Fatal(err)
	}
	one, err := all.Create(ctx, "one", runtime.CreateOpts{Spec: &types.Any{Value: []byte("{}")}, RuntimeOptions: given})
	if err != nil {
		t.Fatal(err)
	}
	return one
}

func wantStatus(t *testing.T, one runtime.Task, want runtime.Status) {
	t.Helper()
	if state, err := one.State(t.Context()); err != nil || state.Status != want {
		t.Errorf("state %+v, %v; want status %d", state, err, want)
	}
}

// TestTaskLife goes through what containerd asks of a task.
func TestTaskLife(t *testing.T) {
	all, ctx := testTasks(t)
	root := t.TempDir()
	one := makeTask(t, ctx, all, fakeRunc(t, startsSleep), root)
	wantStatus(t, one, runtime.CreatedStatus)
	if err := one.Kill(ctx, uint32(unix.SIGKILL), true); !errdefs.IsNotFound(err) {
		t.Errorf("kill before the start: %v, want not found", err)
	}
	if err := one.Start(ctx); err != nil {
		t.Fatal(err)
	}
	wantStatus(t, one, runtime.RunningStatus)
	if err := one.Start(ctx); !errdefs.IsFailedPrecondition(err) {
		t.Errorf("second start: %v, want failed precondition", err)
	}
	if err := one.Kill(ctx, uint32(unix.SIGKILL), true); err != nil {
		t.Fatal(err)
	}
	if exit, err := one.Wait(ctx); err != nil || exit.Status != 137 {
		t.Errorf("exit %+v, %v; want status 137", exit, err)
	}
	wantStatus(t, one, runtime.StoppedStatus)
	if exit, err := all.Delete(ctx, "one"); err != nil || exit.Status != 137 {
		t.Errorf("delete: %+v, %v; want status 137", exit, err)
	}
	if _, err := all.Get(ctx, "one"); !errdefs.IsNotFound(err) {
		t.Errorf("get what was deleted: %v, want not found", err)
	}
	for _, folder := range []string{all.state, filepath.Join(root, "test")} {
		if left, err := os.ReadDir(folder); err != nil || len(left) != 0 {
			t.Errorf("%s holds %v, %v; want nothing", folder, left, err)
		}
	}
}

// TestTaskDeletedWhileItRuns: its end is part of that.
func TestTaskDeletedWhileItRuns(t *testing.T) {
	all, ctx := testTasks(t)
	one := makeTask(t, ctx, all, fakeRunc(t, startsSleep), t.TempDir())
	if err := one.Start(ctx); err != nil {
		t.Fatal(err)
	}
	if exit, err := all.Delete(ctx, "one"); err != nil || exit.Status != 137 {
		t.Errorf("delete: %+v, %v; want status 137", exit, err)
	}
	if exit, err := one.Wait(ctx); err != nil || exit.Status != 137 {
		t.Errorf("exit %+v, %v; want status 137", exit, err)
	}
	if _, err := all.Get(ctx, "one"); !errdefs.IsNotFound(err) {
		t.Errorf("get what was deleted: %v, want not found", err)
	}
}

// TestTaskRefused: what runc says reaches the caller, and the task can be deleted.
func TestTaskRefused(t *testing.T) {
	all, ctx := testTasks(t)
	runc := fakeRunc(t, `echo '{"level":"error","msg":"no cgroup is mounted"}' >$log; exit 1`)
	one := makeTask(t, ctx, all, runc, t.TempDir())
	if err := one.Start(ctx); err == nil || !strings.Contains(err.Error(), "no cgroup is mounted") {
		t.Errorf("start: %v; want what runc logged", err)
	}
	wantStatus(t, one, runtime.CreatedStatus)
	if _, err := all.Delete(ctx, "one"); err != nil {
		t.Error(err)
	}
	if left, err := os.ReadDir(all.state); err != nil || len(left) != 0 {
		t.Errorf("bundles %v, %v; want none", left, err)
	}
}

// TestTasksClose: no container outlives a containerd that ends in order.
func TestTasksClose(t *testing.T) {
	all, ctx := testTasks(t)
	one := makeTask(t, ctx, all, fakeRunc(t, startsSleep), t.TempDir())
	if err := one.Start(ctx); err != nil {
		t.Fatal(err)
	}
	if err := all.Close(); err != nil {
		t.Fatal(err)
	}
	wantStatus(t, one, runtime.StoppedStatus)
}

func TestTaskWithoutRunc(t *testing.T) {
	all, ctx := testTasks(t)
	if _, err := all.Create(ctx, "one", runtime.CreateOpts{Spec: &types.Any{}}); !errdefs.IsInvalidArgument(err) {
		t.Errorf("create: %v, want invalid argument", err)
	}
}
