package e2e

import (
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

const (
	// patience is how long anything may take that is waited for. It is far more than anything
	// needs: to reach it is a failure, never a measurement.
	patience = 90 * time.Second
	// pollEvery is how often what cannot announce itself is looked at.
	pollEvery = 10 * time.Millisecond
	// logTail is how much of a process's log a failed test shows.
	logTail = 24 << 10
)

// eventually polls until what is true.
func eventually(t testing.TB, what string, is func() bool) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for !is() {
		if time.Now().After(deadline) {
			t.Fatalf("after %s: not %s", patience, what)
		}
		time.Sleep(pollEvery)
	}
}

// process is a program that the test started. It ends with the test at the latest, and its log is
// shown where the test failed.
type process struct {
	name           string
	cmd            *exec.Cmd
	stdout, stderr string // files, so that no child of the process can hold the test up
	done           chan struct{}
}

func start(t testing.TB, env []string, stdin io.Reader, program string, args ...string) *process {
	t.Helper()
	dir := t.TempDir()
	p := &process{
		name: filepath.Base(program) + " " + strings.Join(args, " "), cmd: exec.Command(program, args...),
		stdout: filepath.Join(dir, "stdout"), stderr: filepath.Join(dir, "stderr"), done: make(chan struct{}),
	}
	out, err := os.Create(p.stdout)
	must(t, err)
	defer out.Close()
	log, err := os.Create(p.stderr)
	must(t, err)
	defer log.Close()
	p.cmd.Env, p.cmd.Stdin, p.cmd.Stdout, p.cmd.Stderr = env, stdin, out, log
	must(t, p.cmd.Start())
	go func() {
		defer close(p.done)
		_ = p.cmd.Wait()
	}()
	t.Cleanup(func() { p.end(t) })
	return p
}

// end is for the test's own end; one that means to stop the process does so before.
func (p *process) end(t testing.TB) {
	if p.running() {
		_ = p.cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-p.done:
		case <-time.After(patience):
			t.Errorf("%s does not end on SIGTERM", p.name)
			_ = p.cmd.Process.Kill()
			<-p.done
		}
	}
	if t.Failed() {
		t.Logf("log of %s (%s):\n%s", p.name, p.cmd.ProcessState, tail(p.read(p.stderr)))
	}
}

func tail(log string) string {
	if len(log) > logTail {
		return "…" + log[len(log)-logTail:]
	}
	return log
}

func (p *process) running() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

func (p *process) read(file string) string {
	raw, err := os.ReadFile(file)
	if err != nil {
		return err.Error()
	}
	return string(raw)
}

// waitFor returns when the text stands in the file, one of stdout and stderr.
func (p *process) waitFor(t testing.TB, file, text string) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for {
		ended := !p.running()
		raw, err := os.ReadFile(file)
		must(t, err)
		if bytes.Contains(raw, []byte(text)) {
			return
		}
		if ended || time.Now().After(deadline) {
			t.Fatalf("%s (ended: %t) did not say %q, but %q and on stderr:\n%s", p.name, ended, text, tail(string(raw)), tail(p.read(p.stderr)))
		}
		time.Sleep(pollEvery)
	}
}

// kill is the death that nobody can prepare for.
func (p *process) kill(t testing.TB) {
	t.Helper()
	must(t, p.cmd.Process.Kill())
	p.wait(t)
}

// stop is the orderly end, which must succeed.
func (p *process) stop(t testing.TB) {
	t.Helper()
	p.term(t)
	if code := p.wait(t); code != 0 {
		t.Errorf("%s exited with %d after SIGTERM:\n%s", p.name, code, tail(p.read(p.stderr)))
	}
}

func (p *process) term(t testing.TB) {
	t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		t.Fatal(err)
	}
}

// wait returns the exit code, -1 for a signal.
func (p *process) wait(t testing.TB) int {
	t.Helper()
	select {
	case <-p.done:
	case <-time.After(patience):
		t.Fatalf("%s does not end:\n%s", p.name, tail(p.read(p.stderr)))
	}
	return p.cmd.ProcessState.ExitCode()
}
