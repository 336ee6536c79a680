package follow

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/hermes-serverless/hermes/projections/executions"
	"github.com/hermes-serverless/hermes/services/api"
)

const (
	// shortWait is how often a queued execution's position is told, longWait how long one
	// request waits for the end of a running one.
	shortWait = time.Second
	longWait  = 5 * time.Second
	// awayNote is how long an answer may be overdue before a person hears of it: a server that is
	// restarted is there again sooner.
	awayNote = time.Second
	// betweenTries is the pause between requests to a server that does not answer.
	betweenTries = 250 * time.Millisecond
	// notYetPause is the pause until an execution that was promised is asked for again.
	notYetPause = 20 * time.Millisecond
)

// waiter waits for the end of the execution, through whatever happens to the server.
type waiter struct {
	source Source
	note   func(format string, args ...any)
	// after is the last event that is known.
	after  uint64
	states chan api.Execution
	failed chan error

	position int
	// doing was said last of what a watcher does before it can start.
	doing     string
	awaySince time.Time
	toldAway  bool
}

func newWaiter(source Source, after uint64, note func(string, ...any)) *waiter {
	return &waiter{source: source, after: after, note: note, states: make(chan api.Execution), failed: make(chan error)}
}

// run returns when the end or an error has been handed over, or ctx has ended.
func (w *waiter) run(ctx context.Context) {
	d := shortWait
	for {
		due := time.Now().Add(d)
		e, err := w.source.Wait(ctx, w.after, d)
		switch {
		case ctx.Err() != nil:
			return
		case errors.Is(err, ErrNotYet):
			if !pause(ctx, notYetPause) {
				return
			}
			continue
		case api.IsKind(err, api.Unavailable):
			w.away(due, err)
			if !pause(ctx, betweenTries) {
				return
			}
			continue
		case err != nil:
			hand(ctx, w.failed, err)
			return
		}
		w.back()
		if !hand(ctx, w.states, e) || e.Status.Final() {
			return
		}
		news := e.Sequence > w.after
		w.after = max(w.after, e.Sequence)
		d = longWait
		if e.Status == executions.Queued {
			d = shortWait
			if !news { // it has been so for as long as was asked
				w.queued(e)
			}
		}
	}
}

func (w *waiter) queued(e api.Execution) {
	position := e.Position
	if e.Doing != "" {
		if e.Doing != w.doing {
			w.note("%s", e.Doing)
		}
		w.doing = e.Doing
		return
	}
	switch {
	case position > 0 && position != w.position:
		if e.StartsInMillis > 0 {
			w.note("queued, position %d, starts in about %s", position, About(time.Duration(e.StartsInMillis)*time.Millisecond))
		} else {
			w.note("queued, position %d", position)
		}
	case position == 0 && w.position == 0:
		w.note("queued")
		position = -1 // said once
	}
	w.position = position
}

// About rounds a time to what a guess is worth: "40s", "12m", "3h10m".
func About(d time.Duration) string {
	switch {
	case d < time.Minute:
		return max(d.Round(time.Second), time.Second).String()
	case d < time.Hour:
		return strings.TrimSuffix(d.Round(time.Minute).String(), "0s")
	}
	return strings.TrimSuffix(d.Round(10*time.Minute).String(), "0s")
}

// away tells, once, that the server has not answered since it should have.
func (w *waiter) away(due time.Time, err error) {
	if w.awaySince.IsZero() {
		w.awaySince = time.Now()
		if due.Before(w.awaySince) {
			w.awaySince = due
		}
	}
	if !w.toldAway && time.Since(w.awaySince) >= awayNote {
		w.toldAway = true
		e, _ := api.AsError(err)
		w.note("%s; waiting for it to come back", e.Message)
	}
}

func (w *waiter) back() {
	if w.toldAway {
		w.note("the server is back")
	}
	w.toldAway, w.awaySince = false, time.Time{}
}

func hand[T any](ctx context.Context, to chan<- T, value T) bool {
	select {
	case to <- value:
		return true
	case <-ctx.Done():
		return false
	}
}

func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
