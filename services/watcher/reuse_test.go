package watcher

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/services/api"
	"github.com/hermes-serverless/hermes/services/watcher/sandbox"
)

func reuse(r *api.RunRequest) { r.Request.ReuseSandbox = true }

// start places a run, and returns the claim of its attempt.
func (w *world) start(artifact events.Blob, change ...func(*api.RunRequest)) (api.RunRequest, api.Claim) {
	w.t.Helper()
	r := w.request(artifact)
	for _, c := range change {
		c(&r)
	}
	w.place(r)
	return r, next(w.t, "claim", w.claims)
}

// sandboxes waits until there are as many.
func (w *world) sandboxes(n int) {
	w.t.Helper()
	w.eventually("as many sandboxes as expected", func() bool { return w.box.count() == n })
}

func TestReuse(t *testing.T) {
	w := newWorld(t, func(o *Options) { o.Warm = 8 })
	stop := w.watch()
	artifact := w.function("echo hello; exit $1", 0o755)
	run := func(want string, change ...func(*api.RunRequest)) {
		t.Helper()
		r, claim := w.start(artifact, append([]func(*api.RunRequest){reuse}, change...)...)
		report := next(t, "report", w.reports)
		if stdout, _, _ := w.output(r); report.Reason != "" && report.Reason != events.ReasonExit || stdout != "hello\n" {
			t.Errorf("report %+v, output %q", report, stdout)
		}
		if claim.Sandbox != want {
			t.Errorf("the sandbox is %s, want %s", claim.Sandbox, want)
		}
	}
	run("cold")
	for range 3 {
		run("reused")
	}
	run("reused", func(r *api.RunRequest) { r.Request.Args = []string{"3"} })
	run("reused") // the exit of the one before was its own
	w.sandboxes(1)
	for name, change := range map[string]func(*api.RunRequest){
		"another user":    func(r *api.RunRequest) { r.Owner = "bob" },
		"other limits":    func(r *api.RunRequest) { r.Request.Limits.PIDs++ },
		"another version": func(r *api.RunRequest) { r.Request.Function.Version = "1.0.1" },
		"no reuse":        func(r *api.RunRequest) { r.Request.ReuseSandbox = false },
	} {
		t.Log(name)
		run("cold", change)
	}
	w.sandboxes(5) // the spare of the last one, too
	run("reused")
	if err := stop(); err != nil {
		t.Error(err)
	}
	w.sandboxes(0)
}

// A sandbox in which not all went as it should is not used again.
func TestNoReuseAfterTrouble(t *testing.T) {
	w := newWorld(t, func(o *Options) { o.Warm = 8 })
	w.watch()
	for name, c := range map[string]struct {
		script string
		change func(*api.RunRequest)
		then   func(api.RunRequest)
	}{
		"timeout":      {"sleep 1000", func(r *api.RunRequest) { r.Request.Limits.TimeoutMillis = 50 }, nil},
		"output limit": {"yes", func(r *api.RunRequest) { r.Request.Limits.OutputBytes = 1000 }, nil},
		"no handler":   {"true", func(r *api.RunRequest) { r.Request.Handler = "none" }, nil},
		"cancelled":    {"sleep 1000", nil, func(r api.RunRequest) { w.cancel(r) }},
		"not renewed":  {"true", nil, nil},
	} {
		artifact := w.function(c.script, 0o755)
		changes := []func(*api.RunRequest){reuse}
		if c.change != nil {
			changes = append(changes, c.change)
		}
		w.box.failRenew(name == "not renewed")
		r, claim := w.start(artifact, changes...)
		if c.then != nil {
			c.then(r)
		}
		next(t, "report", w.reports)
		w.box.failRenew(false)
		r = w.request(w.function("true", 0o755))
		r.Request.ReuseSandbox, r.Request.Source = true, artifact
		w.place(r)
		again := next(t, "claim", w.claims)
		w.cancel(r)
		next(t, "report", w.reports)
		if claim.Sandbox != "cold" || again.Sandbox == "reused" {
			t.Errorf("%s: the sandbox is %s, and then %s", name, claim.Sandbox, again.Sandbox)
		}
	}
}

// What is running when its version changes is not used again either.
func TestNoReuseOfAVersionThatChanged(t *testing.T) {
	w := newWorld(t, func(o *Options) { o.Warm = 8 })
	w.watch()
	gate := filepath.Join(w.dir, "gate")
	artifact := w.function("while [ ! -e "+gate+" ]; do sleep 0.01; done", 0o755)
	blocked, _ := w.start(artifact, reuse)
	single := w.request(w.function("true", 0o755))
	w.place(single)
	next(t, "report of the other", w.reports)
	w.sandboxes(2) // one runs, and a spare of the other waits
	w.says("L", 1, "1.0.0")
	w.sandboxes(1)
	if err := os.WriteFile(gate, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if report := next(t, "report", w.reports); report.Outcome != api.Succeeded || report.ID != blocked.ID {
		t.Errorf("report %+v", report)
	}
	w.sandboxes(0)
}

func TestOrdinaryEnds(t *testing.T) {
	for name, e := range map[string]ending{
		"cancelled": {cause: cancelled}, "stuck": {stuck: true}, "no handler": {failure: failuref(events.ReasonHandler, "none")},
		"memory": {exit: sandbox.Exit{OOM: true}}, "processes": {exit: sandbox.Exit{PIDsLimit: true}},
	} {
		if e.ordinary() {
			t.Errorf("%s is ordinary", name)
		}
	}
	for name, e := range map[string]ending{"success": {}, "code": {exit: sandbox.Exit{Code: 3}}, "crash": {exit: sandbox.Exit{Code: 139, Signal: 11}}} {
		if !e.ordinary() {
			t.Errorf("%s is not ordinary", name)
		}
	}
}
