package containerd

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/hermes-serverless/hermes/services/watcher/sandbox"
)

func TestIDRanges(t *testing.T) {
	dir := t.TempDir()
	one, two := newRanges(t, dir), newRanges(t, dir)
	seen := map[uint32]bool{}
	for i := range 2*rangesPerBlock + 10 { // more than a block of each
		r := one
		if i%2 == 1 {
			r = two
		}
		first, err := r.take()
		if err != nil {
			t.Fatal(err)
		}
		if seen[first] || first < firstHostID || first%idsPerRange != 0 || uint64(first)+idsPerRange > 1<<31 {
			t.Fatalf("range %d is taken twice or is out of bounds", first)
		}
		seen[first] = true
	}
	first, _ := one.take()
	one.give(first)
	if again, _ := one.take(); again == first {
		t.Error("a range was used again at once")
	}
	// A process that is gone gives all of its blocks back.
	if err := two.close(); err != nil {
		t.Fatal(err)
	}
	if _, err := newRanges(t, dir).take(); err != nil {
		t.Error(err)
	}
}

func TestIDRangesEnd(t *testing.T) {
	r := newRanges(t, t.TempDir())
	for range idBlocks * rangesPerBlock {
		if _, err := r.take(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := r.take(); !errors.Is(err, errNoIDs) {
		t.Errorf("take: %v, want errNoIDs", err)
	}
}

func newRanges(t *testing.T, dir string) *idRanges {
	t.Helper()
	r, err := newIDRanges(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.close() })
	return r
}

func TestFindLibexec(t *testing.T) {
	first, second := t.TempDir(), t.TempDir()
	t.Setenv("PATH", t.TempDir())
	write := func(dir, name string, mode os.FileMode) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), nil, mode); err != nil {
			t.Fatal(err)
		}
	}
	write(first, InitName, 0o644) // not executable: not it
	write(second, InitName, 0o755)
	found, err := findLibexec([]string{first, second})
	if !errors.Is(err, ErrMissing) || !strings.Contains(err.Error(), RuncName) || strings.Contains(err.Error(), InitName) {
		t.Errorf("error is %v, want that runc alone is missing", err)
	}
	if found.Init != filepath.Join(second, InitName) {
		t.Errorf("found %+v", found)
	}
	write(os.Getenv("PATH"), RuncName, 0o755)
	found, err = findLibexec([]string{first, second})
	if err != nil || found.Runc != filepath.Join(os.Getenv("PATH"), RuncName) || found.Warning == "" {
		t.Errorf("runc of PATH: %+v, %v; want it with a warning", found, err)
	}
}

