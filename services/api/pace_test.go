package api

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

// TestPace: who asks without end is worked for at their part of the time while somebody else asks, and all
// the time when nobody does.
func TestPace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPace(200 * time.Millisecond)
		y := newTurns(bounds{all: 100, each: 2, waiting: 100_000, bytes: 1 << 30}, p, asked)
		var done atomic.Int64
		var over atomic.Bool
		var rest sync.WaitGroup
		for range 10_000 {
			rest.Add(1)
			y.Take("eve", 0, func() {
				defer rest.Done()
				if !over.Load() {
					time.Sleep(10 * time.Millisecond)
					done.Add(1)
				}
			})
		}
		time.Sleep(time.Second)
		if n := done.Load(); n < 190 {
			t.Errorf("alone: %d in a second, of the 200 that two at a time make", n)
		}
		ana := time.NewTicker(time.Second)
		defer ana.Stop()
		before := done.Load()
		for range 10 {
			asked, answered := time.Now(), make(chan struct{})
			y.Take("ana", 0, func() { time.Sleep(10 * time.Millisecond); close(answered) })
			<-answered
			if took := time.Since(asked); took > 11*time.Millisecond {
				t.Errorf("the other one waited for %s", took)
			}
			<-ana.C
		}
		// A fifth of the time is 20 a second.
		if n := done.Load() - before; n < 180 || n > 230 {
			t.Errorf("beside another: %d in ten seconds", n)
		}
		before = done.Load()
		time.Sleep(company + time.Second)
		if n := done.Load() - before; n < 190 {
			t.Errorf("alone again: %d", n)
		}
		over.Store(true)
		rest.Wait()
	})
}

// TestPaceHoldsInEveryHistory: however users ask, of each no more is begun than what was saved up and the
// part of the time, and nobody waits for ever.
func TestPaceHoldsInEveryHistory(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := newPace(100 * time.Millisecond)
		start := time.Unix(0, 0)
		now := start
		p.wait("other", now)
		spent := map[string]time.Duration{}
		for range rapid.IntRange(1, 200).Draw(t, "steps") {
			now = now.Add(time.Duration(rapid.IntRange(0, 500).Draw(t, "later")) * time.Millisecond)
			p.wait("other", now) // somebody else is always there
			who := fmt.Sprint("user", rapid.IntRange(0, 2).Draw(t, "who"))
			wait := p.wait(who, now)
			if wait > 2*mostCosts*10 {
				t.Fatalf("%s waits for %s", who, wait)
			}
			if wait == 0 {
				cost := time.Duration(rapid.IntRange(0, int(mostCosts/time.Millisecond)).Draw(t, "cost")) * time.Millisecond
				p.charge(who, cost, now)
				spent[who] += cost
			} else if now = now.Add(wait); p.wait(who, now) != 0 {
				t.Fatalf("%s waits longer than was said", who)
			}
			if most := paceSaved + mostCosts + now.Sub(start)/10 + time.Second; spent[who] > most {
				t.Fatalf("%s has had %s of %s", who, spent[who], most)
			}
		}
	})
}

// TestPaceForgets whom nobody has seen for long.
func TestPaceForgets(t *testing.T) {
	p := newPace(time.Millisecond)
	now := time.Unix(0, 0)
	for i := range 1000 {
		p.charge(fmt.Sprint("user", i), time.Second, now)
		now = now.Add(time.Second)
	}
	if n := len(p.users); n > 10 {
		t.Errorf("%d users are remembered", n)
	}
}
