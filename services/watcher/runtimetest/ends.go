package runtimetest

import (
	"context"
	"errors"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hermes-serverless/hermes/services/watcher/sandbox"
)

func leftBehindInGroup(t *testing.T, s suite) { leftBehind(t, s, "sleep 1000 & echo left") }

func leftBehindInSession(t *testing.T, s suite) {
	leftBehind(t, s, "setsid sh -c 'trap \"\" TERM HUP; sleep 1000; sleep 1000' & echo left")
}

func leftBehind(t *testing.T, s suite, script string) {
	box := s.create(t, specOf(sandbox.Build, ""))
	p := shell(t, box, script)
	wantExit(t, p.wait(t), 0, 0) // which includes the ends of the pipes
	wantText(t, "stdout", p.stdout.String(), "left\n")
	if s.opts.Isolated {
		p = shell(t, box, "for d in /proc/[0-9]*; do cat $d/comm; done; true")
		wantExit(t, p.wait(t), 0, 0)
		if left := p.stdout.String(); strings.Contains(left, "sleep") {
			t.Errorf("processes left: %q", left)
		}
	}
}

func signalHonoured(t *testing.T, s suite) {
	p := shell(t, s.newRun(t), "trap 'echo caught; exit 7' TERM; echo ready; while :; do sleep 0.05; done")
	p.stdout.waitFor(t, "ready")
	p.signal(t, syscall.SIGTERM)
	wantExit(t, p.wait(t), 7, 0)
	wantText(t, "stdout", p.stdout.String(), "ready\ncaught\n")

	// The whole group gets it: a shell that waits for its child would not die alone.
	p = start(t, s.newRun(t), nil, "sleep", "1000")
	p.signal(t, syscall.SIGTERM)
	wantExit(t, p.wait(t), 143, syscall.SIGTERM)
}

func signalIgnoredThenKilled(t *testing.T, s suite) {
	p := shell(t, s.newRun(t), "trap '' TERM; echo ready; while :; do sleep 0.05; done")
	p.stdout.waitFor(t, "ready")
	p.signal(t, syscall.SIGTERM)
	short, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	if exit, err := p.box.Wait(short); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("wait: %+v, %v; want that it still runs", exit, err)
	}
	must(t, p.box.Kill(newContext(t)))
	wantExit(t, p.wait(t), 137, syscall.SIGKILL)
}

func stoppedIsKilled(t *testing.T, s suite) {
	p := shell(t, s.newRun(t), "echo ready; sleep 1000; :")
	p.stdout.waitFor(t, "ready")
	p.signal(t, syscall.SIGSTOP)
	must(t, p.box.Kill(newContext(t)))
	wantExit(t, p.wait(t), 137, syscall.SIGKILL)
}

func signalNothing(t *testing.T, s suite) {
	box := s.newRun(t)
	nothing := func() {
		t.Helper()
		must(t, box.Signal(newContext(t), syscall.SIGTERM))
		must(t, box.Kill(newContext(t)))
	}
	nothing()
	wantExit(t, shell(t, box, "exit 0").wait(t), 0, 0)
	nothing()
	wantExit(t, shell(t, box, "exit 4").wait(t), 4, 0)
}

func waitCancelled(t *testing.T, s suite) {
	p := shell(t, s.newRun(t), "read line; echo got $line")
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := p.box.Wait(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("wait: %v, want context.Canceled", err)
	}
	_, err := p.stdin.WriteString("it\n")
	must(t, err)
	wantExit(t, p.wait(t), 0, 0)
	wantText(t, "stdout", p.stdout.String(), "got it\n")
}

func waitTwice(t *testing.T, s suite) {
	p := shell(t, s.newRun(t), "exit 5")
	wantExit(t, p.wait(t), 5, 0)
	wantExit(t, p.wait(t), 5, 0)
}

func waitNothing(t *testing.T, s suite) {
	if exit, err := s.newRun(t).Wait(newContext(t)); err == nil {
		t.Errorf("wait for nothing: %+v and no error", exit)
	}
}

func startBusy(t *testing.T, s suite) {
	p := shell(t, s.newRun(t), "read line")
	if _, err := tryStart(t, p.box, nil, "/bin/true"); !errors.Is(err, sandbox.ErrBusy) {
		t.Errorf("second start: %v, want ErrBusy", err)
	}
	_, err := p.stdin.WriteString("\n")
	must(t, err)
	wantExit(t, p.wait(t), 0, 0)
}

func removeTwice(t *testing.T, s suite) {
	box := s.newRun(t)
	must(t, box.Remove(newContext(t)))
	must(t, box.Remove(newContext(t)))
	if _, err := tryStart(t, box, nil, "/bin/true"); !errors.Is(err, sandbox.ErrGone) {
		t.Errorf("start after remove: %v, want ErrGone", err)
	}
	must(t, box.Signal(newContext(t), syscall.SIGTERM))
	must(t, box.Kill(newContext(t)))
}

func removeRunning(t *testing.T, s suite) {
	p := shell(t, s.newRun(t), "sleep 1000 & sleep 1000")
	must(t, p.box.Remove(newContext(t)))
	exit, err := p.box.Wait(newContext(t))
	if !errors.Is(err, sandbox.ErrGone) {
		t.Errorf("wait: %v, want ErrGone", err)
	}
	wantExit(t, exit, 137, syscall.SIGKILL)
	p.stdout.end(t)
}
