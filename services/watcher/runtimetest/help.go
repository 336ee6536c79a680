package runtimetest

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/hermes-serverless/hermes/services/watcher/sandbox"
)

var specNumber atomic.Int64

// limits are generous enough for a shell and small enough for a busy machine.
func limits() sandbox.Limits {
	return sandbox.Limits{MemoryBytes: 128 << 20, CPUs: 1, PIDs: 64, TmpBytes: 16 << 20}
}

// resultsBytes is the size of the folder of results of a sandbox for a run.
const resultsBytes = 4 << 20

func specOf(kind sandbox.Kind, dir string) sandbox.Spec {
	spec := sandbox.Spec{
		ID: fmt.Sprintf("test-%d-%d", os.Getpid(), specNumber.Add(1)), Kind: kind, Base: "host",
		Dir: dir, WorkBytes: 16 << 20, Limits: limits(),
	}
	if kind == sandbox.Run {
		spec.Limits.ResultsBytes = resultsBytes
	}
	return spec
}

// functionDir is a folder with these executable files. It can be read by everybody.
func functionDir(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for _, folder := range []string{dir, filepath.Join(dir, "bin")} {
		must(t, os.MkdirAll(folder, 0o755))
		must(t, os.Chmod(folder, 0o755))
	}
	for name, text := range files {
		must(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o755))
		must(t, os.Chmod(filepath.Join(dir, name), 0o755))
	}
	return dir
}

// create makes a sandbox that is removed at the test's end.
func (s suite) create(t *testing.T, spec sandbox.Spec) sandbox.Sandbox {
	t.Helper()
	return createOn(t, s.runtime, spec)
}

func createOn(t *testing.T, r sandbox.Runtime, spec sandbox.Spec) sandbox.Sandbox {
	t.Helper()
	box, err := r.Create(newContext(t), spec)
	if err != nil {
		t.Fatalf("create: %v", err)
	}
	t.Cleanup(func() {
		if err := box.Remove(context.Background()); err != nil {
			t.Errorf("remove: %v", err)
		}
	})
	if box.ID() != spec.ID {
		t.Errorf("id is %q, want %q", box.ID(), spec.ID)
	}
	if (box.Work() != nil) != (spec.Kind == sandbox.Build) {
		t.Errorf("work folder of kind %s is %v", spec.Kind, box.Work())
	}
	return box
}

// newRun makes a sandbox for an empty function.
func (s suite) newRun(t *testing.T) sandbox.Sandbox {
	t.Helper()
	return s.create(t, specOf(sandbox.Run, functionDir(t, nil)))
}

// process is a started command with its streams.
type process struct {
	box    sandbox.Sandbox
	stdin  *os.File
	stdout *stream
	stderr *stream
}

// stream collects what a pipe delivers.
type stream struct {
	mu   sync.Mutex
	text bytes.Buffer
	more chan struct{} // gets a value now and then when something came
	done chan struct{}
}

func collect(from *os.File) *stream {
	s := &stream{more: make(chan struct{}, 1), done: make(chan struct{})}
	go func() {
		defer close(s.done)
		defer from.Close()
		buffer := make([]byte, 64<<10)
		for {
			n, err := from.Read(buffer)
			s.mu.Lock()
			s.text.Write(buffer[:n])
			s.mu.Unlock()
			select {
			case s.more <- struct{}{}:
			default:
			}
			if err != nil {
				return
			}
		}
	}()
	return s
}

func (s *stream) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

// waitFor waits until the stream holds a text.
func (s *stream) waitFor(t *testing.T, text string) {
	t.Helper()
	ctx := newContext(t)
	for !strings.Contains(s.String(), text) {
		select {
		case <-s.more:
		case <-ctx.Done():
			t.Fatalf("no %q in the output %q", text, s)
		}
	}
}

// end waits until the pipe is at its end.
func (s *stream) end(t *testing.T) string {
	t.Helper()
	select {
	case <-s.done:
	case <-newContext(t).Done():
		t.Fatalf("the pipe does not come to its end; it gave %q", s)
	}
	return s.String()
}

// start starts a command and fails the test when it does not start.
func start(t *testing.T, box sandbox.Sandbox, env []string, args ...string) *process {
	t.Helper()
	p, err := tryStart(t, box, env, args...)
	if err != nil {
		t.Fatalf("start %.80q: %v", args, err)
	}
	return p
}

func tryStart(t *testing.T, box sandbox.Sandbox, env []string, args ...string) (*process, error) {
	t.Helper()
	inRead, inWrite := pipe(t)
	outRead, outWrite := pipe(t)
	errRead, errWrite := pipe(t)
	err := box.Start(newContext(t), sandbox.Command{Args: args, Env: env, Stdin: inRead, Stdout: outWrite, Stderr: errWrite})
	for _, f := range []*os.File{inRead, outWrite, errWrite} {
		must(t, f.Close())
	}
	p := &process{box: box, stdin: inWrite, stdout: collect(outRead), stderr: collect(errRead)}
	t.Cleanup(func() { _ = inWrite.Close() })
	return p, err
}

// shell starts a script.
func shell(t *testing.T, box sandbox.Sandbox, script string) *process {
	t.Helper()
	return start(t, box, []string{"PATH=/usr/bin:/bin"}, "sh", "-c", script)
}

// wait closes stdin and waits for the command and the ends of its pipes.
func (p *process) wait(t *testing.T) sandbox.Exit {
	t.Helper()
	_ = p.stdin.Close()
	exit, err := p.box.Wait(newContext(t))
	if err != nil {
		t.Fatalf("wait: %v (stderr %q)", err, p.stderr)
	}
	p.stdout.end(t)
	p.stderr.end(t)
	return exit
}

// feed writes all of content to stdin and closes it.
func (p *process) feed(content io.Reader) <-chan error {
	done := make(chan error, 1)
	go func() {
		_, err := io.Copy(p.stdin, content)
		_ = p.stdin.Close()
		done <- err
	}()
	return done
}

func (p *process) signal(t *testing.T, signal syscall.Signal) {
	t.Helper()
	must(t, p.box.Signal(newContext(t), signal))
}

func wantExit(t *testing.T, got sandbox.Exit, code int, signal syscall.Signal) {
	t.Helper()
	if got.Code != code || got.Signal != signal {
		t.Errorf("exit is code %d signal %d, want code %d signal %d (%+v)", got.Code, got.Signal, code, signal, got)
	}
}

func wantText(t *testing.T, what, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("%s is %.300q (%d bytes), want %.300q (%d bytes)", what, got, len(got), want, len(want))
	}
}

func pipe(t *testing.T) (read, write *os.File) {
	t.Helper()
	read, write, err := os.Pipe()
	must(t, err)
	return read, write
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
