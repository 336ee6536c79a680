package pool_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hermes-serverless/hermes/services/watcher/pool"
	"github.com/hermes-serverless/hermes/services/watcher/sandbox"
)

// box is a sandbox that only exists; what the pool does not call is not there.
type box struct {
	sandbox.Sandbox
	id   string
	key  string
	dead bool
}

func (b *box) ID() string  { return b.id }
func (b *box) Alive() bool { return !b.dead }

// factory makes boxes in the bubble's time and knows what became of each.
type factory struct {
	takes time.Duration

	mu        sync.Mutex
	fail      error
	made      []*box
	discarded map[*box]int
	making    int
	most      int // the most that were made at once
}

func (f *factory) make(ctx context.Context, key string) (pool.Ready, error) {
	f.mu.Lock()
	f.making++
	f.most = max(f.most, f.making)
	f.mu.Unlock()
	timer := time.NewTimer(f.takes)
	defer timer.Stop()
	var err error
	select {
	case <-timer.C:
	case <-ctx.Done():
		err = ctx.Err()
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.making--
	if err = errors.Join(err, f.fail); err != nil {
		return pool.Ready{}, err
	}
	return f.new(key), nil
}

// new makes a box at once. The caller holds mu.
func (f *factory) new(key string) pool.Ready {
	b := &box{id: fmt.Sprint(len(f.made)), key: key}
	f.made = append(f.made, b)
	return pool.Ready{Box: b, Release: func() {}, Made: time.Now()}
}

func (f *factory) discard(r pool.Ready) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.discarded[r.Box.(*box)]++
}

// makeTime is how long a sandbox takes, idle how long a key is remembered.
const (
	makeTime = 100 * time.Millisecond
	idle     = 10 * time.Minute
)

func newPool(change ...func(*pool.Options[string])) (*pool.Pool[string], *factory) {
	f := &factory{takes: makeTime, discarded: map[*box]int{}}
	o := pool.Options[string]{
		Make: f.make, Discard: f.discard, Most: 10, MostEach: 4, Makers: 2, Idle: idle, Log: slog.New(slog.DiscardHandler),
	}
	for _, c := range change {
		c(&o)
	}
	return pool.New(o), f
}

// run is a start as the watcher makes it: from the pool, or on its own.
func run(t *testing.T, p *pool.Pool[string], key string) (warm bool) {
	t.Helper()
	taken := p.Take(t.Context(), key)
	if taken.Box != nil {
		if b := taken.Box.(*box); b.key != key || b.dead {
			t.Errorf("box %+v for %s", b, key)
		}
		return taken.How == pool.Warm
	}
	done := p.Cold(key)
	time.Sleep(makeTime)
	done()
	return false
}

func in(t *testing.T, test func(t *testing.T)) {
	t.Helper()
	synctest.Test(t, test)
}

func waiting(t *testing.T, p *pool.Pool[string], want int) {
	t.Helper()
	synctest.Wait()
	if got := p.Stats(); got.Waiting != want || got.Making != 0 {
		t.Errorf("%d wait and %d are made, want %d and none", got.Waiting, got.Making, want)
	}
}

func TestTheSecondRunIsWarm(t *testing.T) {
	in(t, func(t *testing.T) {
		p, f := newPool()
		defer p.Close()
		if run(t, p, "a") {
			t.Error("the first run is warm")
		}
		time.Sleep(time.Second)
		waiting(t, p, 1)
		for range 3 {
			if !run(t, p, "a") {
				t.Error("a later run is cold")
			}
			time.Sleep(time.Second)
		}
		waiting(t, p, 1)
		if run(t, p, "b") {
			t.Error("another key's box was used")
		}
		time.Sleep(time.Second)
		waiting(t, p, 2)
		p.Close()
		if len(f.discarded) != 2 {
			t.Errorf("%d boxes were thrown away of %d", len(f.discarded), len(f.made))
		}
	})
}

func TestDemandIsLearntAndForgotten(t *testing.T) {
	in(t, func(t *testing.T) {
		p, _ := newPool()
		defer p.Close()
		var all sync.WaitGroup
		for range 6 {
			all.Go(func() { run(t, p, "a") })
		}
		all.Wait()
		time.Sleep(time.Second)
		waiting(t, p, 4) // MostEach
		for range 30 {
			time.Sleep(idle / 20)
			run(t, p, "a")
		}
		time.Sleep(time.Second)
		waiting(t, p, 1) // one at a time was enough
		time.Sleep(2 * idle)
		waiting(t, p, 0)
	})
}

