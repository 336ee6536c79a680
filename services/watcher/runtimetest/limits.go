package runtimetest

import (
	"strings"
	"testing"

	"github.com/hermes-serverless/hermes/services/watcher/sandbox"
)

// memoryLimit: tail keeps all of its input, for want of a line's end.
func memoryLimit(t *testing.T, s suite) {
	box := s.create(t, specOf(sandbox.Build, ""))
	p := shell(t, box, "head -c 512M /dev/zero | tail")
	exit := p.wait(t)
	if !exit.OOM || exit.Code == 0 {
		t.Errorf("exit is %+v, want OOM and not 0", exit)
	}
	if peak := exit.Usage.PeakMemoryBytes; peak > limits().MemoryBytes || peak < limits().MemoryBytes/2 {
		t.Errorf("peak is %d bytes, want about %d", peak, limits().MemoryBytes)
	}
	// The next command in the same sandbox is judged by itself.
	exit = shell(t, box, "exit 0").wait(t)
	wantExit(t, exit, 0, 0)
	if exit.OOM {
		t.Error("the exit after it speaks of OOM too")
	}
}

// memoryLimitOfTmp: files in a tmpfs belong to no process, so killing does not free them; the
// sandbox may die of it, but the machine must not, and what happened must be told.
func memoryLimitOfTmp(t *testing.T, s suite) {
	spec := specOf(sandbox.Run, functionDir(t, nil))
	spec.Limits.MemoryBytes, spec.Limits.TmpBytes = 48<<20, 1<<30
	box := s.create(t, spec)
	shell(t, box, "head -c 512M /dev/zero >/tmp/big")
	exit, _ := box.Wait(newContext(t))
	if !exit.OOM || exit.Code == 0 {
		t.Errorf("exit is %+v, want OOM and not 0", exit)
	}
}

func pidsLimit(t *testing.T, s suite) {
	spec := specOf(sandbox.Run, functionDir(t, nil))
	spec.Limits.PIDs = 20
	p := shell(t, s.create(t, spec), "i=0; while [ $i -lt 18 ]; do sleep 1000 & i=$((i+1)); done; exit 0")
	exit := p.wait(t)
	wantExit(t, exit, 0, 0)
	if exit.PIDsLimit {
		t.Errorf("19 of 20 processes: %+v", exit)
	}

	spec.ID += "-again"
	p = shell(t, s.create(t, spec), "i=0; while [ $i -lt 40 ]; do sleep 1000 & i=$((i+1)); done; exit 0")
	exit = p.wait(t)
	if !exit.PIDsLimit || exit.Code == 0 {
		t.Errorf("41 of 20 processes: %+v, want PIDsLimit and not 0 (stderr %q)", exit, p.stderr)
	}
}

func forkBomb(t *testing.T, s suite) {
	box := s.create(t, specOf(sandbox.Build, ""))
	p := shell(t, box, "echo go; f() { f | f & f; }; f 2>/dev/null")
	p.stdout.waitFor(t, "go")
	must(t, box.Kill(newContext(t)))
	if _, err := box.Wait(newContext(t)); err != nil {
		t.Fatal(err)
	}
	p = shell(t, box, "echo still usable")
	wantExit(t, p.wait(t), 0, 0)
	if !strings.Contains(p.stdout.String(), "usable") {
		t.Errorf("output is %q", p.stdout)
	}
}

// diskLimit: a folder that a command wrote full is named, whatever else failed then.
func diskLimit(t *testing.T, s suite) {
	const mib = 1 << 20
	for _, c := range []struct {
		kind   sandbox.Kind
		script string
		want   sandbox.Full
	}{
		{sandbox.Run, "head -c 32M /dev/zero >/tmp/big", sandbox.Full{Path: "/tmp", Bytes: 16 * mib}},
		{sandbox.Run, "head -c 96M /dev/zero >/dev/shm/big", sandbox.Full{Path: "/dev/shm", Bytes: 64 * mib}},
		{sandbox.Build, "head -c 32M /dev/zero >big", sandbox.Full{Path: sandbox.FunctionDir, Bytes: 16 * mib}},
		{sandbox.Build, "head -c 32M /dev/zero >/tmp/big", sandbox.Full{Path: "/tmp", Bytes: 16 * mib}},
		{sandbox.Run, "head -c 15M /dev/zero >/tmp/big; exit 1", sandbox.Full{}},
	} {
		dir := ""
		if c.kind == sandbox.Run {
			dir = functionDir(t, nil)
		}
		box := s.create(t, specOf(c.kind, dir))
		exit := shell(t, box, c.script).wait(t)
		if exit.Full != c.want || exit.Code == 0 {
			t.Errorf("%s: exit is %+v, want %+v and not 0", c.script, exit, c.want)
		}
	}
	// The next command in the same sandbox is judged by itself.
	box := s.create(t, specOf(sandbox.Build, ""))
	shell(t, box, "head -c 32M /dev/zero >big").wait(t)
	exit := shell(t, box, "rm big; exit 1").wait(t)
	if exit.Full != (sandbox.Full{}) {
		t.Errorf("after the folder was emptied: %+v", exit)
	}
}

func filesLimit(t *testing.T, s suite) {
	const touch = `for my $i (1 .. 300_000) { open(F, ">", "$ARGV[0]/$i") or exit 1; close F }`
	for _, want := range []sandbox.Full{{Path: "/tmp", Files: 65536}, {Path: sandbox.FunctionDir, Files: 262144}} {
		spec := specOf(sandbox.Build, "")
		spec.Limits.MemoryBytes = 1 << 30 // each file takes the kernel a kilobyte
		exit := start(t, s.create(t, spec), nil, "perl", "-e", touch, want.Path).wait(t)
		if exit.Full != want || exit.Code != 1 {
			t.Errorf("exit is %+v, want %+v and 1", exit, want)
		}
	}
}
