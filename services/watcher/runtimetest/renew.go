package runtimetest

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hermes-serverless/hermes/services/watcher/sandbox"
)

// newRenewable makes a sandbox for an empty function that can be renewed.
func (s suite) newRenewable(t *testing.T) sandbox.Sandbox {
	t.Helper()
	spec := specOf(sandbox.Run, functionDir(t, nil))
	spec.Renewable = true
	return s.create(t, spec)
}

func renewedAgain(t *testing.T, s suite) {
	box := s.newRenewable(t)
	for range 3 {
		p := shell(t, box, "cat; pwd -P; exit 3")
		_, err := p.stdin.WriteString("in ")
		must(t, err)
		wantExit(t, p.wait(t), 3, 0)
		if s.opts.Isolated {
			wantText(t, "stdout", p.stdout.String(), "in "+sandbox.FunctionDir+"\n")
		}
		must(t, box.Renew(newContext(t)))
		if exit, err := box.Wait(newContext(t)); err == nil {
			t.Errorf("wait for what ran before: %+v and no error", exit)
		}
		if !box.Alive() {
			t.Error("the renewed sandbox is gone")
		}
	}
	must(t, box.Renew(newContext(t)))
}

func renewRefused(t *testing.T, s suite) {
	if err := s.newRun(t).Renew(newContext(t)); err == nil {
		t.Error("a sandbox that is not renewable was renewed")
	}
	box := s.newRenewable(t)
	p := shell(t, box, "read line")
	if err := box.Renew(newContext(t)); !errors.Is(err, sandbox.ErrBusy) {
		t.Errorf("renewed while a command runs: %v, want ErrBusy", err)
	}
	_ = p.wait(t)
	must(t, box.Renew(newContext(t)))
	must(t, box.Remove(newContext(t)))
	if err := box.Renew(newContext(t)); !errors.Is(err, sandbox.ErrGone) {
		t.Errorf("renewed after its removal: %v, want ErrGone", err)
	}
}

// renewClearsFiles: links are removed and not followed, and no mode keeps a file.
func renewClearsFiles(t *testing.T, s suite) {
	outside := filepath.Join(t.TempDir(), "file")
	must(t, os.WriteFile(outside, []byte("kept"), 0o666))
	box := s.newRenewable(t)
	for _, dir := range []string{"/tmp", "/dev/shm"} {
		p := shell(t, box, "cd "+dir+` && mkdir -p a/b/c .hidden '
 x' && echo x >a/b/c/file && echo x >.hidden/file && ln a/b/c/file hard &&
			ln -s `+outside+" link && ln -s "+filepath.Dir(outside)+" a/dir && ln -s / a/b/root && mkfifo fifo && chmod 000 a/b/c/file a/b/c a &&"+
			` printf x >"$(printf 'not\377text')" && echo x >file && exec 9<file && rm file`)
		wantExit(t, p.wait(t), 0, 0)
	}
	must(t, box.Renew(newContext(t)))
	p := shell(t, box, "find /tmp /dev/shm; find /tmp /dev/shm -maxdepth 0 -perm 1777 | wc -l")
	wantExit(t, p.wait(t), 0, 0)
	wantText(t, "what is left", p.stdout.String(), "/tmp\n/dev/shm\n2\n")
	text, err := os.ReadFile(outside)
	must(t, err)
	wantText(t, "a file of the host", string(text), "kept")
}

func renewEndsProcesses(t *testing.T, s suite) {
	box := s.newRenewable(t)
	p := shell(t, box, "(trap '' TERM HUP; while :; do echo more; sleep 0.01; done) & setsid sleep 1000 & echo done")
	wantExit(t, p.wait(t), 0, 0)
	must(t, box.Renew(newContext(t)))
	p = shell(t, box, "for d in /proc/[0-9]*; do cat $d/comm; done; ls -l /proc/self/fd | grep -c pipe")
	wantExit(t, p.wait(t), 0, 0)
	for _, left := range []string{"sleep", "more"} {
		if strings.Contains(p.stdout.String(), left) {
			t.Errorf("%s is left: %q", left, p.stdout)
		}
	}
}

// renewCountsAnew: what a command took is not the next one's.
func renewCountsAnew(t *testing.T, s suite) {
	box := s.newRenewable(t)
	heavy := shell(t, box, "head -c 64M /dev/zero | tail | wc -c; head -c 12M /dev/zero >/tmp/file").wait(t)
	if heavy.Usage.PeakMemoryBytes < 64<<20 || heavy.Usage.CPU <= 0 {
		t.Fatalf("the first took %+v", heavy.Usage)
	}
	must(t, box.Renew(newContext(t)))
	light := shell(t, box, "exit 0").wait(t)
	if light.Usage.PeakMemoryBytes > 8<<20 || light.Usage.CPU >= heavy.Usage.CPU {
		t.Errorf("the first took %+v, the second %+v", heavy.Usage, light.Usage)
	}
	must(t, box.Renew(newContext(t)))
	exit := shell(t, box, "head -c 512M /dev/zero | tail >/dev/null; true").wait(t)
	if !exit.OOM {
		t.Fatalf("exit is %+v, want OOM", exit)
	}
	must(t, box.Renew(newContext(t)))
	if exit = shell(t, box, "exit 0").wait(t); exit.OOM || exit.PIDsLimit || exit.Usage.PeakMemoryBytes > 8<<20 {
		t.Errorf("exit after an OOM: %+v", exit)
	}
	must(t, box.Renew(newContext(t)))
	again := shell(t, box, "head -c 64M /dev/zero | tail | wc -c").wait(t)
	if again.Usage.PeakMemoryBytes < 60<<20 {
		t.Errorf("as much again counts %d bytes", again.Usage.PeakMemoryBytes)
	}
}
