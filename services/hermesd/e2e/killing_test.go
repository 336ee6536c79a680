package e2e

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// death is a kill -9 of hermesd or of its containerd, when so many executions have ended.
type death struct {
	after      int32
	containerd bool
}

// planDeaths spreads kills over so many executions: one for each hundred, but of both kinds at
// least one. hermesd is the first to go and goes twice as often.
func planDeaths(executions int, seed uint64) []death {
	random := rand.New(rand.NewPCG(seed, 0))
	plan := make([]death, max(executions/100, 3))
	for i := range plan {
		plan[i].after = int32(executions/10 + random.IntN(executions*8/10))
	}
	slices.SortFunc(plan, func(a, b death) int { return int(a.after - b.after) })
	for i := range plan {
		plan[i].containerd = i%3 == 1
	}
	return plan
}

// killing is what happens to the server while executions run.
type killing struct {
	mu    sync.Mutex
	times []time.Time
	ended atomic.Int32
}

func (k *killing) note() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.times = append(k.times, time.Now())
}

// during says whether hermesd was killed between the two times.
func (k *killing) during(from, to time.Time) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, at := range k.times {
		if from.Before(at) && to.After(at) {
			return true
		}
	}
	return false
}

// await returns when so many have ended. It is patient as long as any ends: a machine may be slow.
func (k *killing) await(t *testing.T, ended int32) {
	t.Helper()
	for now := k.ended.Load(); now < ended; now = k.ended.Load() {
		eventually(t, fmt.Sprintf("one more ended of the %d, after %d", ended, now), func() bool { return k.ended.Load() > now })
	}
}
