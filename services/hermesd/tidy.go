package main

import (
	"context"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

const (
	// tidyEvery is how often it is looked whether there is nothing to do.
	tidyEvery = time.Second
	// calmBytes is the most that a process allocates in that time when it only waits.
	calmBytes = 512 << 10
	// calmTimes is how often in a row that must be so.
	calmTimes = 2
	// tidyBytes is how much must have been allocated for it to be worth while; of a heap half as much as it
	// holds, so that looking through it costs no more than twice what it does anyway.
	tidyBytes = 8 << 20
)

// tidyMemory gives memory back to the machine whenever this process comes to rest, until the context
// ends. By itself Go would keep what was needed last, at the start or under load, for the next time.
func tidyMemory(ctx context.Context) {
	sample := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}, {Name: "/gc/heap/live:bytes"}}
	tick := time.NewTicker(tidyEvery)
	defer tick.Stop()
	var t tidiness
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if metrics.Read(sample); t.isDue(sample[0].Value.Uint64(), sample[1].Value.Uint64()) {
			debug.FreeOSMemory()
		}
	}
}

// tidiness is what has been seen of a process.
type tidiness struct {
	last, tidied uint64 // bytes allocated since the start of the process, at the last look and when it was tidied
	calm         int
}

// isDue is told, once in tidyEvery, how many bytes have been allocated until now and how many are held.
func (t *tidiness) isDue(allocated, held uint64) bool {
	if allocated-t.last > calmBytes {
		t.calm = 0
	} else {
		t.calm++
	}
	t.last = allocated
	if t.calm < calmTimes || allocated-t.tidied < max(tidyBytes, held/2) {
		return false
	}
	t.tidied = allocated
	return true
}
