package containerd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"
)

// fakeLaunch writes a hermes-launch that runs the script for each start and reaps only what was
// killed.
func fakeLaunch(t *testing.T, script string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), LaunchName)
	text := `#!/bin/sh
while read -r request; do
	seq=${request#'{"seq":'}
	seq=${seq%%,*}
	case $request in
	*'"reap":'*) echo "{\"seq\":$seq,\"status\":9}" ;;
	*) ` + script + ` ;;
	esac
done
`
	if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

const launchesSleep = `sleep 1000 >/dev/null & echo "{\"seq\":$seq,\"pid\":$!}"`

// TestLauncherLife goes through a task's life; two share one process.
func TestLauncherLife(t *testing.T) {
	all, ctx := testTasks(t)
	one := makeTask(t, ctx, all, fakeLaunch(t, launchesSleep), t.TempDir())
	if err := one.Start(ctx); err != nil {
		t.Fatal(err)
	}
	if err := one.Kill(ctx, uint32(unix.SIGKILL), true); err != nil {
		t.Fatal(err)
	}
	if exit, err := one.Wait(ctx); err != nil || exit.Status != 137 {
		t.Errorf("exit %+v, %v; want status 137", exit, err)
	}
	if exit, err := all.Delete(ctx, "one"); err != nil || exit.Status != 137 {
		t.Errorf("delete: %+v, %v; want status 137", exit, err)
	}
	if err := all.Close(); err != nil {
		t.Error(err)
	}
}

// TestLauncherDies: who waits hears of it, what runs is reaped all the same, and the next start finds
// a new one.
func TestLauncherDies(t *testing.T) {
	all, ctx := testTasks(t)
	path := fakeLaunch(t, `if mkdir `+filepath.Join(t.TempDir(), "first")+` 2>/dev/null; then `+launchesSleep+`; else exit 1; fi`)
	one := makeTask(t, ctx, all, path, t.TempDir())
	if err := one.Start(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := all.starter(path).start(ctx, &task{spec: []byte("{}")}); !errdefs.IsUnavailable(err) {
		t.Errorf("start by a launcher that dies: %v, want unavailable", err)
	}
	if err := one.Kill(ctx, uint32(unix.SIGKILL), true); err != nil {
		t.Fatal(err)
	}
	if _, err := one.Wait(ctx); err != nil {
		t.Error(err)
	}
	if err := os.WriteFile(path, []byte("#!/bin/sh\nread -r request; echo '{\"seq\":1,\"pid\":7}'; read -r more\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	for {
		pid, err := all.starter(path).start(ctx, &task{spec: []byte("{}")})
		if err == nil && pid == 7 {
			break
		}
		if !errdefs.IsUnavailable(err) { // it has not been missed yet
			t.Fatal(pid, err)
		}
	}
	if err := all.Close(); err != nil {
		t.Error(err)
	}
}

// TestLauncherReadsNoMore: what it started is not lost when it cannot be asked to reap it.
func TestLauncherReadsNoMore(t *testing.T) {
	all, ctx := testTasks(t)
	// As hermes-launch, what tells of the init waits for no child by itself. A shell does between two
	// commands, and then nobody can learn any more how the init ended: so it is tail that tells, and stays.
	reply := filepath.Join(t.TempDir(), "reply")
	script := `sleep 1000 >/dev/null & echo "{\"seq\":$seq,\"pid\":$!}" >` + reply + `; exec tail -f ` + reply + ` <&-`
	path := fakeLaunch(t, script)
	one := makeTask(t, ctx, all, path, t.TempDir())
	if err := one.Start(ctx); err != nil {
		t.Fatal(err)
	}
	pid, _ := one.PID(ctx)
	if err := one.Kill(ctx, uint32(unix.SIGKILL), true); err != nil {
		t.Fatal(err)
	}
	if exit, err := one.Wait(ctx); err != nil || exit.Status != 137 {
		t.Errorf("exit %+v, %v; want status 137, which 255 says that nobody could tell; now %s", exit, err, whatIs(all, path, int(pid)))
	}
	if err := all.Close(); err != nil {
		t.Errorf("%v; now %s", err, whatIs(all, path, int(pid)))
	}
}

// whatIs tells of an init and of the hermes-launch that started it what the kernel knows.
func whatIs(all *tasks, path string, pid int) string {
	l := all.starter(path).(*launcher)
	l.mu.Lock()
	defer l.mu.Unlock()
	told := "hermes-launch is gone"
	if l.process != nil {
		told = "hermes-launch is not known to have ended"
	}
	line, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return fmt.Sprintf("%s, the init: %q, %v; this is process %d", told, line, err, os.Getpid())
}

// TestLaunchWithoutExecutableMemory: hermes-launch comes up where memory must not be executed, which a
// process namespace may forbid itself.
func TestLaunchWithoutExecutableMemory(t *testing.T) {
	libexec := needContainers(t)
	if _, err := os.Stat("/proc/sys/vm/memfd_noexec"); err != nil || libexec.Launch == "" {
		t.Skipf("hermes-launch is %q, the kernel's switch: %v", libexec.Launch, err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "/bin/sh", "-c", `echo 2 >/proc/sys/vm/memfd_noexec && exec "$0" </dev/null`, libexec.Launch)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v: %.999s", err, out)
	}
}

// TestLaunches: what ends at once by itself is told with its reason.
func TestLaunches(t *testing.T) {
	if err := Launches(t.Context(), fakeLaunch(t, ":")); err != nil {
		t.Error(err)
	}
	path := filepath.Join(t.TempDir(), LaunchName)
	if err := Launches(t.Context(), path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("where there is none: %v", err)
	}
	if err := os.WriteFile(path, []byte("#!/bin/sh\necho no memory to seal >&2; exit 1\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	err := Launches(t.Context(), path)
	if err == nil || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "no memory to seal") {
		t.Errorf("one that ends: %v", err)
	}
}

// TestLauncherStalls: a start that takes too long ends with its context, and hermes-launch with it.
func TestLauncherStalls(t *testing.T) {
	all, ctx := testTasks(t)
	l := all.starter(fakeLaunch(t, `:`)).(*launcher)
	short, cancel := context.WithTimeout(ctx, 10*time.Millisecond)
	defer cancel()
	if _, err := l.start(short, &task{spec: []byte("{}")}); err == nil {
		t.Error("a start without a reply succeeds")
	}
	for ctx.Err() == nil {
		l.mu.Lock()
		gone := l.process == nil
		l.mu.Unlock()
		if gone {
			return
		}
		time.Sleep(time.Millisecond)
	}
	t.Error("hermes-launch lives on")
}
