package api

import (
	"runtime"
	"sync"
	"time"
)

const (
	// company is for how long after somebody's last request the process counts as shared with them. It is as
	// long for a watcher's machine (gate): docs/quotas.md tells users one figure.
	company = 5 * time.Second
	// paceShare is the part of the processors' time that one user's requests may take, while others ask
	// too; paceSaved is what a user may save up.
	paceShare = 0.2
	paceSaved = 500 * time.Millisecond
	// mostCosts bounds what one request is charged: it may have waited for somebody else.
	mostCosts = 100 * time.Millisecond
	// waitCosts is what a request that waits on purpose is charged: how long it takes says nothing.
	waitCosts = time.Millisecond
	// refusalCosts is what it takes to say no.
	refusalCosts = 200 * time.Microsecond
)

// pace bounds how much of this process each user's requests take, all services together, while others
// ask too: who asks without end is worked for at a part of the time, and the others hardly notice it.
// Who is alone is not slowed down. The time that a request takes stands for its cost: what the machine
// is short of makes it longer.
type pace struct {
	perSecond time.Duration // of work
	mu        sync.Mutex
	users     map[string]*budget
}

// asked is what a request that was worked on at once has cost, waited what one that waits on purpose has.
func asked(began time.Time) time.Duration { return min(time.Since(began), mostCosts) }
func waited(time.Time) time.Duration      { return waitCosts }

// budget is how much work a user may have done, as of a moment.
type budget struct {
	left time.Duration
	at   time.Time
}

// processPace is the one of this process.
var processPace = newPace(time.Duration(paceShare * float64(runtime.NumCPU()) * float64(time.Second)))

func newPace(perSecond time.Duration) *pace {
	return &pace{perSecond: perSecond, users: map[string]*budget{}}
}

// wait is how long a user's next request must wait: 0 for who is within the budget, or alone.
func (p *pace) wait(user string, now time.Time) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	b := p.budget(user, now)
	if b.left >= 0 || !p.shared(user, now) {
		return 0
	}
	return time.Duration(float64(-b.left)/float64(p.perSecond)*float64(time.Second)) + time.Microsecond // as floats are not exact
}

// charge takes what a request has cost from the user's budget. Who is alone does not run into debt.
func (p *pace) charge(user string, cost time.Duration, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	b := p.budget(user, now)
	if b.left -= cost; !p.shared(user, now) {
		b.left = max(b.left, 0)
	}
}

// budget brings a user's up to date. Who has asked for nothing for so long that all is forgotten begins
// with a full one.
func (p *pace) budget(user string, now time.Time) *budget {
	b := p.users[user]
	if b == nil {
		for name, other := range p.users {
			if now.Sub(other.at) > company {
				delete(p.users, name)
			}
		}
		b = &budget{left: paceSaved, at: now}
		p.users[user] = b
	}
	gained := time.Duration(now.Sub(b.at).Seconds() * float64(p.perSecond))
	b.left, b.at = min(b.left+gained, paceSaved), now
	return b
}

// shared reports whether somebody else has asked lately.
func (p *pace) shared(user string, now time.Time) bool {
	for name, b := range p.users {
		if name != user && now.Sub(b.at) <= company {
			return true
		}
	}
	return false
}
