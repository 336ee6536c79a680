package pool_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hermes-serverless/hermes/services/watcher/pool"
)

const (
	mostUses = 5
	mostAge  = time.Hour
)

// newReusing is a pool in which every box comes back.
func newReusing(change ...func(*pool.Options[string])) (*pool.Pool[string], *factory) {
	return newPool(append([]func(*pool.Options[string]){func(o *pool.Options[string]) {
		o.Reused, o.MostUses, o.MostAge = func(string) bool { return true }, mostUses, mostAge
	}}, change...)...)
}

func (f *factory) total() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.made)
}

func (f *factory) first() *box {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.made[0]
}

// thrown is how often a box was thrown away.
func (f *factory) thrown(b *box) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.discarded[b]
}

// use is a run as the watcher makes it, up to its end.
func use(t *testing.T, p *pool.Pool[string], f *factory, key string) (*pool.Taken[string], pool.Ready) {
	t.Helper()
	taken := p.Take(t.Context(), key)
	r := taken.Ready
	if r.Box == nil {
		done := p.Cold(key)
		time.Sleep(makeTime)
		f.mu.Lock()
		r = f.new(key)
		f.mu.Unlock()
		done()
	}
	if b := r.Box.(*box); b.key != key {
		t.Errorf("box %+v for %s", b, key)
	}
	return taken, r
}

// back returns a box, or throws it away.
func back(p *pool.Pool[string], f *factory, taken *pool.Taken[string], r pool.Ready, usable bool) bool {
	kept := p.Return(taken, r, usable)
	if !kept && r.Box != nil {
		f.discard(r)
	}
	return kept
}

func TestWhatComesBackIsTakenAgain(t *testing.T) {
	in(t, func(t *testing.T) {
		p, f := newReusing()
		defer p.Close()
		for i := range mostUses {
			taken, r := use(t, p, f, "a")
			if want := []pool.How{pool.Cold, pool.Reused}[min(i, 1)]; taken.How != want {
				t.Errorf("run %d is %s", i, taken.How)
			}
			time.Sleep(time.Second)
			if kept := back(p, f, taken, r, true); kept != (i < mostUses-1) {
				t.Errorf("after run %d: kept %t", i, kept)
			}
			if back(p, f, taken, pool.Ready{}, true) {
				t.Error("returned twice")
			}
		}
		if f.thrown(f.first()) != 1 {
			t.Error("a worn box is still there")
		}
		time.Sleep(time.Second)
		waiting(t, p, 1) // another was made behind it, and none before
		if s := p.Stats(); f.total() != 2 || s.Reused != mostUses-1 || s.Cold != 1 || s.Worn != 1 {
			t.Errorf("%d were made; %+v", f.total(), s)
		}
		if taken, _ := use(t, p, f, "a"); taken.How != pool.Warm {
			t.Errorf("a box that was made behind the others is %s", taken.How)
		}
	})
}

func TestABurstIsServedByAsManyAsRanAtOnce(t *testing.T) {
	in(t, func(t *testing.T) {
		p, f := newReusing(func(o *pool.Options[string]) { o.MostUses = 1000 })
		defer p.Close()
		for range 20 {
			var all sync.WaitGroup
			for range 3 {
				all.Go(func() {
					taken, r := use(t, p, f, "a")
					time.Sleep(time.Second)
					back(p, f, taken, r, true)
				})
			}
			all.Wait()
		}
		if waiting(t, p, 3); f.total() != 3 {
			t.Errorf("%d boxes were made for three at once", f.total())
		}
		for range 30 {
			time.Sleep(idle / 20)
			taken, r := use(t, p, f, "a")
			back(p, f, taken, r, true)
		}
		waiting(t, p, 1) // what was not needed any more is gone
		time.Sleep(2 * idle)
		waiting(t, p, 0)
	})
}

func TestWhatIsNotUsableIsNotKept(t *testing.T) {
	in(t, func(t *testing.T) {
		p, f := newReusing()
		defer p.Close()
		taken, r := use(t, p, f, "a")
		if back(p, f, taken, r, false) {
			t.Error("kept")
		}
		started := time.Now()
		time.Sleep(pool.Settle + makeTime/2)
		taken, r = use(t, p, f, "a") // takes over the one that is made in its place
		if taken.How != pool.Cold || time.Since(started) != pool.Settle+makeTime {
			t.Errorf("%s after %v", taken.How, time.Since(started))
		}
		back(p, f, taken, r, true)
		time.Sleep(time.Second)
		if waiting(t, p, 1); f.total() != 2 {
			t.Errorf("%d were made", f.total())
		}
	})
}

func TestTheOldAreNotTakenAgain(t *testing.T) {
	in(t, func(t *testing.T) {
		p, f := newReusing(func(o *pool.Options[string]) { o.Idle = 10 * mostAge })
		defer p.Close()
		taken, r := use(t, p, f, "a")
		time.Sleep(mostAge - time.Nanosecond)
		if !back(p, f, taken, r, true) {
			t.Fatal("not kept")
		}
		time.Sleep(time.Nanosecond)
		if taken, r = use(t, p, f, "a"); taken.How == pool.Reused || f.thrown(f.first()) != 1 {
			t.Errorf("an old box is %s", taken.How)
		}
		time.Sleep(mostAge)
		if back(p, f, taken, r, true) {
			t.Error("an old box came back")
		}
		time.Sleep(time.Second)
		taken, r = use(t, p, f, "a")
		back(p, f, taken, r, true)
		time.Sleep(3 * mostAge) // it waits, and is found by a review
		synctest.Wait()
		if f.thrown(r.Box.(*box)) != 1 {
			t.Error("an old box still waits")
		}
	})
}

