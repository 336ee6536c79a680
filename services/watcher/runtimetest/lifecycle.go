package runtimetest

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hermes-serverless/hermes/services/watcher/sandbox"
)

func createRefused(t *testing.T, s suite) {
	good := specOf(sandbox.Run, functionDir(t, nil))
	wrong := map[string]func(*sandbox.Spec){
		"id":     func(p *sandbox.Spec) { p.ID = "../x" },
		"kind":   func(p *sandbox.Spec) { p.Kind = "other" },
		"dir":    func(p *sandbox.Spec) { p.Dir = "/nonexistent/dir" },
		"limits": func(p *sandbox.Spec) { p.Limits.MemoryBytes = 0 },
		"base":   func(p *sandbox.Spec) { p.Base = "nonexistent" },
	}
	for what, change := range wrong {
		spec := good
		change(&spec)
		_, err := s.runtime.Create(newContext(t), spec)
		if err == nil {
			t.Errorf("a wrong %s was accepted", what)
		}
		if errors.Is(err, sandbox.ErrBase) != (what == "base") {
			t.Errorf("wrong %s: %v", what, err)
		}
	}
	s.create(t, good)
	if _, err := s.runtime.Create(newContext(t), good); err == nil {
		t.Error("the same id was accepted twice")
	}
}

func createCancelled(t *testing.T, s suite) {
	spec := specOf(sandbox.Run, functionDir(t, nil))
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := s.runtime.Create(ctx, spec); !errors.Is(err, context.Canceled) {
		t.Errorf("create: %v, want context.Canceled", err)
	}
	s.create(t, spec) // nothing is left of the first attempt
}

func concurrent(t *testing.T, s suite) {
	const sandboxes = 6
	dir := functionDir(t, nil)
	var all sync.WaitGroup
	for range sandboxes {
		spec := specOf(sandbox.Run, dir)
		all.Go(func() {
			if err := echoOnce(s.runtime, spec); err != nil {
				t.Errorf("%s: %v", spec.ID, err)
			}
		})
	}
	all.Wait()
}

// echoOnce is a whole life of a sandbox, without a testing.T, for use in goroutines.
func echoOnce(r sandbox.Runtime, spec sandbox.Spec) (err error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	box, err := r.Create(ctx, spec)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, box.Remove(ctx)) }()
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer null.Close()
	read, write, err := os.Pipe()
	if err != nil {
		return err
	}
	defer read.Close()
	err = box.Start(ctx, sandbox.Command{Args: []string{"echo", spec.ID}, Stdin: null, Stdout: write, Stderr: null})
	_ = write.Close()
	if err != nil {
		return err
	}
	line, _ := bufio.NewReader(read).ReadString('\n')
	exit, err := box.Wait(ctx)
	if err == nil && (exit.Code != 0 || line != spec.ID+"\n") {
		err = fmt.Errorf("exit %+v, output %q", exit, line)
	}
	return err
}

func reapKeepsOwn(t *testing.T, s suite) {
	p := shell(t, s.newRun(t), "read line; echo got $line")
	must(t, s.runtime.Reap(newContext(t)))
	_, err := p.stdin.WriteString("it\n")
	must(t, err)
	wantExit(t, p.wait(t), 0, 0)
	wantText(t, "stdout", p.stdout.String(), "got it\n")
}

func closeRemoves(t *testing.T, r sandbox.Runtime) {
	p := shell(t, createOn(t, r, specOf(sandbox.Run, functionDir(t, nil))), "sleep 1000")
	must(t, r.Close(newContext(t)))
	if _, err := p.box.Wait(newContext(t)); !errors.Is(err, sandbox.ErrGone) {
		t.Errorf("wait: %v, want ErrGone", err)
	}
	p.stdout.end(t)
	_, err := r.Create(newContext(t), specOf(sandbox.Run, functionDir(t, nil)))
	if !errors.Is(err, sandbox.ErrUnavailable) {
		t.Errorf("create after close: %v, want ErrUnavailable", err)
	}
}

func reapRemovesLeftovers(t *testing.T, opts Options) {
	r, present := opts.Crash(t)
	before := present()
	if len(before) == 0 {
		t.Fatal("the killed process left nothing behind, so this proves nothing")
	}
	own := createOn(t, r, specOf(sandbox.Run, functionDir(t, nil)))
	must(t, r.Reap(newContext(t)))
	waitUntil(t, func() error {
		for _, name := range present() {
			if slices.Contains(before, name) {
				return fmt.Errorf("%s is still there", name)
			}
		}
		return nil
	})
	wantExit(t, shell(t, own, "exit 0").wait(t), 0, 0)
	must(t, r.Close(newContext(t)))
}

func waitUntil(t *testing.T, check func() error) {
	t.Helper()
	ctx := newContext(t)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		err := check()
		if err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatal(err)
		}
	}
}

const (
	leaveEnv = "HERMES_RUNTIMETEST_LEAVE"
	leftLine = "sandboxes are left behind"
)

// LeaveBehind is called by TestMain, before anything else. In the process that RunAndKill starts it
// makes sandboxes on the runtime that newRuntime returns and waits to be killed; in any other it
// returns at once.
func LeaveBehind(newRuntime func() (sandbox.Runtime, error)) {
	dir := os.Getenv(leaveEnv)
	if dir == "" {
		return
	}
	if err := leaveBehind(newRuntime, dir); err != nil {
		fmt.Println("leaving sandboxes behind failed:", err)
		os.Exit(1)
	}
	fmt.Println(leftLine)
	select {}
}

func leaveBehind(newRuntime func() (sandbox.Runtime, error), dir string) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	r, err := newRuntime()
	if err != nil {
		return err
	}
	if _, err := r.Create(ctx, specOf(sandbox.Build, "")); err != nil {
		return err
	}
	box, err := r.Create(ctx, specOf(sandbox.Run, dir))
	if err != nil {
		return err
	}
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	return box.Start(ctx, sandbox.Command{Args: []string{"sleep", "1000"}, Stdin: null, Stdout: null, Stderr: null})
}

// RunAndKill runs the test binary again with these variables, so that its TestMain's LeaveBehind
// makes sandboxes, and kills it with SIGKILL once they are there.
func RunAndKill(t *testing.T, env ...string) {
	t.Helper()
	executable, err := os.Executable()
	must(t, err)
	child := exec.CommandContext(newContext(t), executable)
	child.Env = append(append(os.Environ(), leaveEnv+"="+functionDir(t, nil)), env...)
	child.Stderr = os.Stderr
	out, err := child.StdoutPipe()
	must(t, err)
	must(t, child.Start())
	line, _ := bufio.NewReader(out).ReadString('\n')
	must(t, child.Process.Kill())
	_ = child.Wait() // it was killed
	if strings.TrimSpace(line) != leftLine {
		t.Fatalf("the process to kill says %q", line)
	}
}