func TestWhatIsBeingMadeIsTakenOver(t *testing.T) {
	in(t, func(t *testing.T) {
		p, f := newPool()
		defer p.Close()
		run(t, p, "a")
		time.Sleep(pool.Settle + makeTime/2)
		started := time.Now()
		if taken := p.Take(t.Context(), "a"); taken.Box == nil || taken.How != pool.Cold || time.Since(started) != makeTime/2 {
			t.Errorf("taken: %+v after %v", taken, time.Since(started))
		}
		if len(f.made) != 1 || p.Stats().Adopted != 1 {
			t.Errorf("%d were made; %+v", len(f.made), p.Stats())
		}
	})
}

func TestWhoGoesAwayLeavesTheBoxToTheNext(t *testing.T) {
	in(t, func(t *testing.T) {
		p, _ := newPool()
		defer p.Close()
		run(t, p, "a")
		time.Sleep(pool.Settle)
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), makeTime/2)
		defer cancel()
		if p.Take(ctx, "a").Box != nil {
			t.Error("taken after its time")
		}
		time.Sleep(time.Second)
		waiting(t, p, 2) // it asked for one
	})
}

func TestAFailureIsNotRepeatedUnasked(t *testing.T) {
	in(t, func(t *testing.T) {
		p, f := newPool()
		defer p.Close()
		f.fail = errors.New("no space")
		run(t, p, "a")
		time.Sleep(pool.Settle)
		synctest.Wait()
		if p.Take(t.Context(), "a").Box != nil {
			t.Error("a box came out of a failure")
		}
		time.Sleep(idle / 2)
		if s := p.Stats(); s.Failed != 1 || s.Making != 0 {
			t.Errorf("%+v", s)
		}
		f.mu.Lock()
		f.fail = nil
		f.mu.Unlock()
		run(t, p, "a")
		time.Sleep(time.Second)
		waiting(t, p, 1)
	})
}

func TestNothingIsMadeBesideAColdStart(t *testing.T) {
	in(t, func(t *testing.T) {
		p, f := newPool()
		defer p.Close()
		run(t, p, "a")
		time.Sleep(time.Second)
		done := p.Cold("a")
		run(t, p, "a")
		time.Sleep(time.Second)
		if len(f.made) != 1 {
			t.Error("made beside a cold start")
		}
		done()
		time.Sleep(time.Second)
		waiting(t, p, 1)
	})
}

// TestWhoStartsWithoutEndKeepsNobodyCold: beside one key's cold starts, which never end, another that has
// nothing gets one, also when the pool is full of the first one's.
func TestWhoStartsWithoutEndKeepsNobodyCold(t *testing.T) {
	in(t, func(t *testing.T) {
		p, _ := newPool(func(o *pool.Options[string]) { o.Most, o.MostEach = 3, 3 })
		defer p.Close()
		for range 3 {
			done := p.Cold("flood") // three at once, so that it wants three
			p.Take(t.Context(), "flood")
			done()
		}
		time.Sleep(time.Second)
		waiting(t, p, 3)
		defer p.Cold("flood")()
		run(t, p, "quiet")
		time.Sleep(time.Second)
		if !run(t, p, "quiet") {
			t.Error("the other's second run is cold")
		}
	})
}

// TestWhoHasNothingWaitsForNoMaker: one is made at once for a key that has nothing, also when all makers
// are at work for another.
func TestWhoHasNothingWaitsForNoMaker(t *testing.T) {
	in(t, func(t *testing.T) {
		p, f := newPool(func(o *pool.Options[string]) { o.Makers, o.MostEach = 1, 4 })
		defer p.Close()
		for range 4 {
			p.Take(t.Context(), "flood")
		}
		run(t, p, "quiet")
		f.mu.Lock()
		f.takes = time.Hour // what is made for the flood from here on does not end
		f.mu.Unlock()
		time.Sleep(pool.Settle)
		p.Ended()
		synctest.Wait()
		if got := p.Stats().Making; got != 2 {
			t.Errorf("%d are made, of the flood's and the other's", got)
		}
	})
}

// TestTheNextIsMadeWhenARunHasEnded and not only when it would be under way.
func TestTheNextIsMadeWhenARunHasEnded(t *testing.T) {
	in(t, func(t *testing.T) {
		p, _ := newPool()
		defer p.Close()
		run(t, p, "a")
		time.Sleep(time.Second)
		if !run(t, p, "a") {
			t.Error("the second run is cold")
		}
		p.Ended()
		time.Sleep(makeTime)
		waiting(t, p, 1)
	})
}

