package accounts

import (
	"sync"
	"time"

	"github.com/hermes-serverless/hermes/events"
)

// The bounds of what is recorded of those who try to get in, and of those who do: in a window so many
// are told apart, each of which is at most two events. What comes beyond that is counted together.
const (
	failureWindow, maxFailures = 5 * time.Minute, 100
	entryWindow, maxEntries    = time.Hour, 5000
)

// tally counts facts that others cause as often as they like. The first of a kind is told at once, and
// those that follow in its window together, at the window's end.
type tally struct {
	window time.Duration
	// most is how many kinds are told apart at a time.
	most int

	mu   sync.Mutex
	open map[fact]*count
}

// fact is what is counted as the same.
type fact struct {
	user, address string
	// detail is the reason of a failure, or the key that was used.
	detail string
}

type count struct {
	n     int64
	since time.Time
	// until is when the window ends; the count is told then, or at once if it is the first.
	until time.Time
	first bool
}

// counted is a fact that is to be told.
type counted struct {
	fact
	n     int64
	since time.Time
}

func newTally(window time.Duration, most int) *tally {
	return &tally{window: window, most: most, open: map[fact]*count{}}
}

// note counts. It reports whether there is something to be told now.
func (t *tally) note(f fact, now time.Time) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	c := t.open[f]
	if c == nil && len(t.open) >= t.most {
		// One of many: only what there are few of is kept of it.
		f = fact{detail: t.few(f.detail)}
		c = t.open[f]
	}
	if c == nil {
		c = &count{until: now.Add(t.window), first: true}
		t.open[f] = c
	}
	if c.n == 0 {
		c.since = now
	}
	c.n++
	return c.first
}

// few is the detail if it is one of the reasons; keys are as many as their holders like.
func (t *tally) few(detail string) string {
	switch detail {
	case events.LoginPassword, events.LoginThrottled, events.LoginRefused, events.LoginInvite, events.LoginKey:
		return detail
	}
	return ""
}

// due takes what is to be told now: the first of each kind, and the counts of windows that are over;
// all of them if the time is not to come. A kind of which nothing was heard for a window begins anew.
func (t *tally) due(now time.Time, all bool) []counted {
	t.mu.Lock()
	defer t.mu.Unlock()
	var told []counted
	for f, c := range t.open {
		over := all || !now.Before(c.until)
		if c.n > 0 && (over || c.first) {
			told = append(told, counted{f, c.n, c.since})
			c.n = 0
			if over && !c.first {
				c.until = now.Add(t.window)
			}
			c.first = false
		} else if over {
			delete(t.open, f)
		}
	}
	return told
}
