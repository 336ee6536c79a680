package api

import (
	"sync"
	"time"
)

// The bounds of what is worked on for users at once. Of one user it is so little that the others'
// requests hardly notice it; what comes beyond that waits for its own user's.
var (
	// askTurns are requests that are answered as soon as they can be.
	askTurns = bounds{all: 256, each: 2, waiting: 1024, bytes: 8 << 20}
	// waitTurns are requests that wait on purpose, and cost little meanwhile.
	waitTurns = bounds{all: 8192, each: 256, waiting: 1024, bytes: 8 << 20}
)

// bounds of turns: at work for all and for each caller; waiting for each caller; and of each caller's that
// are at work or wait, in bytes.
type bounds struct{ all, each, waiting, bytes int }

// Turns lets callers' requests be worked on in their turn: each caller's in order, and the callers one
// after another. Who asks without end waits for themselves, and nobody else does.
type Turns struct {
	bounds
	// pace is how much of callers' requests is begun; charge is what one that began at a moment costs.
	pace   *pace
	charge func(began time.Time) time.Duration

	mu      sync.Mutex
	running int
	callers map[string]*line
	// next are the callers who have something waiting, each once.
	next []*line
	// wake starts what only the pace held back, at the time wakeAt.
	wake   *time.Timer
	wakeAt time.Time
}

// line is what one caller has at work and waiting.
type line struct {
	name    string
	running int
	waiting []turn
	bytes   int
}

type turn struct {
	work  func()
	bytes int
}

// NewTurns returns those of work that costs so many times what its own time says: at most so much at once,
// of all and of each, and so much waiting of each. All in a process share each caller's pace.
func NewTurns(all, each, waiting, times int) *Turns {
	b := bounds{all: all, each: each, waiting: waiting, bytes: askTurns.bytes}
	return newTurns(b, processPace, func(began time.Time) time.Duration { return time.Duration(times) * asked(began) })
}

func newTurns(b bounds, p *pace, charge func(began time.Time) time.Duration) *Turns {
	return &Turns{bounds: b, pace: p, charge: charge, callers: map[string]*line{}}
}

// Take has the work done in the caller's turn, in a goroutine of its own. bytes is what it holds in memory
// until it is done. It does not wait; false: so much is there already that this is refused.
func (t *Turns) Take(caller string, bytes int, work func()) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	l := t.callers[caller]
	if l == nil {
		l = &line{name: caller}
		t.callers[caller] = l
	}
	// An empty line takes anything: else what is larger than the bound could never be asked.
	if len(l.waiting) >= t.waiting || l.bytes > 0 && l.bytes+bytes > t.bytes {
		return false
	}
	if len(l.waiting) == 0 {
		t.next = append(t.next, l)
	}
	l.waiting = append(l.waiting, turn{work, bytes})
	l.bytes += bytes
	t.start()
	return true
}

// start begins what may begin.
func (t *Turns) start() {
	now := time.Now()
	for passed := 0; passed < len(t.next) && t.running < t.all; {
		l := t.next[0]
		t.next = t.next[1:]
		if l.running >= t.each || t.mustWait(l, now) {
			t.next = append(t.next, l)
			passed++
			continue
		}
		passed = 0
		first := l.waiting[0]
		l.waiting[0] = turn{}
		l.waiting = l.waiting[1:]
		if len(l.waiting) > 0 {
			t.next = append(t.next, l)
		}
		l.running++
		t.running++
		go func() {
			began := time.Now()
			defer t.done(l, first.bytes, began)
			first.work()
		}()
	}
}

// mustWait reports whether the caller's pace holds them back, and sees to it that they are started later.
func (t *Turns) mustWait(l *line, now time.Time) bool {
	wait := t.pace.wait(l.name, now)
	if wait == 0 {
		return false
	}
	at := now.Add(wait)
	switch {
	case t.wake == nil:
		t.wake = time.AfterFunc(wait, t.awake)
	case at.Before(t.wakeAt):
		t.wake.Reset(wait)
	default:
		return true
	}
	t.wakeAt = at
	return true
}

func (t *Turns) awake() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.wake = nil
	t.start()
}

func (t *Turns) done(l *line, bytes int, began time.Time) {
	t.pace.charge(l.name, t.charge(began), time.Now())
	t.mu.Lock()
	defer t.mu.Unlock()
	l.running--
	l.bytes -= bytes
	t.running--
	if l.running == 0 && len(l.waiting) == 0 {
		delete(t.callers, l.name)
	}
	t.start()
}
