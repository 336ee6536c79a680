package follow

import (
	"context"
	"errors"
	"time"

	"github.com/hermes-serverless/hermes/projections/executions"
	"github.com/hermes-serverless/hermes/services/api"
)

const (
	// firstRetry and maxRetry bound the time between two tries to fill a gap.
	firstRetry = 2 * time.Millisecond
	maxRetry   = 500 * time.Millisecond
	// patience is how long an ended execution's output may take to be in the store.
	patience = 5 * time.Second
)

// fill fetches stored output until it has all there is. If a gap stays, it comes back.
func (f *follower) fill(ctx context.Context) error {
	for {
		before, attempt := f.assembly.next, f.assembly.attempt
		page, chunks, err := f.Source.Output(ctx, before, f.cursor)
		if err != nil {
			if err = f.patient(err); err == nil {
				f.again(maxRetry)
			}
			return err
		}
		if page.Attempt > attempt && before > 0 {
			f.restart(page.Attempt) // the page is from the middle: ask again, from its beginning
			continue
		}
		if page.Attempt > attempt {
			f.restart(page.Attempt)
		}
		f.skip(page, len(chunks) == 0)
		for _, c := range chunks {
			if err := f.assembly.take(c); err != nil {
				return err
			}
		}
		if page.End != nil && page.Attempt == f.assembly.attempt {
			f.assembly.end = page.End
		}
		f.cursor = 0 // nothing more behind it: the next try looks everywhere
		if f.assembly.next > before {
			f.cursor = page.Cursor
			f.wait, f.stuckSince = 0, time.Time{}
			if !f.done(page) {
				continue
			}
		}
		f.settle(page)
		return nil
	}
}

// skip goes on behind what the store has let go of.
func (f *follower) skip(page api.OutputPage, isEmpty bool) {
	if page.Gone == nil || page.Attempt != f.assembly.attempt {
		return
	}
	to := page.Begin
	if page.End != nil && isEmpty {
		to = page.End.StdoutBytes + page.End.StderrBytes
	}
	if to <= f.assembly.next {
		return
	}
	f.gone.Bytes += to - f.assembly.next
	f.gone.Why = page.Gone.Why
	f.assembly.skip(to)
}

// done spares a request when the page is known to be the last one.
func (f *follower) done(page api.OutputPage) bool {
	return page.End != nil && !f.assembly.gap()
}

// settle decides, after a page that brought nothing more, whether to ask again.
func (f *follower) settle(page api.OutputPage) {
	f.nothingMore = !page.Live
	switch {
	case f.exec.Status == executions.Lost && f.nothingMore:
	case f.exec.Status.Final() && !f.complete():
		if f.stuckSince.IsZero() {
			f.stuckSince = time.Now()
		}
		f.again(firstRetry)
	case f.assembly.gap(), page.Attempt < f.exec.Attempt && !f.exec.Status.Final():
		f.again(firstRetry)
	}
}

// again sets the timer: at first after at least d, each time later twice as long.
func (f *follower) again(d time.Duration) {
	f.wait = min(max(2*f.wait, d), maxRetry)
	f.retry.Reset(f.wait)
}

// patient forgives that the server is away: the waiter tells of it, and the connection comes back.
func (f *follower) patient(err error) error {
	if api.IsKind(err, api.Unavailable) || errors.Is(err, ErrNotYet) {
		return nil
	}
	return err
}
