package containerd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hermes-serverless/hermes/services/watcher/sandbox"
)

// TestEscape lets a hostile program (testdata/attacker) try every way out of a sandbox that we know of:
// as a handler, and as a build. Each attack first has to get through a sandbox without any layer of
// isolation, or it would show nothing. Then the layers are taken away one at a time, which tells the
// attacks that a single layer holds; and all but one, which tells the layers that hold an attack.
//
// docs/security.md says more. After an attack or a layer was added:
//
//	go test ./services/watcher/containerd -run TestEscape -update
func TestEscape(t *testing.T) {
	needContainers(t)
	s := newSuite(t)
	found := findings{
		full:    map[string]outcomes{"a run": s.attack(t, sandbox.Run), "a build": s.attack(t, sandbox.Build)},
		open:    s.attack(t, sandbox.Run, s.names(mountLayer)...),
		without: map[string]outcomes{},
		only:    map[string]outcomes{},
	}
	if s.runtime.opts.Libexec.Launch != "" {
		byRunc := s.startedByRunc(t)
		found.full["a run that runc starts"] = byRunc.attack(t, sandbox.Run)
		found.full["a build that runc starts"] = byRunc.attack(t, sandbox.Build)
	}
	for _, name := range s.names(mountLayer) {
		found.without[name] = s.attack(t, sandbox.Run, name)
		found.only[name] = s.attack(t, sandbox.Run, s.names(mountLayer, name)...)
	}
	found.only[mountLayer] = found.open
	// The most open of all makes its mounts in its containerd's namespace: it gets a containerd to itself.
	found.open = newBareSuite(t, s).attack(t, sandbox.Run, s.names()...)
	found.judge(t)
	found.publish(t)
}

// suite is what all attacks share.
type suite struct {
	arms    arms
	facts   []string
	runtime *Runtime
	folder  string
}

func newSuite(t *testing.T) *suite {
	t.Helper()
	s := &suite{arms: buildArms(t), runtime: newRuntime(t)}
	s.facts, s.folder = s.arms.bait(t, s.runtime), s.arms.folder(t)
	return s
}

// newBareSuite is the suite on a containerd of its own.
func newBareSuite(t *testing.T, s *suite) *suite {
	t.Helper()
	return s.on(t, supervise(t, filepath.Join(newDir(t), "c")).Address(), s.runtime.opts.Libexec)
}

// startedByRunc is the suite where runc itself starts the containers, as where hermes-launch is missing.
func (s *suite) startedByRunc(t *testing.T) *suite {
	t.Helper()
	libexec := s.runtime.opts.Libexec
	libexec.Launch = ""
	return s.on(t, s.runtime.opts.Address, libexec)
}

// on is the suite with another runtime.
func (s *suite) on(t *testing.T, address string, libexec Libexec) *suite {
	t.Helper()
	r, err := New(t.Context(), Options{Address: address, StateDir: newDir(t), Libexec: libexec})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(context.Background()); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return &suite{arms: s.arms, facts: s.facts, runtime: r, folder: s.folder}
}

// names are those of all layers but some.
func (s *suite) names(but ...string) []string {
	var names []string
	for _, l := range layers() {
		if !slices.Contains(but, l.name) {
			names = append(names, l.name)
		}
	}
	return names
}

// attack tries all attacks in a sandbox that lacks the given layers.
func (s *suite) attack(t *testing.T, kind sandbox.Kind, off ...string) outcomes {
	t.Helper()
	w := &weakening{off: off, arms: s.arms}
	s.runtime.weaken = w.apply
	defer func() { s.runtime.weaken = nil }()
	spec := testSpec(fmt.Sprintf("attacked-%s-%d", kind, time.Now().UnixNano()), kind, s.folder)
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	made, err := s.runtime.Create(ctx, spec)
	if err != nil {
		t.Fatalf("a sandbox without %v: %v", off, err)
	}
	b := made.(*box)
	defer func() {
		if err := b.Remove(context.Background()); err != nil {
			t.Error(err)
		}
	}()
	cmd := sandbox.Command{Args: []string{"./handler"}, Env: append(slices.Clone(s.facts), "HOST_BUILD=0", "HOST_CGROUP="+b.container.cgroup)}
	if kind == sandbox.Build {
		cmd = s.build(t, b, cmd)
	}
	text, err := runAttacker(ctx, b, cmd, w.lacks("descriptors"))
	if err != nil {
		t.Fatalf("a sandbox without %v: %v", off, err)
	}
	return parseOutcomes(t, text)
}

