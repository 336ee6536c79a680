package containerd

import (
	"context"
	"encoding/json"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hermes-serverless/hermes/services/watcher/sandbox"
)

// medians collects how long each of some phases took, and reports their medians in milliseconds.
type medians struct {
	phases map[string][]time.Duration
	at     time.Time
}

func newMedians() *medians { return &medians{phases: map[string][]time.Duration{}} }

func (m *medians) start() { m.at = time.Now() }

// end ends a phase and starts the next.
func (m *medians) end(phase string) {
	now := time.Now()
	m.phases[phase] = append(m.phases[phase], now.Sub(m.at))
	m.at = now
}

func (m *medians) report(b *testing.B) {
	for phase, took := range m.phases {
		slices.Sort(took)
		b.ReportMetric(float64(took[len(took)/2])/1e6, phase+"-ms")
	}
}

// BenchmarkLives takes turns, so that what else the machine does meets all alike: a fork and exec
// without a sandbox, plain runc with the same spec, and a sandbox from nothing.
//
//	go test -run - -bench Lives -benchtime 30x ./services/watcher/containerd
func BenchmarkLives(b *testing.B) {
	r := newRuntime(b)
	spec := testSpec("cold", sandbox.Run, newDir(b))
	m := newMedians()
	for b.Loop() {
		m.start()
		if err := exec.Command("/bin/true").Run(); err != nil {
			b.Fatal(err)
		}
		m.end("0-fork+exec")
		plainRunc(b, r, spec, m)
		coldPhases(b, r, spec, m)
		m.start()
		box, err := r.Create(b.Context(), spec)
		if err != nil {
			b.Fatal(err)
		}
		m.end("3-create")
		if text, _, err := run(box, "/bin/echo", "x"); err != nil || text != "x\n" {
			b.Fatal(text, err)
		}
		m.end("4-run")
		if err := box.Remove(b.Context()); err != nil {
			b.Fatal(err)
		}
		m.end("5-remove")
	}
	m.report(b)
}

// listening is a container that is not there yet, and where its init will connect.
func listening(b *testing.B, r *Runtime) (container, *net.UnixListener) {
	b.Helper()
	c, err := r.newContainer()
	if err != nil {
		b.Fatal(err)
	}
	if err := makeSocketDir(c); err != nil {
		b.Fatal(err)
	}
	listener, err := listen(c.dir)
	if err != nil {
		b.Fatal(err)
	}
	return c, listener
}

// plainRunc is what containerd cannot be faster than as long as it calls runc.
func plainRunc(b *testing.B, r *Runtime, spec sandbox.Spec, m *medians) {
	c, listener := listening(b, r)
	config, err := json.Marshal(r.ociSpec(spec, c))
	if err != nil {
		b.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(c.dir, "config.json"), config, 0o600); err != nil {
		b.Fatal(err)
	}
	m.start()
	if err := exec.Command(r.opts.Libexec.Runc, "--root", r.runcRoot(), "run", "--detach", "--bundle", c.dir, c.id).Run(); err != nil {
		b.Fatal(err)
	}
	l, err := accept(b.Context(), listener, c.firstID+nobody)
	if err != nil {
		b.Fatal(err)
	}
	m.end("1-runc-run")
	_ = l.conn.Close()
	if err := exec.Command(r.opts.Libexec.Runc, "--root", r.runcRoot(), "delete", "--force", c.id).Run(); err != nil {
		b.Fatal(err)
	}
	if err := r.removeContainer(context.Background(), c); err != nil {
		b.Fatal(err)
	}
	m.end("1-runc-delete")
}

// coldPhases does what Create does, step by step.
func coldPhases(b *testing.B, r *Runtime, spec sandbox.Spec, m *medians) {
	c, listener := listening(b, r)
	ctx, cancel := r.call(b.Context(), time.Minute)
	defer cancel()
	m.start()
	if err := r.define(ctx, spec, c, r.ociSpec(spec, c)); err != nil {
		b.Fatal(err)
	}
	m.end("2a-container")
	if err := r.startTask(ctx, c.id); err != nil {
		b.Fatal(err)
	}
	m.end("2b-start")
	l, err := accept(ctx, listener, c.firstID+nobody)
	if err != nil {
		b.Fatal(err)
	}
	m.end("2c-ready")
	_ = l.conn.Close()
	if err := r.deleteContainer(ctx, c.id); err != nil {
		b.Fatal(err)
	}
	m.end("2d-delete")
	if err := r.removeContainer(ctx, c); err != nil {
		b.Fatal(err)
	}
	m.end("2e-traces")
}

// BenchmarkSustained makes, uses and removes sandboxes, several at once as -cpu says.
//
//	go test -run - -bench Sustained -benchtime 60x -cpu 1,2,4 ./services/watcher/containerd
func BenchmarkSustained(b *testing.B) {
	r := newRuntime(b)
	dir := newDir(b)
	var number atomic.Int64
	b.RunParallel(func(pb *testing.PB) {
		spec := testSpec("sustained-"+string('a'+rune(number.Add(1))), sandbox.Run, dir)
		for pb.Next() {
			box, err := r.Create(context.Background(), spec)
			if err != nil {
				b.Error(err)
				return
			}
			if _, _, err := run(box, "/bin/true"); err != nil {
				b.Error(err)
			}
			if err := box.Remove(context.Background()); err != nil {
				b.Error(err)
			}
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "sandboxes/s")
}

func BenchmarkWarm(b *testing.B) {
	box := create(b, newRuntime(b), testSpec("warm", sandbox.Build, ""))
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		b.Fatal(err)
	}
	defer null.Close()
	cmd := sandbox.Command{Args: []string{"/bin/true"}, Stdin: null, Stdout: null, Stderr: null}
	for b.Loop() {
		if err := box.Start(b.Context(), cmd); err != nil {
			b.Fatal(err)
		}
		if _, err := box.Wait(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}
