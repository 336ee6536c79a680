// Package pool keeps sandboxes ready for the executions that are to be expected, so that most of
// them start without waiting for a container.
//
// A sandbox is prepared for one key only (one user's one version with its limits). It is used once,
// unless its key says that it comes back. How many of a key wait is learnt from its demand: each
// start that found none asks for one more, and what a whole period did not need is taken away again,
// as the magazines of Bonwick and Adams ("Magazines and Vmem", USENIX 2001) give back what lies below
// their low-water mark.
package pool

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/hermes-serverless/hermes/services/watcher/sandbox"
)

// Ready is a sandbox in which nothing runs, and what goes back when it is gone.
type Ready struct {
	Box sandbox.Sandbox
	// Env is what the sandbox's base puts into the environment of its commands.
	Env     []string
	Release func()
	// Made is when it was made, Uses how often it has come back.
	Made time.Time
	Uses int
}

// Options of a pool. All but Log are required, but for what is Reused.
type Options[K comparable] struct {
	// Make prepares a sandbox. It must end when the context does, and leave nothing behind then.
	Make func(ctx context.Context, key K) (Ready, error)
	// Discard removes a sandbox that was not used. It is called from goroutines of the pool.
	Discard func(Ready)
	// Most bounds the sandboxes that wait or are being made, of all keys together, MostEach those
	// of one key. A pool with Most 0 never holds any.
	Most, MostEach int
	// Makers bounds the sandboxes that are made at once.
	Makers int
	// Reused says of a key that its sandboxes come back by Return; nil: none does.
	Reused func(key K) bool
	// MostUses and MostAge bound how often a sandbox is used, and how old it is when it is taken again.
	MostUses int
	MostAge  time.Duration
	// Idle is how long a key is remembered after its last use, and its last sandbox with it.
	Idle time.Duration
	Log  *slog.Logger
}

// Stats count since the pool's beginning, but for Waiting and Making, which are now.
type Stats struct {
	// Warm starts found a sandbox, Reused ones found one that had come back, Adopted ones took over
	// one that was being made, Cold ones found nothing.
	Warm, Reused, Adopted, Cold uint64
	// Made were prepared. Unused were thrown away although nothing had run in them, Worn after
	// something had.
	Made, Unused, Worn, Failed uint64
	Waiting, Making            int
}

// Pool holds sandboxes. All methods may be called from many goroutines.
type Pool[K comparable] struct {
	Options[K]
	life context.Context
	end  context.CancelFunc
	work sync.WaitGroup

	mu      sync.Mutex
	closed  bool
	shelves map[K]*shelf[K]
	// colds is how many cold starts are under way: little is made beside them.
	colds int
	// making is how many are being made, forgotten shelves' too.
	making int
	stats  Stats
}

// shelf is what there is for one key.
type shelf[K comparable] struct {
	key    K
	reused bool
	ready  []Ready // the oldest first
	// want is how many there should be: those that wait and, where they come back, those that are
	// out. low is the fewest that waited in this period.
	want, low   int
	making, out int
	// takers wait for one that is being made; at most as many as are. out counts them too.
	takers []chan Ready
	used   time.Time // last
	// colds is how many of its cold starts are under way, filled when one was last made for it.
	colds  int
	filled time.Time
}

// New starts a pool. Close ends it.
func New[K comparable](o Options[K]) *Pool[K] {
	p := &Pool[K]{Options: o, shelves: map[K]*shelf[K]{}}
	p.life, p.end = context.WithCancel(context.Background())
	p.work.Go(p.review)
	return p
}

// How a sandbox was come by.
type How string

const (
	Cold   How = "cold"   // it was not there when it was asked for
	Warm   How = "warm"   // it had been made ahead
	Reused How = "reused" // it had come back
)

// Taken is what a start was given. Its Box is nil if there was none: the caller makes its own.
type Taken[K comparable] struct {
	Ready
	How   How
	shelf *shelf[K] // until it is returned, if it is to be
}

// Take returns a sandbox for the key, and notes the demand. One that is being made is waited for.
// When there is none the caller makes its own and says so by Cold. What was taken for a key that is
// Reused ends with Return, also when nothing was found.
func (p *Pool[K]) Take(ctx context.Context, key K) *Taken[K] {
	p.mu.Lock()
	s := p.shelf(key)
	if s == nil {
		p.mu.Unlock()
		return &Taken[K]{How: Cold}
	}
	t := &Taken[K]{How: Cold}
	if s.reused {
		t.shelf = s
		s.out++
	}
	if r, ok := p.pop(s); ok {
		p.found(t, r)
		p.fillSoon()
		p.mu.Unlock()
		return t
	}
	p.wantMore(s)
	if len(s.takers) >= s.making {
		p.stats.Cold++
		p.mu.Unlock()
		return t
	}
	handed := make(chan Ready, 1)
	s.takers = append(s.takers, handed)
	p.stats.Adopted++
	p.mu.Unlock()
	t.Ready = p.await(ctx, s, handed)
	if t.Uses > 0 {
		t.How = Reused
	}
	return t
}

