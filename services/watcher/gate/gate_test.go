package gate_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hermes-serverless/hermes/services/watcher/gate"
)

// passages counts how often each of the owners' workers gets through in a second, each passage taking 10 ms.
func passages(t *testing.T, g *gate.Gate, workers map[string]int) map[string]int {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	through := make(chan string)
	running := 0
	for owner := range workers { // before anybody passes, so that nobody is alone at first
		g.Enter(owner)
		defer g.Leave(owner)
	}
	for owner, n := range workers {
		for range n {
			running++
			go func() {
				for g.Through(ctx, owner, func() error { time.Sleep(10 * time.Millisecond); return nil }) == nil && ctx.Err() == nil {
					through <- owner
				}
				through <- ""
			}()
		}
	}
	counts := map[string]int{}
	for running > 0 {
		if owner := <-through; owner == "" {
			running--
		} else {
			counts[owner]++
		}
	}
	return counts
}

// TestWhoIsAloneIsNotSlowedDown however much they do at once.
func TestWhoIsAloneIsNotSlowedDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		if got := passages(t, gate.New(7), map[string]int{"eve": 8}); got["eve"] < 700 {
			t.Errorf("%d passages of the 800 that there is time for", got["eve"])
		}
	})
}

// TestOwnersShare: each gets through one at a time with rests, and does not wait for the other.
func TestOwnersShare(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		got := passages(t, gate.New(3), map[string]int{"eve": 8, "ana": 1})
		// 10 ms and a rest of 30 are 25 a second; who looks again every 5 ms loses a little.
		for owner, n := range got {
			if n < 20 || n > 26 {
				t.Errorf("%s got through %d times", owner, n)
			}
		}
	})
}

// TestCompanyGoes: a while after the others have left, who stays is alone.
func TestCompanyGoes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := gate.New(1)
		g.Enter("eve")
		if g.IsShared("eve") {
			t.Error("shared with nobody")
		}
		g.Enter("ana")
		g.Enter("ana")
		g.Leave("ana")
		time.Sleep(time.Minute)
		if !g.IsShared("eve") {
			t.Error("ana is still here")
		}
		g.Leave("ana")
		if !g.IsShared("eve") {
			t.Error("ana has just left")
		}
		time.Sleep(6 * time.Second)
		if g.IsShared("eve") {
			t.Error("ana left long ago")
		}
		g.Leave("eve")
	})
}

// TestThroughEndsWithItsContext: who waits for a rest is let go, and has done nothing.
func TestThroughEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := gate.New(100)
		g.Enter("ana")
		defer g.Leave("ana")
		failed := errors.New("it failed")
		if err := g.Through(t.Context(), "eve", func() error { time.Sleep(time.Second); return failed }); err != failed {
			t.Errorf("the error of the work is %v", err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		err := g.Through(ctx, "eve", func() error { t.Error("it was done"); return nil })
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("the context's end is %v", err)
		}
	})
}
