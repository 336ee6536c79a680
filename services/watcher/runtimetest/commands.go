package runtimetest

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hermes-serverless/hermes/services/watcher/sandbox"
)

func infoNamesTheRuntime(t *testing.T, s suite) {
	info, err := s.runtime.Info(newContext(t))
	must(t, err)
	if info.Name == "" || info.Version == "" || info.OCI == "" || len(info.Bases) == 0 {
		t.Errorf("info is incomplete: %+v", info)
	}
}

func exitCodes(t *testing.T, s suite) {
	for _, code := range []int{0, 3, 255} {
		p := shell(t, s.newRun(t), fmt.Sprintf("exit %d", code))
		wantExit(t, p.wait(t), code, 0)
	}
}

func exitBySignal(t *testing.T, s suite) {
	for _, signal := range []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL, syscall.SIGUSR1} {
		p := shell(t, s.newRun(t), fmt.Sprintf("kill -%d $$; sleep 60", signal))
		wantExit(t, p.wait(t), 128+int(signal), signal)
	}
}

// abortExits134: as PID 1 a command could not die of its own SIGABRT.
func abortExits134(t *testing.T, s suite) {
	p := shell(t, s.newRun(t), "kill -ABRT $$; sleep 60")
	wantExit(t, p.wait(t), 134, syscall.SIGABRT)
}

func streamsAreExact(t *testing.T, s suite) {
	content := make([]byte, 5<<20+7)
	random := rand.NewChaCha8([32]byte{1})
	_, _ = random.Read(content)
	p := shell(t, s.newRun(t), "tee /proc/self/fd/2")
	fed := p.feed(bytes.NewReader(content))
	wantExit(t, p.wait2(t), 0, 0)
	must(t, <-fed)
	wantText(t, "stdout", p.stdout.String(), string(content))
	wantText(t, "stderr", p.stderr.String(), string(content))
}

// wait2 waits without closing stdin, for a test that feeds it.
func (p *process) wait2(t *testing.T) sandbox.Exit {
	t.Helper()
	exit, err := p.box.Wait(newContext(t))
	must(t, err)
	p.stdout.end(t)
	p.stderr.end(t)
	return exit
}

func outputIsOrdered(t *testing.T, s suite) {
	box := s.newRun(t)
	read, write := pipe(t)
	null, err := os.Open(os.DevNull)
	must(t, err)
	defer null.Close()
	script := "i=0; while [ $i -lt 5000 ]; do echo o$i; echo e$i >&2; i=$((i+1)); done"
	must(t, box.Start(newContext(t), sandbox.Command{
		Args: []string{"/bin/sh", "-c", script}, Env: nil, Stdin: null, Stdout: write, Stderr: write,
	}))
	must(t, write.Close())
	both := collect(read)
	_, err = box.Wait(newContext(t))
	must(t, err)
	var want strings.Builder
	for i := range 5000 {
		fmt.Fprintf(&want, "o%d\ne%d\n", i, i)
	}
	wantText(t, "output", both.end(t), want.String())
}

// streamsOpenByName: shell scripts write to /dev/stderr, which needs the right to open the pipe.
func streamsOpenByName(t *testing.T, s suite) {
	p := shell(t, s.newRun(t), "echo out >/dev/stdout; echo err >/dev/stderr; cat /dev/stdin")
	fed := p.feed(strings.NewReader("in\n"))
	wantExit(t, p.wait2(t), 0, 0)
	must(t, <-fed)
	wantText(t, "stdout", p.stdout.String(), "out\nin\n")
	wantText(t, "stderr", p.stderr.String(), "err\n")
}

func envIsExactlyWhatWasGiven(t *testing.T, s suite) {
	box := s.create(t, specOf(sandbox.Build, ""))
	for _, env := range [][]string{nil, {"A=b"}, {"B=2", "A=with space\nand line", "C="}} {
		p := start(t, box, env, "/usr/bin/env", "-0")
		wantExit(t, p.wait(t), 0, 0)
		want := ""
		for _, variable := range env {
			want += variable + "\x00"
		}
		wantText(t, "environment", p.stdout.String(), want)
	}
}

const sayHello = "#!/bin/sh\necho hello \"$@\"\n"

func commandsAreFound(t *testing.T, s suite) {
	dir := functionDir(t, map[string]string{"hello": sayHello, "bin/hello": sayHello})
	for _, c := range []struct {
		name string
		env  []string
	}{
		{name: "./hello"}, {name: "bin/hello"}, {name: sandbox.FunctionDir + "/hello"},
		{name: "hello", env: []string{"PATH=/nonexistent:bin"}},
		{name: "hello", env: []string{"PATH=/usr/bin:" + sandbox.FunctionDir + "/bin"}},
	} {
		p := start(t, s.create(t, specOf(sandbox.Run, dir)), c.env, c.name, "you", "")
		wantExit(t, p.wait(t), 0, 0)
		wantText(t, c.name, p.stdout.String(), "hello you \n")
	}
	p := start(t, s.newRun(t), nil, "echo", "no PATH is given")
	wantExit(t, p.wait(t), 0, 0)
}