// wantMore learns from a start that found nothing.
func (p *Pool[K]) wantMore(s *shelf[K]) {
	more := s.want + 1
	if s.reused {
		more = max(s.want, s.out) // as many as are out at once are enough
	}
	s.want = min(more, p.MostEach)
}

// found notes what a start was given.
func (p *Pool[K]) found(t *Taken[K], r Ready) {
	t.Ready, t.How = r, Warm
	if r.Uses == 0 {
		p.stats.Warm++
		return
	}
	t.How = Reused
	p.stats.Reused++
}

// await waits for a sandbox that is being made, or comes back first, and gives up its place with the
// context.
func (p *Pool[K]) await(ctx context.Context, s *shelf[K], handed chan Ready) Ready {
	select {
	case r := <-handed:
		return r
	case <-ctx.Done():
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, taker := range s.takers {
		if taker == handed {
			s.takers = append(s.takers[:i], s.takers[i+1:]...)
			return Ready{}
		}
	}
	// It was handed over just now.
	if r, ok := <-handed; ok {
		p.throw(r)
	}
	return Ready{}
}

// Cold says that a sandbox is being made for a start that waits: until done is called (once) the
// pool makes none, which would only slow it down, but for other keys that have nothing at all: who
// starts without end must not keep the others cold.
func (p *Pool[K]) Cold(key K) (done func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.colds++
	s := p.shelves[key]
	if s != nil {
		s.colds++
	}
	return func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.colds--
		if s != nil {
			s.colds--
		}
		p.fillSoon()
	}
}

// Forget throws away what was prepared for the keys that match.
func (p *Pool[K]) Forget(match func(K) bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for key, s := range p.shelves {
		if match(key) {
			p.forget(s)
		}
	}
}

// Stats tells what the pool has done.
func (p *Pool[K]) Stats() Stats {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.stats
	for _, s := range p.shelves {
		now.Waiting += len(s.ready)
	}
	now.Making = p.making
	return now
}

// Close throws everything away and waits until it is gone. Take finds nothing any more.
func (p *Pool[K]) Close() {
	p.mu.Lock()
	p.closed = true
	for _, s := range p.shelves {
		p.forget(s)
	}
	p.mu.Unlock()
	p.end()
	p.work.Wait()
}

// shelf returns the key's shelf and notes its use, or nil when the pool keeps none. The caller
// holds mu, as everywhere below.
func (p *Pool[K]) shelf(key K) *shelf[K] {
	if p.closed || p.Most <= 0 || p.MostEach <= 0 {
		return nil
	}
	s := p.shelves[key]
	if s == nil {
		s = &shelf[K]{key: key, reused: p.Reused != nil && p.Reused(key)}
		p.shelves[key] = s
	}
	s.used = time.Now()
	return s
}

// pop takes the oldest that can be used; of those that come back the one that was used last, whose
// memory is the warmest.
func (p *Pool[K]) pop(s *shelf[K]) (Ready, bool) {
	for len(s.ready) > 0 {
		at := 0
		if s.reused {
			at = len(s.ready) - 1
		}
		r := s.ready[at]
		s.ready = slices.Delete(s.ready, at, at+1)
		s.low = min(s.low, len(s.ready))
		switch {
		case !r.Box.Alive():
			p.Log.Warn("a sandbox died while it waited", "sandbox", r.Box.ID())
		case !p.isOld(r):
			return r, true
		}
		p.throw(r)
	}
	return Ready{}, false
}

// forget drops a shelf: what is still being made for it will be thrown away.
func (p *Pool[K]) forget(s *shelf[K]) {
	delete(p.shelves, s.key)
	for _, r := range s.ready {
		p.throw(r)
	}
	s.ready = nil
	for _, taker := range s.takers {
		close(taker)
	}
	s.takers = nil
}

// throw removes a sandbox behind the caller's back.
func (p *Pool[K]) throw(r Ready) {
	if r.Uses == 0 {
		p.stats.Unused++
	} else {
		p.stats.Worn++
	}
	p.work.Go(func() { p.Discard(r) })
}