func TestWhatWasForgottenMeanwhileDoesNotComeBack(t *testing.T) {
	in(t, func(t *testing.T) {
		p, f := newReusing()
		defer p.Close()
		taken, r := use(t, p, f, "a")
		other, ready := use(t, p, f, "b")
		p.Forget(func(key string) bool { return key == "a" })
		again, fresh := use(t, p, f, "a") // the key is known again, and means something else
		if back(p, f, taken, r, true) {
			t.Error("a forgotten box is back")
		}
		if !back(p, f, again, fresh, true) || !back(p, f, other, ready, true) {
			t.Error("a box that was not forgotten is not kept")
		}
		waiting(t, p, 2)
	})
}

func TestThereIsNoPlaceForMoreThanTheBounds(t *testing.T) {
	in(t, func(t *testing.T) {
		p, f := newReusing(func(o *pool.Options[string]) { o.Most, o.MostEach = 3, 2 })
		defer p.Close()
		var mine []func() bool
		for _, key := range []string{"a", "a", "a", "b", "c"} {
			taken, r := use(t, p, f, key)
			mine = append(mine, func() bool { return back(p, f, taken, r, true) })
			time.Sleep(time.Second)
		}
		var kept []bool
		for _, m := range mine {
			kept = append(kept, m())
			time.Sleep(time.Second)
		}
		if want := [5]bool{true, true, false, true, true}; [5]bool(kept) != want {
			t.Errorf("kept %v, want %v", kept, want)
		}
		waiting(t, p, 3) // one of a had to go for c
	})
	in(t, func(t *testing.T) {
		p, f := newReusing(func(o *pool.Options[string]) { o.Most = 0 })
		defer p.Close()
		if taken, r := use(t, p, f, "a"); back(p, f, taken, r, true) {
			t.Error("a pool of none keeps one")
		}
	})
}

func TestWhoWaitsGetsWhatComesBack(t *testing.T) {
	in(t, func(t *testing.T) {
		p, f := newReusing(func(o *pool.Options[string]) { o.MostUses = 1000 })
		defer p.Close()
		first, one := use(t, p, f, "a")
		second, two := use(t, p, f, "a")
		back(p, f, first, one, false)
		time.Sleep(pool.Settle + makeTime/2) // one is half made
		got := make(chan *pool.Taken[string], 1)
		go func() { got <- p.Take(t.Context(), "a") }()
		synctest.Wait()
		if !back(p, f, second, two, true) {
			t.Error("not kept")
		}
		if taken := <-got; taken.How != pool.Reused || taken.Box != two.Box || time.Since(two.Made) > pool.Settle+makeTime {
			t.Errorf("got %+v", taken)
		}
	})
}

// Whatever happens, no box is used by two at once, or again once it was to be thrown away, and each
// is thrown away once.
func TestNoBoxIsLostOrSharedThoughItComesBack(t *testing.T) {
	for seed := range uint64(50) {
		in(t, func(t *testing.T) {
			p, f := newReusing(func(o *pool.Options[string]) { o.Most, o.MostAge = 5, 20*makeTime })
			var mu sync.Mutex
			used := map[*box]int{}
			busy, gone := map[*box]bool{}, map[*box]bool{}
			var all sync.WaitGroup
			for client := range uint64(6) {
				all.Go(func() {
					rng := rand.New(rand.NewPCG(seed, client))
					for range 40 {
						time.Sleep(upTo(rng, makeTime))
						if rng.IntN(20) == 0 {
							p.Forget(func(string) bool { return rng.IntN(2) == 0 })
						}
						f.mu.Lock()
						f.fail = nil
						if rng.IntN(10) == 0 {
							f.fail = errors.New("no space")
						}
						f.mu.Unlock()
						key := string(rune('a' + rng.IntN(3)))
						ctx, cancel := context.WithTimeout(t.Context(), upTo(rng, 2*makeTime))
						taken := p.Take(ctx, key)
						cancel()
						r := taken.Ready
						if r.Box == nil && rng.IntN(2) == 0 {
							f.mu.Lock()
							r = f.new(key)
							f.mu.Unlock()
						}
						if r.Box == nil {
							back(p, f, taken, r, false)
							continue
						}
						b := r.Box.(*box)
						mu.Lock()
						used[b]++
						if busy[b] || gone[b] || used[b] > mostUses || (taken.How == pool.Reused) != (used[b] > 1) {
							t.Errorf("seed %d: box %s: busy %t, gone %t, used %d times, %s", seed, b.id, busy[b], gone[b], used[b], taken.How)
						}
						busy[b] = true
						mu.Unlock()
						time.Sleep(upTo(rng, makeTime))
						usable := rng.IntN(10) > 0
						mu.Lock()
						busy[b], gone[b] = false, !usable
						mu.Unlock()
						back(p, f, taken, r, usable)
					}
				})
			}
			all.Wait()
			p.Close()
			for _, b := range f.made {
				if f.discarded[b] != 1 {
					t.Errorf("seed %d: box %s was thrown away %d times", seed, b.id, f.discarded[b])
				}
			}
		})
	}
}
