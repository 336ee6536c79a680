package e2e

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/projections/executions"
	"github.com/hermes-serverless/hermes/services/api"
)

// TestDrain stops an instance whose two slots are taken: by one execution that ends within the
// grace period and by one that does not. What is queued behind them runs after the next start.
func TestDrain(t *testing.T) {
	needMachine(t)
	s := newSingle(t, "--slots", "2", "--grace", "6s")
	w := world{s.user, s.connect(t)}
	w.deploy(t, writeActs(t, "acts", nil))
	short := api.ExecutionRef{ID: w.runAsync(t, "acts", "sleep 2500\n")}
	long := api.ExecutionRef{ID: w.runAsync(t, "acts", "heed\n")}
	w.awaitOutput(t, short, "begun\n")
	w.awaitOutput(t, long, "begun\n")
	seen := strings.Join(leftovers(t, s.dir), "\n")
	for _, what := range []string{"a container's state", "a cgroup", "a sandbox's folder", "a process of a container", "a mount"} {
		if !strings.Contains(seen, what) {
			t.Errorf("two containers run, but %s is not found; the check of what is left is blind", what)
		}
	}
	var queued []api.ExecutionRef
	for range 3 {
		queued = append(queued, api.ExecutionRef{ID: w.runAsync(t, "acts", "exit 0\n")})
	}
	s.process.stop(t)
	checkGone(t, s.dir)
	s.up(t)

	if e := await(t, w.client, short); e.Status != executions.Success {
		t.Errorf("within the grace period: %s %s %s", e.Status, e.Reason, e.Message)
	}
	if e := await(t, w.client, long); e.Status != executions.Error || e.Reason != events.ReasonShutdown || !strings.Contains(e.Message, "grace") {
		t.Errorf("past the grace period: %s %s %s", e.Status, e.Reason, e.Message)
	}
	for ref, want := range map[api.ExecutionRef]string{short: "begun\ndone\n", long: "begun\nheeded\n"} {
		o, err := tryOutput(w.client, ref.ID)
		must(t, err)
		if o.stdout != want {
			t.Errorf("printed %q, want %q", o.stdout, want)
		}
	}
	for _, ref := range queued {
		if e := await(t, w.client, ref); e.Status != executions.Success || e.Attempt != 1 {
			t.Errorf("queued over the restart: %s after %d attempts: %s", e.Status, e.Attempt, e.Message)
		}
	}
	js := operator(t, s.url, filepath.Join(s.dir, "keys", "operator.nk"))
	checkLog(t, js)
	checkQueueEmpty(t, js)
	checkViews(t, s.user)
	s.checkEnd(t)
}
