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
