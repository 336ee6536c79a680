package quotas

import (
	"slices"
	"time"

	"github.com/hermes-serverless/hermes/events"
)

// Over says which bound is in the way.
type Over struct {
	Figure Figure
	// Used is what is used before it, Asked what it would add; 0 for what only its end tells.
	Used, Asked int64
	// Limit is the most.
	Limit int64
	// Never: it alone is more than the bound.
	Never bool
}

var (
	// inUse are the figures that an execution holds from its place to its end.
	inUse = []Figure{Concurrent, CPU, Memory, GPUs}
	// refused are those that what is asked for adds to at once.
	refused = []Figure{Queued, Stored}
)

// Ask is what an execution asks of its user's quota, but for what it stores.
func Ask(r events.ExecutionRequested) Amounts {
	return Amounts{Concurrent: 1, Queued: 1, CPU: r.Limits.CPUMillis, Memory: r.Limits.MemoryBytes, GPUs: int64(r.GPUs)}
}

// Refuse says why something is not to be accepted; nil if it is. What is accepted may have to wait.
func Refuse(l Limits, used, asked Amounts) *Over {
	for _, f := range slices.Concat(inUse, refused) {
		if most, bounded := l.Most(f); bounded && asked[f] > most {
			return &Over{Figure: f, Used: used[f], Asked: asked[f], Limit: most, Never: true}
		}
	}
	for _, f := range refused {
		if most, bounded := l.Most(f); bounded && asked[f] > 0 && used[f]+asked[f] > most {
			return &Over{Figure: f, Used: used[f], Asked: asked[f], Limit: most}
		}
	}
	return spent(l, used, asked)
}

// Wait says why an execution that was accepted cannot be given a place now; nil if it can.
func Wait(l Limits, used, asked Amounts) *Over {
	for _, f := range inUse {
		most, bounded := l.Most(f)
		if bounded && asked[f] > 0 && used[f]+asked[f] > most {
			return &Over{Figure: f, Used: used[f], Asked: asked[f], Limit: most, Never: asked[f] > most}
		}
	}
	return spent(l, used, asked)
}

// spent says which bound of a day is used up. What an execution will take of it is not known before
// its end, so one that starts below the bound may end above.
func spent(l Limits, used, asked Amounts) *Over {
	for _, f := range []Figure{GPUTime, Output} {
		concerns := asked[Concurrent] > 0 && (f == Output || asked[GPUs] > 0)
		if most, bounded := l.Most(f); bounded && concerns && used[f] >= most {
			return &Over{Figure: f, Used: used[f], Limit: most, Never: most == 0}
		}
	}
	return nil
}

// Holds reports whether the user's later executions wait as well: what fits when an earlier one ends
// keeps its turn. What waits for another day, or for the operator, does not.
func (o *Over) Holds() bool { return !o.Never && slices.Contains(inUse, o.Figure) }

// Day is the day in UTC that a moment is of.
func Day(t time.Time) time.Time { return t.UTC().Truncate(24 * time.Hour) }

// NextDay is when the figures of a day begin anew.
func NextDay(t time.Time) time.Time { return Day(t).Add(24 * time.Hour) }