// build makes the attacker a build's: make runs it.
func (s *suite) build(t *testing.T, b *box, cmd sandbox.Command) sandbox.Command {
	t.Helper()
	program, err := os.ReadFile(s.arms.attacker)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(b.work.WriteFile("attacker", program, 0o755), b.work.WriteFile("Makefile", []byte("all:\n\t@./attacker\n"), 0o644)); err != nil {
		t.Fatal(err)
	}
	cmd.Args, cmd.Env = []string{"make"}, append(cmd.Env, "HOST_BUILD=1")
	return cmd
}

// runAttacker runs a command to its end and returns what it printed. Careless, it hands in a folder of the
// host and a terminal, which Start would refuse.
func runAttacker(ctx context.Context, b *box, cmd sandbox.Command, careless bool) (string, error) {
	out, output, err := os.Pipe()
	if err != nil {
		return "", err
	}
	defer out.Close()
	cmd.Stdout, cmd.Stderr = output, output
	closeAll := []io.Closer{output}
	if careless {
		master, slave, err := terminal()
		if err != nil {
			return "", err
		}
		defer master.Close()
		cmd.Stderr, closeAll = slave, append(closeAll, slave)
	}
	if cmd.Stdin, err = os.Open(map[bool]string{false: os.DevNull, true: "/"}[careless]); err != nil {
		return "", err
	}
	start := b.Start
	if careless {
		start = b.link.start
	}
	err = start(ctx, cmd)
	for _, f := range append(closeAll, cmd.Stdin) {
		_ = f.Close()
	}
	if err != nil {
		return "", err
	}
	deadline, _ := ctx.Deadline()
	_ = out.SetReadDeadline(deadline)
	text, err := io.ReadAll(out)
	if err != nil {
		return "", fmt.Errorf("%w after:\n%s", err, text)
	}
	exit, err := b.Wait(ctx)
	if err == nil && exit.Code != 0 {
		err = fmt.Errorf("the attacker ended with %+v", exit)
	}
	return string(text), err
}

// terminal is a pseudo terminal of the host.
func terminal() (master, slave *os.File, err error) {
	if master, err = os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0); err != nil {
		return nil, nil, err
	}
	number, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0)
	}
	if err == nil {
		slave, err = os.OpenFile(fmt.Sprint("/dev/pts/", number), os.O_RDWR|unix.O_NOCTTY, 0)
	}
	if err != nil {
		return nil, nil, errors.Join(err, master.Close())
	}
	return master, slave, nil
}

// outcome is how an attack went.
type outcome struct{ word, detail string }

const (
	reachedWord = "reached"
	heldWord    = "held"
	absentWord  = "absent"
)

type outcomes map[string]outcome

func (o outcomes) reached(name string) bool { return o[name].word == reachedWord }

func parseOutcomes(t *testing.T, text string) outcomes {
	t.Helper()
	list := outcomes{}
	for line := range strings.Lines(text) {
		fields := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		if len(fields) != 3 || !slices.Contains([]string{reachedWord, heldWord, absentWord}, fields[1]) {
			t.Fatalf("the attacker says %q in:\n%s", line, text)
		}
		if _, twice := list[fields[0]]; twice {
			t.Errorf("two attacks are called %s", fields[0])
		}
		list[fields[0]] = outcome{word: fields[1], detail: fields[2]}
	}
	return list
}
