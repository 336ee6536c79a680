package api

import (
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

// TestTurns: one who asks without end has so much at work, so much waiting, and no more, and holds nobody
// else up.
func TestTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		y := newTurns(bounds{all: 5, each: 2, waiting: 3, bytes: 10}, newPace(time.Second), asked)
		end := make(chan struct{})
		var mu sync.Mutex
		at := map[string]int{}
		ask := func(who string, bytes int) bool {
			return y.Take(who, bytes, func() {
				mu.Lock()
				at[who]++
				mu.Unlock()
				<-end
			})
		}
		taken := 0
		for range 100 {
			if ask("eve", 1) {
				taken++
			}
		}
		synctest.Wait()
		if at["eve"] != 2 || taken != 5 {
			t.Errorf("of one: %d at work, %d taken", at["eve"], taken)
		}
		if !ask("ana", 1) {
			t.Error("somebody else is refused")
		}
		synctest.Wait()
		if at["ana"] != 1 {
			t.Error("somebody else waits")
		}
		if !ask("bob", 100) || ask("bob", 1) {
			t.Error("bytes: one of any size, and nothing beside it that is at work or waits")
		}
		for _, each := range []struct {
			bytes int
			taken bool
		}{{4, true}, {4, true}, {4, false}, {2, true}} {
			if ask("cleo", each.bytes) != each.taken {
				t.Errorf("bytes: as many as may be, of what is at work and what waits together, and not %v", each)
			}
		}
		close(end)
		synctest.Wait()
		if at["eve"] != 5 || at["bob"] != 1 || at["cleo"] != 3 || len(y.callers) != 0 || y.running != 0 || len(y.next) != 0 {
			t.Errorf("in the end: %v, %d callers, %d running, %d waiting", at, len(y.callers), y.running, len(y.next))
		}
	})
}

// TestTurnsAreFair: whatever callers ask, all of it is done once, each caller's in order, never more than
// the bounds at once.
func TestTurnsAreFair(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		all := rapid.SampledFrom([]int{1, 3}).Draw(t, "all")
		each := min(all, 2)
		y := newTurns(bounds{all: all, each: each, waiting: 1000, bytes: 1 << 20}, newPace(time.Second), asked)
		type started struct {
			who string
			n   int
		}
		var mu sync.Mutex
		var order []started
		running := map[string]int{}
		var ends []chan struct{}
		begun := make(chan struct{}, 1000)
		asked := map[string]int{}
		steps := rapid.IntRange(1, 60).Draw(t, "steps")
		for range steps {
			who := fmt.Sprint("user", rapid.IntRange(0, 3).Draw(t, "who"))
			s := started{who, asked[who]}
			asked[who]++
			end := make(chan struct{})
			y.Take(who, 1, func() {
				mu.Lock()
				order = append(order, s)
				ends = append(ends, end)
				running[who]++
				total := 0
				for _, n := range running {
					total += n
				}
				if running[who] > each || total > all {
					t.Errorf("at work: %v", running)
				}
				mu.Unlock()
				begun <- struct{}{}
				<-end
				mu.Lock()
				running[who]--
				mu.Unlock()
			})
		}
		for done := 0; done < steps; done++ {
			<-begun
			mu.Lock()
			end := ends[0]
			ends = ends[1:]
			mu.Unlock()
			close(end)
		}
		mu.Lock()
		defer mu.Unlock()
		seen := map[string]int{}
		for _, s := range order {
			// Those that begin at once may be told in any order.
			if all == 1 && s.n != seen[s.who] {
				t.Fatalf("out of order: %v", order)
			}
			seen[s.who]++
		}
		for who, n := range asked {
			if seen[who] != n {
				t.Fatalf("%s asked %d times, and %d were done", who, n, seen[who])
			}
		}
	})
}

// TestTurnsGoRound: of those who wait, each is next in turn, however much one of them asks.
func TestTurnsGoRound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		y := newTurns(bounds{all: 1, each: 1, waiting: 1000, bytes: 1 << 20}, newPace(time.Second), asked)
		end := make(chan struct{})
		y.Take("eve", 0, func() { <-end })
		order := ""
		for _, who := range []string{"e", "e", "e", "e", "a", "a", "b"} {
			y.Take(who, 0, func() { order += who })
		}
		close(end)
		synctest.Wait()
		if order != "eabeaee" {
			t.Errorf("the order is %s", order)
		}
	})
}