func TestStateDir(t *testing.T) {
	closed := t.TempDir() // below a folder that is its owner's alone
	if err := os.Chmod(filepath.Dir(closed), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := prepareStateDir(closed); err == nil || !strings.Contains(err.Error(), "chmod o+x") {
		t.Errorf("a state directory that containers cannot pass: %v", err)
	}
	if err := prepareStateDir("relative"); err == nil {
		t.Error("a relative state directory was accepted")
	}
}

func TestProtocol(t *testing.T) {
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	cmd := sandbox.Command{Args: []string{"a", ""}, Env: []string{"PATH=/p"}, Stdin: null, Stdout: null, Stderr: null}
	if got := string(stringsOf(cmd)); got != "/p\x00a\x00\x00PATH=/p\x00" {
		t.Errorf("strings are %q", got)
	}
	for size, inFile := range map[int]bool{10: false, inlineBytes + 1: true} {
		cmd.Args[1] = strings.Repeat("x", size)
		message, err := encodeStart(1, cmd)
		if err != nil {
			t.Fatal(err)
		}
		if (message.file != nil) != inFile || len(message.packet) > requestBytes+inlineBytes {
			t.Errorf("%d bytes: in a file is %v, packet of %d bytes", size, message.file != nil, len(message.packet))
		}
		message.close()
	}
	if _, err := decodeReply(make([]byte, replyBytes-1)); !errors.Is(err, errInitProtocol) {
		t.Errorf("a short reply: %v", err)
	}
}

func TestStartErrors(t *testing.T) {
	for want, at := range map[error]uint32{sandbox.ErrNotFound: atFind, sandbox.ErrNotExecutable: atExec, sandbox.ErrUnavailable: atFork, errInitProtocol: 99} {
		if err := startError(at, uint32(syscall.EIO)); !errors.Is(err, want) || !errors.Is(err, syscall.EIO) {
			t.Errorf("at %d: %v, want %v", at, err, want)
		}
	}
	if err := startError(atRequest, uint32(syscall.EBUSY)); !errors.Is(err, sandbox.ErrBusy) {
		t.Errorf("busy: %v", err)
	}
}

func TestField(t *testing.T) {
	const text = "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n"
	if field(text, "oom_kill") != 3 || field(text, "other") != 0 || field("", "x") != 0 {
		t.Error("fields are read wrongly")
	}
}

func TestGarbage(t *testing.T) {
	var g garbage
	g.add(container{id: "stays"})
	g.add(container{id: "goes"})
	remove := func(_ context.Context, c container) error {
		if c.id == "stays" {
			return errors.New("no")
		}
		return nil
	}
	if err := g.collect(t.Context(), remove); err == nil || len(g.list) != 1 || g.list[0].id != "stays" {
		t.Errorf("left %v, %v", g.list, err)
	}
}

// TestNoLeaks: a sandbox's life costs the watcher no descriptor and the machine no mount.
func TestNoLeaks(t *testing.T) {
	r := newRuntime(t)
	dir := newDir(t)
	life := func() {
		for _, spec := range []sandbox.Spec{testSpec("leak-run", sandbox.Run, dir), testSpec("leak-build", sandbox.Build, "")} {
			box, err := r.Create(t.Context(), spec)
			if err != nil {
				t.Fatal(err)
			}
			if text, _, err := run(box, "echo", "x"); err != nil || text != "x\n" {
				t.Fatal(text, err)
			}
			if err := box.Remove(context.Background()); err != nil {
				t.Fatal(err)
			}
		}
	}
	life() // the first opens what stays open: a block of ids, the poller
	files, mounts := descriptors(t), mountpoints(t)
	for range 3 {
		life()
	}
	if now := descriptors(t); now > files {
		t.Errorf("%d descriptors became %d", files, now)
	}
	if now := mountpoints(t); !slices.Equal(now, mounts) {
		t.Errorf("mounts %v became %v", mounts, now)
	}
	if left := present(t, r); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
}

func descriptors(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

func mountpoints(t *testing.T) []string {
	t.Helper()
	text, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	var points []string
	for line := range strings.Lines(string(text)) {
		points = append(points, strings.Fields(line)[4])
	}
	return points
}

// TestDyingThreads: the first thread never ends, so it must not enter a sandbox. A program that begins
// with one processor is still on it.
func TestDyingThreads(t *testing.T) {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), threadEnv+"=1", "GOMAXPROCS=1")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}

// threadEnv makes the test binary the program of TestDyingThreads.
const threadEnv = "HERMES_TEST_THREAD"

func dieOnThread() error {
	return onDyingThread(func() error {
		if unix.Gettid() == unix.Getpid() {
			return errors.New("on the first thread")
		}
		return nil
	})
}

func TestChildEnv(t *testing.T) {
	last := func(env []string, name string) (value string) {
		for _, each := range env {
			if n, v, _ := strings.Cut(each, "="); n == name {
				value = v
			}
		}
		return value
	}
	for processors, want := range map[int]string{1: "1", 2: "1", 3: "1", 4: "2", 8: "4", 128: "4"} {
		if env := childEnv([]string{"A=1"}, []string{"B=2"}, processors); last(env, "GOMAXPROCS") != want || last(env, "A") != "1" || last(env, "B") != "2" || last(env, ownMountsEnv) != "1" {
			t.Errorf("with %d processors: %v, want GOMAXPROCS=%s and the rest", processors, env, want)
		}
	}
	if env := childEnv([]string{"GOMAXPROCS=7"}, nil, 2); last(env, "GOMAXPROCS") != "7" {
		t.Errorf("the operator's wish is not heard: %v", env)
	}
}
