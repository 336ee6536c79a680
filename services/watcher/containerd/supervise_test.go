package containerd

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/hermes-serverless/hermes/services/watcher/runtimetest"
	"github.com/hermes-serverless/hermes/services/watcher/sandbox"
)

func supervise(t *testing.T, dir string) *Supervised {
	t.Helper()
	needContainers(t)
	s, err := Supervise(context.Background(), superviseOptions(dir))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Stop(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func runtimeAt(t *testing.T, address, state string) *Runtime {
	t.Helper()
	r, err := New(t.Context(), Options{Address: address, Namespace: filepath.Base(state), StateDir: state, Libexec: needContainers(t)})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// servers are the processes that serve containerd in dir.
func servers(t *testing.T, dir string) []int {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/environ")
	if err != nil {
		t.Fatal(err)
	}
	var pids []int
	for _, file := range files {
		env, err := os.ReadFile(file)
		if err == nil && bytes.Contains(env, []byte("\x00"+serveEnv+"="+dir+"\x00")) {
			pid, _ := strconv.Atoi(strings.Split(file, "/")[2])
			pids = append(pids, pid)
		}
	}
	return pids
}

func killServers(t *testing.T, dir string) {
	t.Helper()
	for _, pid := range servers(t, dir) {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
}

// TestKilledContainerd: a command does not notice that containerd dies, and new sandboxes can be made
// when it is back.
func TestKilledContainerd(t *testing.T) {
	dir := newDir(t)
	s := supervise(t, filepath.Join(dir, "c"))
	r := runtimeAt(t, s.Address(), filepath.Join(dir, "state"))
	box := create(t, r, testSpec("survivor", sandbox.Run, newDir(t)))
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd := sandbox.Command{Args: []string{"sh", "-c", "read line; exit 9"}, Stdin: read, Stdout: write, Stderr: write}
	if err := box.Start(t.Context(), cmd); err != nil {
		t.Fatal(err)
	}
	_ = read.Close()

	killServers(t, filepath.Join(dir, "c")) // and at once, while it starts again:
	if text, _, err := run(create(t, r, testSpec("newcomer", sandbox.Run, dir)), "echo", "new"); err != nil || text != "new\n" {
		t.Errorf("a new sandbox: %q, %v", text, err)
	}
	if _, err := write.WriteString("\n"); err != nil {
		t.Fatal(err)
	}
	_ = write.Close()
	if exit, err := box.Wait(t.Context()); err != nil || exit.Code != 9 {
		t.Errorf("the command that ran meanwhile: %+v, %v; want code 9", exit, err)
	}
	if err := r.Close(context.Background()); err != nil {
		t.Error(err)
	}
	again := runtimeAt(t, s.Address(), filepath.Join(dir, "state"))
	if left := present(t, again); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
	if err := again.Close(context.Background()); err != nil {
		t.Error(err)
	}
}

// TestKilledBoth: hermesd and its containerd are killed with sandboxes at work; the next hermesd finds
// and leaves nothing.
func TestKilledBoth(t *testing.T) {
	for _, killContainerd := range []bool{true, false} {
		t.Run("containerd too="+strconv.FormatBool(killContainerd), func(t *testing.T) {
			needContainers(t)
			dir := newDir(t)
			own, state := filepath.Join(dir, "c"), filepath.Join(dir, "state")
			runtimetest.RunAndKill(t, everEnv+"="+own, stateEnv+"="+state)
			if killContainerd {
				killServers(t, own)
			}
			s := supervise(t, own)
			r := runtimeAt(t, s.Address(), state)
			if err := r.Reap(t.Context()); err != nil {
				t.Fatal(err)
			}
			if left := present(t, r); len(left) != 0 {
				t.Errorf("left: %v", left)
			}
			if text, _, err := run(create(t, r, testSpec("after", sandbox.Build, "")), "echo", "works"); err != nil || text != "works\n" {
				t.Errorf("after it: %q, %v", text, err)
			}
			if err := r.Close(context.Background()); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestStopLeavesNothing, even when the runtime was not closed before.
func TestStopLeavesNothing(t *testing.T) {
	dir := newDir(t)
	s := supervise(t, filepath.Join(dir, "c"))
	r := runtimeAt(t, s.Address(), filepath.Join(dir, "state"))
	box, err := r.Create(t.Context(), testSpec("open", sandbox.Build, ""))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Stop(); err != nil {
		t.Fatal(err)
	}
	if _, _, err := run(box, "true"); !errors.Is(err, sandbox.ErrGone) {
		t.Errorf("start: %v, want ErrGone", err)
	}
	if pids := servers(t, filepath.Join(dir, "c")); len(pids) != 0 {
		t.Errorf("containerd still runs: %v", pids)
	}
	if _, err := os.Stat(socketsDir(filepath.Join(dir, "c"))); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("sockets are left: %v", err)
	}
	if err := Answers(t.Context(), s.Address()); !errors.Is(err, sandbox.ErrUnavailable) {
		t.Errorf("Answers: %v, want ErrUnavailable", err)
	}
	if err := r.release(); err != nil {
		t.Error(err)
	}
	if left := r.cgroup.processes(r.cgroup.parent); len(left) != 0 {
		t.Errorf("processes are left: %v", left)
	}
	if err := r.cgroup.remove(r.cgroup.parent); err != nil { // which Reap would do
		t.Error(err)
	}
}

func TestOnePerDirectory(t *testing.T) {
	dir := newDir(t)
	s := supervise(t, filepath.Join(dir, "c"))
	if _, err := Supervise(t.Context(), superviseOptions(filepath.Join(dir, "c"))); !errors.Is(err, ErrDirInUse) {
		t.Errorf("second Supervise: %v, want ErrDirInUse", err)
	}
	r := runtimeAt(t, s.Address(), filepath.Join(dir, "state"))
	if _, err := New(t.Context(), Options{Address: s.Address(), StateDir: filepath.Join(dir, "state"), Libexec: needContainers(t)}); !errors.Is(err, ErrStateInUse) {
		t.Errorf("second New: %v, want ErrStateInUse", err)
	}
	if err := r.Close(context.Background()); err != nil {
		t.Error(err)
	}
}

func TestUnavailable(t *testing.T) {
	dir := newDir(t)
	_, err := New(t.Context(), Options{Address: filepath.Join(dir, "none.sock"), StateDir: filepath.Join(dir, "state"), Libexec: needContainers(t)})
	if !errors.Is(err, sandbox.ErrUnavailable) {
		t.Errorf("New: %v, want ErrUnavailable", err)
	}
}