func missingCommands(t *testing.T, s suite) {
	box := s.create(t, specOf(sandbox.Build, ""))
	for _, name := range []string{"nonexistent", "./nonexistent", "/nonexistent/x", "/usr/bin/env/x"} {
		_, err := tryStart(t, box, nil, name)
		if !errors.Is(err, sandbox.ErrNotFound) {
			t.Errorf("start %q: %v, want ErrNotFound", name, err)
		}
	}
	p := shell(t, box, "echo still usable")
	wantExit(t, p.wait(t), 0, 0)
}

func notExecutable(t *testing.T, s suite) {
	dir := functionDir(t, map[string]string{"plain": "text", "noshebang": "echo hi", "badshebang": "#!/nonexistent/x\n"})
	must(t, os.Chmod(filepath.Join(dir, "plain"), 0o644))
	box := s.create(t, specOf(sandbox.Run, dir))
	for _, name := range []string{"./plain", "./noshebang", "./badshebang", "./bin"} {
		_, err := tryStart(t, box, nil, name)
		if !errors.Is(err, sandbox.ErrNotExecutable) {
			t.Errorf("start %q: %v, want ErrNotExecutable", name, err)
		}
	}
	p := shell(t, box, "echo still usable")
	wantExit(t, p.wait(t), 0, 0)
}

// longArguments: what the kernel takes works, what it does not is refused and nothing breaks.
func longArguments(t *testing.T, s suite) {
	box := s.create(t, specOf(sandbox.Build, ""))
	piece := strings.Repeat("x", 100<<10)
	args := []string{"sh", "-c", `printf %s "$@"`, "sh"}
	for range 10 {
		args = append(args, piece)
	}
	p := start(t, box, nil, args...)
	wantExit(t, p.wait(t), 0, 0)
	wantText(t, "output", p.stdout.String(), strings.Repeat(piece, 10))

	if _, err := tryStart(t, box, nil, "echo", strings.Repeat("x", 1<<20)); !errors.Is(err, sandbox.ErrNotExecutable) {
		t.Errorf("one argument of 1 MiB: %v, want ErrNotExecutable", err)
	}
	many := make([]string, 300)
	for i := range many {
		many[i] = "V" + piece
	}
	if _, err := tryStart(t, box, many, "echo"); !errors.Is(err, sandbox.ErrNotExecutable) {
		t.Errorf("an environment of 30 MiB: %v, want ErrNotExecutable", err)
	}
	p = shell(t, box, "echo still usable")
	wantExit(t, p.wait(t), 0, 0)
}

func usageIsCounted(t *testing.T, s suite) {
	p := shell(t, s.newRun(t), "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done")
	exit := p.wait(t)
	if exit.Usage.CPU <= 0 || exit.Usage.PeakMemoryBytes <= 0 {
		t.Errorf("usage is %+v, want more than 0", exit.Usage)
	}
	if exit.OOM || exit.PIDsLimit || exit.Full != (sandbox.Full{}) {
		t.Errorf("exit %+v speaks of limits", exit)
	}
}

// hiddenUsageIsCounted: the kernel does not add the time of a child to that of a parent that
// ignores how its children end.
func hiddenUsageIsCounted(t *testing.T, s suite) {
	const burn = `$SIG{CHLD} = "IGNORE"; if (fork == 0) { 1 while times < 0.3; exit 0 } 1 while wait != -1;`
	exit := start(t, s.newRun(t), nil, "perl", "-e", burn).wait(t)
	wantExit(t, exit, 0, 0)
	if exit.Usage.CPU < 300*time.Millisecond {
		t.Errorf("usage is %+v, want 0.3 s of CPU time", exit.Usage)
	}
}

// usageOfARemoved: what a command took is known also when its sandbox went with it.
func usageOfARemoved(t *testing.T, s suite) {
	p := shell(t, s.newRun(t), "i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done; echo spent; read line")
	p.stdout.waitFor(t, "spent")
	must(t, p.box.Remove(newContext(t)))
	exit, err := p.box.Wait(newContext(t))
	if !errors.Is(err, sandbox.ErrGone) || exit.Usage.CPU <= 0 || exit.Usage.PeakMemoryBytes <= 0 {
		t.Errorf("wait: %+v, %v; want ErrGone and its usage", exit, err)
	}
}