func TestBounds(t *testing.T) {
	in(t, func(t *testing.T) {
		p, f := newPool(func(o *pool.Options[string]) { o.Most = 3 })
		defer p.Close()
		for i := range 5 {
			run(t, p, fmt.Sprint(i))
			time.Sleep(time.Second)
		}
		waiting(t, p, 3)
		for _, last := range []string{"2", "3", "4"} { // those used longest ago had to go
			if !run(t, p, last) {
				t.Errorf("%s is cold", last)
			}
			time.Sleep(time.Second)
		}
		synctest.Wait()
		if f.most > 2 {
			t.Errorf("%d were made at once", f.most)
		}
	})
	in(t, func(t *testing.T) {
		p, f := newPool(func(o *pool.Options[string]) { o.Most = 0 })
		defer p.Close()
		run(t, p, "a")
		run(t, p, "a")
		if time.Sleep(time.Second); len(f.made) > 0 {
			t.Error("a pool of none made one")
		}
	})
}

func TestTheDeadAreNotHandedOut(t *testing.T) {
	in(t, func(t *testing.T) {
		p, f := newPool()
		defer p.Close()
		run(t, p, "a")
		time.Sleep(time.Second)
		f.mu.Lock()
		f.made[0].dead = true
		f.mu.Unlock()
		if run(t, p, "a") {
			t.Error("a dead box was handed out")
		}
		synctest.Wait()
		if f.discarded[f.made[0]] != 1 {
			t.Error("the dead box was not removed")
		}
	})
}

func TestForget(t *testing.T) {
	in(t, func(t *testing.T) {
		p, f := newPool()
		defer p.Close()
		run(t, p, "a")
		run(t, p, "b")
		time.Sleep(time.Second)
		waiting(t, p, 2)
		run(t, p, "a")
		time.Sleep(pool.Settle + makeTime/2) // one for a is half made
		p.Forget(func(key string) bool { return key == "a" })
		time.Sleep(time.Second)
		waiting(t, p, 1)
		if f.discarded[f.made[len(f.made)-1]] != 1 {
			t.Error("what was being made was kept")
		}
		if run(t, p, "a") {
			t.Error("a forgotten key is warm")
		}
		if !run(t, p, "b") {
			t.Error("the other key was forgotten too")
		}
	})
}

// Whatever happens, each box is used once or thrown away once.
func TestNoBoxIsLostOrUsedTwice(t *testing.T) {
	for seed := range uint64(50) {
		in(t, func(t *testing.T) {
			p, f := newPool(func(o *pool.Options[string]) { o.Most = 5 })
			var mu sync.Mutex
			used := map[*box]bool{}
			var all sync.WaitGroup
			for client := range uint64(6) {
				all.Go(func() {
					rng := rand.New(rand.NewPCG(seed, client))
					for range 40 {
						time.Sleep(upTo(rng, 2*makeTime))
						if rng.IntN(20) == 0 {
							p.Forget(func(string) bool { return rng.IntN(2) == 0 })
						}
						ctx, cancel := context.WithTimeout(t.Context(), upTo(rng, 2*makeTime))
						taken := p.Take(ctx, string(rune('a'+rng.IntN(3))))
						cancel()
						if taken.Box == nil {
							done := p.Cold("a")
							time.Sleep(upTo(rng, makeTime))
							done()
							continue
						}
						mu.Lock()
						b := taken.Box.(*box)
						if used[b] {
							t.Errorf("seed %d: box %s was handed out twice", seed, b.id)
						}
						used[b] = true
						mu.Unlock()
					}
				})
			}
			all.Wait()
			p.Close()
			for _, b := range f.made {
				if used[b] != (f.discarded[b] == 0) || f.discarded[b] > 1 {
					t.Errorf("seed %d: box %s: used %t, thrown away %d times", seed, b.id, used[b], f.discarded[b])
				}
			}
			if s := p.Stats(); s.Waiting != 0 || s.Making != 0 || int(s.Made) != len(f.made) {
				t.Errorf("seed %d: %+v, %d made", seed, s, len(f.made))
			}
		})
	}
}

func upTo(rng *rand.Rand, most time.Duration) time.Duration {
	return time.Duration(rng.Int64N(int64(most)))
}
