package e2e

import (
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/hermes-serverless/hermes/events"
)

// single is an instance on one machine: hermesd up.
type single struct {
	*user
	dir, address string
	flags        []string
	process      *process
}

// newSingle starts an instance in a folder of its own.
func newSingle(t *testing.T, flags ...string) *single {
	t.Helper()
	dir, address := newDataDir(t), newAddress(t)
	s := &single{
		user: newUser(t, "nats://"+address, filepath.Join(dir, "keys", "user.nk")), dir: dir, address: address,
		flags: append([]string{"up", "--user", userName, "--data-dir", dir, "--listen", address}, flags...),
	}
	s.up(t)
	return s
}

// up starts it, again, on what it has kept.
func (s *single) up(t *testing.T) {
	t.Helper()
	s.process = start(t, s.environment(), nil, programs.hermesd, s.flags...)
	s.process.waitFor(t, s.process.stdout, "hermesd is ready: nats://"+s.address+", context hermes-local (user "+userName+")\n")
}

// checkEnd stops the instance, all whose executions have ended, and looks at what it leaves.
func (s *single) checkEnd(t *testing.T) {
	t.Helper()
	s.process.stop(t)
	checkGone(t, s.dir)
}

// ownNice is the nice value of this process, which what it starts has too.
func ownNice(t *testing.T) int {
	t.Helper()
	got, err := unix.Getpriority(unix.PRIO_PROCESS, 0)
	must(t, err)
	return 20 - got // the kernel returns it so, for it is never negative
}

// checkPriority: hermesd goes before what functions compute, where it may, and was started like anything.
func checkPriority(t *testing.T, pid int) {
	t.Helper()
	other := exec.Command("sleep", "60")
	must(t, other.Start())
	defer func() { _ = other.Process.Kill(); _ = other.Wait() }()
	may := ownNice(t) == 0 && unix.Setpriority(unix.PRIO_PROCESS, other.Process.Pid, -1) == nil
	got, err := unix.Getpriority(unix.PRIO_PROCESS, pid)
	must(t, err)
	if nice := 20 - got; may != (nice < ownNice(t)) {
		t.Errorf("hermesd's nice value is %d; it may be raised: %t", nice, may)
	}
}

// TestUp is the life of functions on one machine.
func TestUp(t *testing.T) {
	needMachine(t)
	s := newSingle(t, "--slots", fmt.Sprint(slots), "--grace", "5s")
	w := world{s.user, s.connect(t)}
	checkPriority(t, s.process.cmd.Process.Pid)
	core(t, w)
	if !t.Failed() {
		t.Run("Vanished", func(t *testing.T) { vanished(t, w, s.dir) })
	}
	js := operator(t, s.url, filepath.Join(s.dir, "keys", "operator.nk"))
	checkLog(t, js)
	checkQueueEmpty(t, js)
	checkViews(t, s.user)
	s.checkEnd(t)
}

// vanished takes a handler away from the disk of the machine that runs it.
func vanished(t *testing.T, w world, dir string) {
	files := script("here", "cp run.sh vanishing && chmod +x vanishing")
	w.deploy(t, writeFunction(t, "vanishing", "vanishing", files, nil))
	w.check(t, "vanishing", "", result{stdout: "here\n"})
	removed := 0
	must(t, filepath.WalkDir(filepath.Join(dir, "watcher"), func(path string, entry fs.DirEntry, err error) error {
		if err == nil && entry.Name() == "vanishing" && entry.Type().IsRegular() {
			removed++
			err = os.Remove(path)
		}
		return err
	}))
	if removed != 1 {
		t.Fatalf("the handler was there %d times", removed)
	}
	r := w.hermes(t, nil, "function", "run", "vanishing")
	if e := w.find(t, "vanishing", ""); r.code != 127 || e.Reason != events.ReasonHandler || !strings.Contains(r.stderr, "handler") {
		t.Errorf("exit code %d, reason %q\n%s%s", r.code, e.Reason, r.stdout, r.stderr)
	}
}
