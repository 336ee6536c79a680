// Package follow shows an execution's output while it is printed: in order, whole and byte for
// byte, from live messages where they arrive and from the server's store where they do not, and
// checks it against what the execution's end says was printed.
package follow

import (
	"context"
	"errors"
	"time"

	"github.com/hermes-serverless/hermes/projections/executions"
	"github.com/hermes-serverless/hermes/services/api"
)

// Names of the errors that only a reader of output can find.
const (
	OutputCorrupt    = "OutputCorrupt"
	OutputIncomplete = "OutputIncomplete"
)

const (
	// learnAfter is how long the output of an attempt may be ahead of the news of its start before that
	// is asked for.
	learnAfter = 10 * time.Millisecond
	// maxEarly and maxEarlyBytes bound what is kept until then.
	maxEarly      = 1024
	maxEarlyBytes = 1 << 20
)

// ErrNotYet is a Source's word for an execution that was promised and is not there yet.
var ErrNotYet = errors.New("the execution is not there yet")

// Source is what the server knows of one execution. Its errors are ErrNotYet, *api.Error or the
// context's; ErrNotYet and those of kind Unavailable are waited out.
type Source interface {
	// Wait returns when the execution has an event behind after, or has ended, or after about d with what
	// is known. What it returns may have no number yet.
	Wait(ctx context.Context, after uint64, d time.Duration) (api.Execution, error)
	// Inspect returns what is known now.
	Inspect(ctx context.Context) (api.Execution, error)
	// Output returns stored output from an offset; see api.OutputPage. The cursor is that of an earlier
	// page, so that what lies before it is not read again; 0 is none.
	Output(ctx context.Context, from int64, cursor uint64) (api.OutputPage, []api.Chunk, error)
}

// Message is a live message and the watcher in whose name it came.
type Message struct {
	Watcher string
	Chunk   api.Chunk
}

// Options say what to follow and where it goes.
type Options struct {
	Source Source
	// Live are the messages of the output subject. It may lose, repeat and reorder; nil is none.
	Live <-chan Message
	// Reconnected hears that messages may have been lost.
	Reconnected <-chan struct{}
	// After is the last event of the execution that the caller knows of; 0 is none.
	After uint64
	// FromStart fetches what was printed before Live began.
	FromStart bool
	// Attempt and From leave out what this attempt (0: the first that there will be) printed before
	// this offset. Another attempt's output is shown from its beginning.
	Attempt int
	From    int64
	// Write takes each piece of output once and in order. An error of it ends the following.
	Write func(api.Chunk) error
	// Note tells a person what is going on; never nil.
	Note func(format string, args ...any)
}

// Follow writes the output until the execution has ended and returns the ended execution. When ctx
// ends first, its error comes with the last state that is known.
func Follow(ctx context.Context, o Options) (api.Execution, error) {
	ctx, cancel := context.WithCancel(ctx)
	f := &follower{Options: o, retry: stoppedTimer(), learning: stoppedTimer()}
	f.assembly = newAssembly(o.Write)
	f.assembly.begin(o.Attempt, o.From)
	w := newWaiter(o.Source, o.After, o.Note)
	done := make(chan struct{})
	go func() { defer close(done); w.run(ctx) }()
	defer func() { cancel(); f.retry.Stop(); f.learning.Stop(); <-done }()
	if o.FromStart {
		if err := f.fill(ctx); err != nil {
			return f.exec, err
		}
	}
	return f.loop(ctx, w)
}

func stoppedTimer() *time.Timer {
	t := time.NewTimer(time.Hour)
	t.Stop()
	return t
}

type follower struct {
	Options
	assembly *assembly
	// exec is the last known state.
	exec api.Execution
	// cursor is where the store was left.
	cursor uint64
	// retry fires when a gap is to be filled again, wait is how long it takes.
	retry *time.Timer
	wait  time.Duration
	// early are messages of an attempt that is not known to have started, as far as there is room.
	// learning fires when the news of its start, which the waiter waits for, is overdue.
	early      []Message
	earlyBytes int
	earlyLost  bool
	learning   *time.Timer
	// stuckSince is when, after the end, the store first had nothing more to give.
	stuckSince time.Time
	// nothingMore: the store has given all it has of an attempt that is over.
	nothingMore bool
	// gone is what of the attempt the store has let go of.
	gone api.OutputGone
}

func (f *follower) loop(ctx context.Context, w *waiter) (api.Execution, error) {
	for {
		if f.exec.Status.Final() {
			if over, err := f.over(); over {
				return f.exec, err
			}
		}
		var err error
		select {
		case m := <-f.Live:
			err = f.message(ctx, m)
		case e := <-w.states:
			err = f.state(ctx, e)
		case err = <-w.failed:
		case <-f.Reconnected:
			f.cursor = 0 // a server that crashed may count anew from what was on its disk
			err = f.fill(ctx)
		case <-f.learning.C:
			err = f.learn(ctx)
		case <-f.retry.C:
			err = f.fill(ctx)
		case <-ctx.Done():
			err = ctx.Err()
		}
		if err != nil {
			return f.exec, err
		}
	}
}

