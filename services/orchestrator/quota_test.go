package orchestrator

import (
	"flag"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/hermes-serverless/hermes/projections/quotas"
)

// quotaHistories is how many are checked, however few the others are.
const quotaHistories = "10000"

// TestQuotasHoldInEveryHistory: through whatever happens, no decision takes a user over the quota that
// they have at that moment, the fold's figures are those of a recount of the log, and when everything
// has ended nothing is in use.
func TestQuotasHoldInEveryHistory(t *testing.T) {
	checks := flag.Lookup("rapid.checks")
	before := checks.Value.String()
	if err := checks.Value.Set(quotaHistories); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = checks.Value.Set(before) }()
	met, histories := map[string]int{}, 0
	rapid.Check(t, func(t *rapid.T) {
		histories++
		h := newQuotaHistory(t, met)
		acts := []func(){
			h.request, h.request, h.request, h.request, h.plan, h.plan, h.claim, h.claim, h.report, h.report, h.lose, h.takeBack, h.cancel, h.giveUp,
			h.deploy, h.build, func() { h.remove(h.user()) }, func() { h.limits[h.user()] = h.drawLimits() }, h.again, h.pass, h.pass,
		}
		for range h.int("acts", 5, 50) {
			act := h.int("act", 0, 3*len(acts)-1)
			acts[act%len(acts)]()
			if act < len(acts) { // it is the dearest part
				h.check()
			}
		}
		h.endAll()
		h.check()
		h.now = h.now.Add(24 * time.Hour)
		for _, user := range quotaUsers {
			if left := h.book.Use(user, h.now); left != (quotas.Amounts{}) {
				t.Fatalf("everything has ended, and %s uses %v", user, left)
			}
		}
		if len(h.leader.held) > 0 || len(h.leader.execs) > 0 {
			t.Fatalf("everything has ended, and the leader knows %d executions and %d places", len(h.leader.execs), len(h.leader.held))
		}
	})
	if histories < 10_000 {
		t.Errorf("only %d histories", histories)
	}
	for _, f := range quotas.All() {
		var want []string
		switch f {
		case quotas.Concurrent, quotas.CPU, quotas.Memory, quotas.GPUs, quotas.GPUTime, quotas.Output:
			want = append(want, "waited for "+f.String())
		}
		switch f {
		case quotas.Queued, quotas.Stored, quotas.CPU, quotas.Memory, quotas.GPUs, quotas.GPUTime, quotas.Output:
			want = append(want, "refused by "+f.String())
		}
		for _, what := range want {
			if met[what] == 0 {
				t.Errorf("no history %s", what)
			}
		}
	}
	t.Logf("%d histories: %v", histories, met)
}

// check compares the fold with the recount.
func (h *quotaHistory) check() {
	for _, user := range quotaUsers {
		if want, got := h.recount(user), h.book.Use(user, h.now); got != want {
			h.Fatalf("the fold of %s differs from the recount:\n%s", user, cmp.Diff(want, got))
		}
	}
}
