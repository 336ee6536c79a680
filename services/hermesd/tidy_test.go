package main

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

func TestTidiness(t *testing.T) {
	const kib, mib = 1 << 10, 1 << 20
	var x tidiness
	now := uint64(0)
	for i, step := range []struct {
		allocated, held uint64
		due             bool
	}{
		{20 * mib, 5 * mib, false}, {100 * kib, 5 * mib, false}, {100 * kib, 5 * mib, true}, // the start
		{100 * kib, 5 * mib, false}, {100 * kib, 5 * mib, false}, // calm
		{4 * mib, 5 * mib, false}, {100 * kib, 5 * mib, false}, {100 * kib, 5 * mib, false}, {100 * kib, 5 * mib, false}, // too little
		{4 * mib, 5 * mib, false}, {100 * kib, 5 * mib, false}, {mib, 5 * mib, false}, {100 * kib, 5 * mib, false}, {0, 5 * mib, true}, // not calm yet, then calm
		{mib, 5 * mib, false}, {2 * mib, 5 * mib, false}, {3 * mib, 5 * mib, false}, {4 * mib, 5 * mib, false}, // busy
		{0, 40 * mib, false}, {0, 40 * mib, false}, {10 * mib, 40 * mib, false}, {0, 40 * mib, false}, {0, 40 * mib, true}, // much is held
	} {
		now += step.allocated
		if due := x.isDue(now, step.held); due != step.due {
			t.Errorf("step %d: %v, want %v", i, due, step.due)
		}
	}
}

func TestTidyMemoryEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { tidyMemory(ctx); close(ended) }()
		time.Sleep(10 * tidyEvery)
		cancel()
		<-ended
	})
}
