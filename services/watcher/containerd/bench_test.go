package containerd

import (
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/hermes-serverless/hermes/services/watcher/sandbox"
)

// The three lives to compare: a fork and exec without a sandbox, a command in a sandbox that was
// prepared, and all of it from nothing.

func BenchmarkForkExec(b *testing.B) {
	for b.Loop() {
		if err := exec.Command("/bin/true").Run(); err != nil {
			b.Fatal(err)
		}
	}
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

func BenchmarkCold(b *testing.B) {
	r := newRuntime(b)
	spec := testSpec("cold", sandbox.Run, newDir(b))
	var created, ran, removed time.Duration
	for b.Loop() {
		at := time.Now()
		box, err := r.Create(b.Context(), spec)
		if err != nil {
			b.Fatal(err)
		}
		created += time.Since(at)
		at = time.Now()
		if text, _, err := run(box, "/bin/echo", "x"); err != nil || text != "x\n" {
			b.Fatal(text, err)
		}
		ran += time.Since(at)
		at = time.Now()
		if err := box.Remove(b.Context()); err != nil {
			b.Fatal(err)
		}
		removed += time.Since(at)
	}
	n := float64(b.N) * 1e6
	b.ReportMetric(float64(created)/n, "create-ms")
	b.ReportMetric(float64(ran)/n, "run-ms")
	b.ReportMetric(float64(removed)/n, "remove-ms")
}