// message takes a live chunk if it comes from the watcher that holds the attempt: a watcher can
// publish on its own subjects what it likes, also about executions of others.
func (f *follower) message(ctx context.Context, m Message) error {
	switch {
	case m.Chunk.Attempt < f.assembly.attempt:
		return nil
	case f.isEarly(m):
		f.keepEarly(m)
		return nil
	case !f.trusts(m):
		return nil
	}
	if m.Chunk.Attempt > f.assembly.attempt {
		f.restart(m.Chunk.Attempt)
	}
	if err := f.assembly.take(m.Chunk); err != nil {
		return err
	}
	if f.assembly.gap() {
		return f.fill(ctx)
	}
	return nil
}

func (f *follower) trusts(m Message) bool {
	return m.Chunk.Attempt == f.exec.Attempt && m.Watcher == f.exec.Watcher
}

// isEarly says that the message is of an attempt whose start is not known: the output of a function
// may be faster than the news of its start.
func (f *follower) isEarly(m Message) bool {
	return m.Chunk.Attempt > f.exec.Attempt && !f.exec.Status.Final()
}

func (f *follower) keepEarly(m Message) {
	if len(f.early) == 0 {
		f.learning.Reset(learnAfter)
	}
	if f.earlyBytes+len(m.Chunk.Data) > maxEarlyBytes || len(f.early) >= maxEarly {
		f.earlyLost = true
		return
	}
	f.early = append(f.early, m)
	f.earlyBytes += len(m.Chunk.Data)
}

// takeEarly takes what came before the news of its attempt's start.
func (f *follower) takeEarly(ctx context.Context) error {
	early, lost := f.early, f.earlyLost
	f.forgetEarly()
	for _, m := range early {
		if err := f.message(ctx, m); err != nil {
			return err
		}
	}
	if lost {
		return f.fill(ctx)
	}
	return nil
}

func (f *follower) forgetEarly() {
	f.early, f.earlyBytes, f.earlyLost = nil, 0, false
	f.learning.Stop()
}

// learn asks who runs the attempt.
func (f *follower) learn(ctx context.Context) error {
	e, err := f.Source.Inspect(ctx)
	if err != nil {
		f.learning.Reset(maxRetry)
		return f.patient(err)
	}
	f.know(e)
	if len(f.early) > 0 && f.isEarly(f.early[0]) {
		// Either forged, or the server's view does not show the start yet: then the store has it.
		f.forgetEarly()
		f.again(firstRetry)
		return nil
	}
	return f.takeEarly(ctx)
}

// know keeps the newest state: answers may overtake each other.
func (f *follower) know(e api.Execution) {
	if e.Sequence < f.exec.Sequence {
		return
	}
	if e.Number == 0 {
		e.Number = f.exec.Number
	}
	f.exec = e
}

// state learns how the execution is. What an ended one still lacks is most likely on its way, so
// that the store is asked a moment later.
func (f *follower) state(ctx context.Context, e api.Execution) error {
	f.know(e)
	if len(f.early) > 0 && !f.isEarly(f.early[0]) {
		if err := f.takeEarly(ctx); err != nil {
			return err
		}
	}
	if f.exec.Status.Final() && !f.complete() {
		f.again(firstRetry)
	}
	return nil
}

func (f *follower) restart(attempt int) {
	if f.assembly.attempt > 0 {
		f.Note("attempt %d was lost; attempt %d prints from the beginning", f.assembly.attempt, attempt)
	}
	f.assembly.restart(attempt)
	f.cursor = 0
	f.nothingMore, f.stuckSince, f.gone = false, time.Time{}, api.OutputGone{}
}

// complete says whether everything that will ever be there has been written.
func (f *follower) complete() bool {
	if f.exec.Attempt == 0 {
		return true
	}
	if f.exec.Status == executions.Lost {
		return f.nothingMore
	}
	return f.assembly.holds(f.exec.Attempt, f.exec.Output)
}

// over says, of an execution that has ended, whether there is nothing left to do, and how it went.
func (f *follower) over() (bool, error) {
	switch {
	case f.exec.Attempt == 0:
		return true, nil
	case f.exec.Status == executions.Lost:
		return f.nothingMore || f.stuck(), nil
	case f.complete():
		if f.exec.Output.Cut != "" {
			f.Note("the output was cut: %s", f.exec.Output.Cut)
		}
		if err := f.assembly.verify(f.exec.Output); err != nil || f.gone.Bytes == 0 {
			return true, err
		}
		return true, f.incomplete(f.gone.Bytes)
	case f.stuck():
		total := f.exec.Output.StdoutBytes + f.exec.Output.StderrBytes
		return true, f.incomplete(total - f.assembly.next + f.gone.Bytes)
	}
	return false, nil
}

// stuck says that the store had the time to have everything and has not.
func (f *follower) stuck() bool {
	return !f.stuckSince.IsZero() && time.Since(f.stuckSince) > patience
}

func (f *follower) incomplete(bytes int64) error {
	total := f.exec.Output.StdoutBytes + f.exec.Output.StderrBytes
	err := api.Errorf(api.NotFound, OutputIncomplete, "%d of %d bytes of the output are not stored any more", bytes, total)
	if f.gone.Why != "" {
		return err.WithHint("%s", f.gone.Why)
	}
	return err.WithHint("the operator decides how long output is kept")
}
