package runtimetest

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/hermes-serverless/hermes/services/watcher/sandbox"
)

// leaving starts a script that finds its folder of results in a variable, as the watcher sets it.
func leaving(t *testing.T, box sandbox.Sandbox, script string) *process {
	t.Helper()
	return start(t, box, []string{"PATH=/usr/bin:/bin", "HERMES_RESULTS=" + sandbox.ResultsDir}, "sh", "-c", `cd "$HERMES_RESULTS" && `+script)
}

// openResults opens what a command has left, which must be something.
func openResults(t *testing.T, box sandbox.Sandbox) *os.Root {
	t.Helper()
	root, err := box.Results()
	must(t, err)
	if root == nil {
		t.Fatal("nothing is seen of what was left")
	}
	t.Cleanup(func() { _ = root.Close() })
	return root
}

func wantNoResults(t *testing.T, when string, box sandbox.Sandbox) {
	t.Helper()
	root, err := box.Results()
	must(t, err)
	if root != nil {
		_ = root.Close()
		t.Errorf("%s there are results", when)
	}
}

// resultsAreSeen: what a command leaves is there when it has ended, however that was.
func resultsAreSeen(t *testing.T, s suite) {
	box := s.newRun(t)
	wantNoResults(t, "before the first command", box)
	wantExit(t, leaving(t, box, "true").wait(t), 0, 0)
	wantNoResults(t, "when nothing was left", box)
	p := leaving(t, box, "mkdir a && echo one >a/one && echo more; read line")
	p.stdout.waitFor(t, "more")
	if root, err := box.Results(); !errors.Is(err, sandbox.ErrBusy) {
		t.Errorf("results while a command runs: %v, %v, want ErrBusy", root, err)
	}
	wantExit(t, p.wait(t), 1, 0)
	text, err := openResults(t, box).ReadFile("a/one")
	must(t, err)
	wantText(t, "what was left", string(text), "one\n")
	wantExit(t, leaving(t, box, "echo two >two; kill -KILL $$").wait(t), 128+9, 9)
	if _, err := openResults(t, box).ReadFile("two"); err != nil {
		t.Errorf("what a killed command left: %v", err)
	}
}

func noFolderOfResults(t *testing.T, s suite) {
	spec := specOf(sandbox.Run, functionDir(t, nil))
	spec.Limits.ResultsBytes = 0
	box := s.create(t, spec)
	wantExit(t, shell(t, box, "exit 0").wait(t), 0, 0)
	wantNoResults(t, "without a folder of results", box)
	build := specOf(sandbox.Build, "")
	wantNoResults(t, "of a build", s.create(t, build))
	build.Limits.ResultsBytes = 1 << 20
	if box, err := s.runtime.Create(newContext(t), build); err == nil {
		_ = box.Remove(newContext(t))
		t.Error("a build got a folder of results")
	}
}

// resultsLeadNowhere: no name in the folder leads the host out of it.
func resultsLeadNowhere(t *testing.T, s suite) {
	outside := filepath.Join(t.TempDir(), "file")
	must(t, os.WriteFile(outside, []byte("secret"), 0o644))
	box := s.newRun(t)
	wantExit(t, leaving(t, box, "ln -s "+outside+" file && ln -s "+filepath.Dir(outside)+" dir && ln -s / root && ln -s ../.. up && mkfifo fifo && echo kept >kept").wait(t), 0, 0)
	root := openResults(t, box)
	for _, name := range []string{"file", "dir/file", "root/etc/passwd", "up/etc/passwd", "../etc/passwd", "/etc/passwd"} {
		if text, err := root.ReadFile(name); err == nil {
			t.Errorf("%s leads to %q", name, text)
		}
	}
	if _, err := root.ReadFile("kept"); err != nil {
		t.Error(err)
	}
}

func resultsAreCleared(t *testing.T, s suite) {
	box := s.newRenewable(t)
	for range 2 {
		wantExit(t, leaving(t, box, "ls -A; mkdir -p a/b && echo x >a/b/file && echo x >.hidden && ln -s / link && chmod 000 a/b").wait(t), 0, 0)
		_ = openResults(t, box)
		must(t, box.Renew(newContext(t)))
		wantNoResults(t, "after a renewal", box)
	}
	p := leaving(t, box, "ls -A")
	wantExit(t, p.wait(t), 0, 0)
	wantText(t, "what is left of the runs before", p.stdout.String(), "")
}

// resultsAreLimited: the folder takes so much and no more, and what is full is named.
func resultsAreLimited(t *testing.T, s suite) {
	box := s.newRun(t)
	exit := leaving(t, box, "head -c 64M /dev/zero >large").wait(t)
	if exit.Full.Path != sandbox.ResultsDir || exit.Full.Bytes != resultsBytes {
		t.Errorf("exit %+v: the folder of results is not full", exit)
	}
	info, err := openResults(t, box).Stat("large")
	must(t, err)
	if info.Size() > resultsBytes || info.Size() == 0 {
		t.Errorf("%d bytes were left", info.Size())
	}
	p := leaving(t, box, `rm large
mknod dev c 1 3 || echo no device
cp /bin/sh sh && test -f sh && ! ./sh -c true && echo nothing executes
i=0; while [ $i -lt 20000 ] && true >$i; do i=$((i+1)); done; [ $i -lt 20000 ] && echo too many files`)
	wantExit(t, p.wait(t), 0, 0)
	wantText(t, "what is refused", p.stdout.String(), "no device\nnothing executes\ntoo many files\n")
	_, err = openResults(t, box).Stat("dev")
	if !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a device was made: %v", err)
	}
}
