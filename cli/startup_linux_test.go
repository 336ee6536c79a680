package cli

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

// BenchmarkStartup starts, in turn, `hermes --version`, a Go program that does nothing and
// /bin/true, and reports the median of each and what hermes takes in terms of the others. An
// iteration is one start of each:
//
//	go test ./cli -run '^$' -bench Startup -benchtime 200x
func BenchmarkStartup(b *testing.B) {
	dir := b.TempDir()
	empty := filepath.Join(dir, "empty.go")
	if err := os.WriteFile(empty, []byte("package main\n\nfunc main() {}\n"), 0o600); err != nil {
		b.Fatal(err)
	}
	programs := []struct {
		name string
		args []string
		took []time.Duration
	}{
		{name: "hermes", args: []string{goBuild(b, dir, "hermes", "./hermes"), "--version"}},
		{name: "empty-go", args: []string{goBuild(b, dir, "empty", empty)}},
		{name: "true", args: []string{"/bin/true"}},
	}
	for b.Loop() {
		for i := range programs {
			p := &programs[i]
			start := time.Now()
			if err := exec.Command(p.args[0], p.args[1:]...).Run(); err != nil {
				b.Fatal(err)
			}
			p.took = append(p.took, time.Since(start))
		}
	}
	hermes := median(programs[0].took)
	for _, p := range programs {
		b.ReportMetric(float64(median(p.took).Microseconds())/1000, p.name+"-ms")
	}
	for _, p := range programs[1:] {
		b.ReportMetric(float64(hermes)/float64(median(p.took)), "times-"+p.name)
	}
	b.ReportMetric(0, "ns/op") // of all three together: it says nothing
}

func goBuild(b *testing.B, dir, name, from string) string {
	b.Helper()
	program := filepath.Join(dir, name)
	if out, err := exec.Command("go", "build", "-o", program, from).CombinedOutput(); err != nil {
		b.Fatalf("go build %s: %v\n%s", from, err, out)
	}
	return program
}

func median(took []time.Duration) time.Duration {
	slices.Sort(took)
	return took[len(took)/2]
}
