package runtimetest

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/hermes-serverless/hermes/services/watcher/sandbox"
)

func workingDir(t *testing.T, s suite) {
	for _, spec := range []sandbox.Spec{specOf(sandbox.Run, functionDir(t, nil)), specOf(sandbox.Build, "")} {
		p := start(t, s.create(t, spec), nil, "/bin/pwd", "-P")
		wantExit(t, p.wait(t), 0, 0)
		wantText(t, "working directory", p.stdout.String(), sandbox.FunctionDir+"\n")
	}
}

func runIsReadOnly(t *testing.T, s suite) {
	dir := functionDir(t, map[string]string{"file": "kept"})
	p := shell(t, s.create(t, specOf(sandbox.Run, dir)), "cat file; echo new >new || rm -f file || chmod 777 file || mkdir x || touch .")
	if exit := p.wait(t); exit.Code == 0 {
		t.Errorf("something could be changed: %+v", exit)
	}
	wantText(t, "file", p.stdout.String(), "kept")
	if _, err := os.Stat(filepath.Join(dir, "new")); err == nil {
		t.Error("the function's folder was written to")
	}
}

// buildSequence: what one command leaves is there for the next, and for the host.
func buildSequence(t *testing.T, s suite) {
	box := s.create(t, specOf(sandbox.Build, ""))
	must(t, box.Work().WriteFile("in", []byte("one"), 0o644))
	for _, script := range []string{"cat in >out", "printf two >>out", "printf three >>out"} {
		wantExit(t, shell(t, box, script).wait(t), 0, 0)
	}
	got, err := box.Work().ReadFile("out")
	must(t, err)
	wantText(t, "out", string(got), "onetwothree")
}

// hostFilesAreOwned: a bundle that the host unpacked can be changed by its build.
func hostFilesAreOwned(t *testing.T, s suite) {
	box := s.create(t, specOf(sandbox.Build, ""))
	work := box.Work()
	must(t, work.MkdirAll("a/b", 0o755))
	must(t, work.WriteFile("a/b/file", []byte("old"), 0o644))
	must(t, work.Symlink("/etc/passwd", "a/link"))
	p := shell(t, box, "echo new >a/b/file && echo x >a/b/more && rm a/link && chmod 700 a/b")
	exit := p.wait(t)
	wantExit(t, exit, 0, 0)
	wantText(t, "stderr", p.stderr.String(), "")
	must(t, work.WriteFile("a/b/later", []byte("x"), 0o600))
	wantExit(t, shell(t, box, "rm -r a").wait(t), 0, 0)
}

func buildIsLimited(t *testing.T, s suite) {
	box := s.create(t, specOf(sandbox.Build, ""))
	p := shell(t, box, "head -c 64M /dev/zero >big")
	if exit := p.wait(t); exit.Code == 0 {
		t.Errorf("64 MiB fit in a folder of 16 MiB: %+v", exit)
	}
	info, err := box.Work().Stat("big")
	must(t, err)
	if info.Size() > 16<<20 {
		t.Errorf("the file has %d bytes, want at most 16 MiB", info.Size())
	}
	p = shell(t, box, "rm big && echo x >small && i=0; while echo >n$i; do i=$((i+1)); done; [ $i -gt 1000 ] && [ $i -lt 1000000 ]")
	wantExit(t, p.wait(t), 0, 0)
}
