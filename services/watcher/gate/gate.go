// Package gate lets who does much through a little at a time, while others use the machine too.
package gate

import (
	"context"
	"sync"
	"time"
)

const (
	// company is for how long a machine counts as shared with somebody who uses it no more. It is as long for
	// requests (services/api): docs/quotas.md tells users one figure.
	company = 5 * time.Second
	// tryAgain is when somebody looks again who waits for another passage of the same owner.
	tryAgain = 5 * time.Millisecond
)

// Gate slows down each owner's passages while others use the machine: one at a time, and a rest after
// each. Owners do not wait for one another, and who is alone is not slowed down. What passes may be anything
// that costs a machine much and that one owner may ask for without end.
type Gate struct {
	// rest is how many times as long as a passage took the next of its owner waits: so one owner's take no
	// more than 1/(1+rest) of the time, however fast the machine is.
	rest   float64
	mu     sync.Mutex
	owners map[string]*way
}

// way is what one owner has at the gate.
type way struct {
	here int       // how often the owner has entered, and not left
	left time.Time // the last time
	busy bool      // something passes
	next time.Time // when the next may
}

// New returns a gate with this rest after each passage, in multiples of how long that took.
func New(rest float64) *Gate { return &Gate{rest: rest, owners: map[string]*way{}} }

// Enter says that the owner uses the machine, until as many calls of Leave say that they do not.
func (g *Gate) Enter(owner string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	w := g.owners[owner]
	if w == nil {
		w = &way{}
		g.owners[owner] = w
	}
	w.here++
}

// Leave undoes one Enter.
func (g *Gate) Leave(owner string) {
	now := time.Now()
	g.mu.Lock()
	defer g.mu.Unlock()
	w := g.owners[owner]
	w.here--
	w.left = now
	for name, w := range g.owners {
		if w.here == 0 && now.Sub(w.left) > company {
			delete(g.owners, name)
		}
	}
}

// IsShared reports whether others than the owner use the machine, or did a moment ago.
func (g *Gate) IsShared(owner string) bool {
	now := time.Now()
	g.mu.Lock()
	defer g.mu.Unlock()
	for name, w := range g.owners {
		if name != owner && (w.here > 0 || now.Sub(w.left) <= company) {
			return true
		}
	}
	return false
}

// Begin begins a passage of an owner who has entered: passed is to be called when it is over. If it may not
// begin yet, passed is nil, and wait is when to ask again.
func (g *Gate) Begin(owner string) (passed func(), wait time.Duration) {
	began := time.Now()
	g.mu.Lock()
	defer g.mu.Unlock()
	w := g.owners[owner]
	switch {
	case w.busy:
		return nil, tryAgain
	case began.Before(w.next):
		return nil, w.next.Sub(began)
	}
	w.busy = true
	return func() {
		now := time.Now()
		g.mu.Lock()
		defer g.mu.Unlock()
		w.busy, w.next = false, now.Add(time.Duration(g.rest*float64(now.Sub(began))))
	}, 0
}

// Through does the work, as a passage if the machine is shared. It returns the work's error, or the
// context's if that ends while it waits.
func (g *Gate) Through(ctx context.Context, owner string, work func() error) error {
	g.Enter(owner)
	defer g.Leave(owner)
	for g.IsShared(owner) {
		passed, wait := g.Begin(owner)
		if passed != nil {
			defer passed()
			break
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return work()
}
