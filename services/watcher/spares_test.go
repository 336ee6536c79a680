package watcher

import (
	"testing"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/services/api"
)

func TestWarm(t *testing.T) {
	w := newWorld(t, func(o *Options) { o.Warm = 8 })
	stop := w.watch()
	artifact := w.function("echo hello", 0o755)
	run := func(change ...func(*api.RunRequest)) api.Claim {
		t.Helper()
		r := w.request(artifact)
		for _, c := range change {
			c(&r)
		}
		w.place(r)
		if report := next(t, "report", w.reports); report.Outcome != api.Succeeded {
			t.Errorf("report %+v", report)
		}
		if stdout, _, _ := w.output(r); stdout != "hello\n" {
			t.Errorf("output %q", stdout)
		}
		return next(t, "claim", w.claims)
	}
	spares := func(n int) {
		t.Helper()
		// The sandbox of the run before may still be there, but does not wait for the next.
		w.eventually("as many spare sandboxes as expected", func() bool {
			return w.box.count() == n && w.watcher.Stats().Sandboxes.Waiting == n
		})
	}
	if claim := run(); claim.Sandbox != "cold" {
		t.Errorf("the first run says %q", claim.Sandbox)
	}
	spares(1)
	for range 3 {
		if claim := run(); claim.Sandbox != "warm" {
			t.Errorf("a later run says %q", claim.Sandbox)
		}
		spares(1)
	}
	for name, change := range map[string]func(*api.RunRequest){
		"another user":    func(r *api.RunRequest) { r.Owner = "bob" },
		"other limits":    func(r *api.RunRequest) { r.Request.Limits.PIDs++ },
		"another version": func(r *api.RunRequest) { r.Request.Function.Version = "1.0.1" },
		"a network":       func(r *api.RunRequest) { r.Request.Network = events.NetworkOutbound },
	} {
		if claim := run(change); claim.Sandbox != "cold" {
			t.Errorf("%s: the sandbox is %s", name, claim.Sandbox)
		}
	}
	spares(5)
	if err := stop(); err != nil {
		t.Error(err)
	}
	spares(0)
}
