package main

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func newTestBench(t *testing.T) *bench {
	b := &bench{dir: t.TempDir()}
	b.report.begin()
	return b
}

func TestCommand(t *testing.T) {
	b := newTestBench(t)
	s, err := b.command(t.Context(), nil, "/bin/sh", "-c", "echo ok")
	if err != nil || s.first <= 0 || s.total < s.first {
		t.Errorf("%+v, %v", s, err)
	}
	if _, err := b.command(t.Context(), nil, "/bin/sh", "-c", "echo other"); err == nil || !strings.Contains(err.Error(), `"other\n"`) {
		t.Errorf("another output: %v", err)
	}
	if _, err := b.command(t.Context(), nil, "/bin/sh", "-c", "echo why >&2; exit 3"); err == nil || !strings.Contains(err.Error(), "exit status 3: why") {
		t.Errorf("a failure: %v", err)
	}
	if left, _ := filepath.Glob(b.dir + "/*"); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestAWayThatFailsIsLeftOut(t *testing.T) {
	b := newTestBench(t)
	b.rounds = 3
	bad := 0
	b.compare(t.Context(), []way{
		{name: "good", once: func(context.Context) (sample, error) { return sample{total: time.Millisecond, sandbox: "warm"}, nil }},
		{name: "bad", once: func(context.Context) (sample, error) { bad++; return sample{}, errors.New("broken") }},
	})
	if len(b.report.samples["good, warm"]) != 3 || bad != 1 || len(b.report.Skipped) != 1 || b.report.Skipped[0] != (skipped{"bad", "broken"}) {
		t.Errorf("%+v, %d calls", b.report, bad)
	}
}

func TestStopsInReverse(t *testing.T) {
	b := newTestBench(t)
	var order []string
	for _, name := range []string{"first", "second"} {
		b.later(func() error { order = append(order, name); return errors.New(name) })
	}
	if err := b.close(); strings.Join(order, " ") != "second first" || err == nil || err.Error() != "second\nfirst" {
		t.Errorf("%v, %v", order, err)
	}
}

func TestEditSpec(t *testing.T) {
	file := filepath.Join(t.TempDir(), "config.json")
	write := func(text string) {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(`{"process": {"terminal": true, "args": ["sh"], "cwd": "/"}, "linux": {"namespaces": []}}`)
	if err := editSpec(file, "/group"); err != nil {
		t.Fatal(err)
	}
	raw, _ := os.ReadFile(file)
	var spec struct {
		Process struct {
			Terminal bool
			Args     []string
			Cwd      string
		}
		Linux struct{ CgroupsPath string }
	}
	if err := json.Unmarshal(raw, &spec); err != nil || spec.Process.Terminal || spec.Process.Args[0] != "/probe" || spec.Process.Cwd != "/" || spec.Linux.CgroupsPath != "/group" {
		t.Errorf("%s, %v", raw, err)
	}
	write(`{}`)
	if err := editSpec(file, "/group"); err == nil {
		t.Error("an empty one is accepted")
	}
}

// samplesOf are runs of which half take total and half a tenth more.
func samplesOf(total, handler time.Duration) []sample {
	return []sample{{first: total / 2, total: total, handler: handler}, {first: total, total: total + total/10, handler: handler}}
}

func TestVerdicts(t *testing.T) {
	r := report{samples: map[string][]sample{
		forkExecName:       samplesOf(time.Millisecond, 0),
		sshKeptName:        samplesOf(10*time.Millisecond, 0),
		apiName + warm:     samplesOf(6*time.Millisecond, 1200*time.Microsecond),
		apiName + cold:     samplesOf(90*time.Millisecond, time.Millisecond),
		commandName + warm: samplesOf(27*time.Millisecond, time.Millisecond),
	}}
	r.Rates = []rate{{Way: apiName, Clients: 1, PerSecond: 15}, {Way: apiName, Clients: 4, PerSecond: 25}, {Way: forkExecName, Clients: 4, PerSecond: 900}, {Way: reuseName, Clients: 8, PerSecond: 299}}
	r.Bulk = []bulk{{commandName, 10 * mib, 0.1}, {sshKeptName, 10 * mib, 0.01}}
	r.Lines = []lines{{commandName, newQuantiles([]time.Duration{500 * time.Microsecond})}}
	r.Fresh = []process{{"hermesd up", 50 * mib}, {"hermesd containerd", 29 * mib}}
	r.Warm = []process{{"hermesd up", 250 * mib}, {"hermes-init", 51 * mib}}
	r.ReadyMillis = 700
	r.judge()
	want := map[string]string{
		"handler in a warm sandbox, start to end, p50":             "met",
		"warm run through the API, p50":                            "met",
		"warm run through the API, p99":                            "met",
		"warm run through the API, against " + sshKeptName:         "met",
		"warm run through the API, against " + srunName:            "not measured: no srun",
		"warm run through the API, against " + podmanName:          "not measured: no podman run",
		"warm run by the command, p50":                             "missed",
		"cold run through the API, p50":                            "missed",
		"single-use runs a second":                                 "met",
		"runs a second with reuse":                                 "missed",
		"10 MiB of output to a file":                               "missed",
		"a printed line at the client, p50":                        "met",
		"idle instance before the first run, PSS of all processes": "met",
		"idle instance after the last run, PSS of all processes":   "not measured: no process",
		"instance with 100 warm sandboxes, PSS of all processes":   "missed",
		"hermesd up until ready":                                   "met",
	}
	for _, b := range r.Budgets {
		if want[b.Figure] != b.Verdict {
			t.Errorf("%s: measured %s, budget %s: %s, want %s", b.Figure, b.Measured, b.Budget, b.Verdict, want[b.Figure])
		}
		delete(want, b.Figure)
	}
	if len(want) > 0 {
		t.Errorf("not judged: %v", want)
	}
	if r.Ways[0].Way != forkExecName || r.Ways[0].Ratio != 1 || r.way(sshKeptName).Ratio != 10 {
		t.Errorf("%+v", r.Ways)
	}
	var out strings.Builder
	r.print(&out)
	if !strings.Contains(out.String(), "10.00 ms") {
		t.Errorf("printed\n%s", out.String())
	}
}

// TestNothingMeasured: each budget has a verdict all the same, and the report can be written.
func TestNothingMeasured(t *testing.T) {
	b := newTestBench(t)
	b.report.judge()
	for _, budget := range b.report.Budgets[:len(b.report.Budgets)-1] {
		if !strings.HasPrefix(budget.Verdict, "not measured: no ") {
			t.Errorf("%+v", budget)
		}
	}
	if err := b.report.write(filepath.Join(b.dir, "out.json")); err != nil {
		t.Error(err)
	}
	b.report.print(&strings.Builder{})
}
