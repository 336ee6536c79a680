package retention

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/events/streams"
	"github.com/hermes-serverless/hermes/events/streams/get"
	"github.com/hermes-serverless/hermes/projections/executions"
)

// Views are what is asked of the views of executions.
type Views interface {
	// Active returns every execution that has not ended, as of the returned sequence.
	Active(ctx context.Context) ([]executions.Execution, uint64, error)
	// Owners returns what the executions of each owner have in common, by owner.
	Owners(ctx context.Context) (map[string]executions.User, error)
	// Executions returns those of the owner's executions with these numbers that exist.
	Executions(ctx context.Context, owner string, numbers []int64) ([]executions.Execution, error)
	// WaitForArchived returns when the views have let go of what the archive has up to the sequence.
	WaitForArchived(ctx context.Context, sequence uint64) error
}

// History is what is asked of the history.
type History interface {
	// Copied returns the last sequence of the log of executions that the history has.
	Copied(ctx context.Context) (uint64, error)
}

const (
	// DefaultKeep is how long the log keeps the events of executions that have ended.
	DefaultKeep = 30 * 24 * time.Hour
	// MinKeep is the shortest. What was just asked for must be in the log: a request that is repeated is
	// found there.
	MinKeep = time.Hour
	// DefaultSpare is far more than is appended while the log is cut: see cut.
	DefaultSpare = 10_000
	// stepEvents bounds what goes at once: the log takes nothing meanwhile.
	stepEvents = 20_000
	// skew is how far the clock that dates an execution's request may be from that of the log.
	skew  = time.Hour
	every = time.Hour
	// liftWithin bounds the lifting of the limit, and liftEvery is how often it is looked for one that a cut has
	// left: in the meantime far fewer events are appended than there are spare ones.
	liftWithin, liftEvery = 10 * time.Second, 10 * time.Second
)

// Executions lets go of the views and of the events of executions that ended long ago. All fields are
// required.
type Executions struct {
	JS      jetstream.JetStream
	Views   Views
	History History
	// Keep is how old an event has to be, at least MinKeep.
	Keep time.Duration
	// Spare is how many of the events that could go stay.
	Spare uint64
	Now   func() time.Time
	Log   *slog.Logger
}

// Run lets go of what may go from time to time, until the context ends; it returns nil then.
func (e Executions) Run(ctx context.Context) error {
	var work sync.WaitGroup
	defer work.Wait()
	work.Go(func() {
		regularly(ctx, liftEvery, liftEvery, func() {
			if err := e.lift(ctx); err != nil && ctx.Err() == nil {
				e.Log.Warn("cannot look yet whether the log of executions is limited", "err", err)
			}
		})
	})
	regularly(ctx, firstAfter, every, func() {
		gone, err := e.LetGo(ctx)
		switch {
		case err != nil && ctx.Err() == nil:
			e.Log.Warn("cannot let go of the events of executions that ended long ago yet", "err", err)
		case gone > 0:
			e.Log.Info("let go of events of executions that ended long ago; the history has them", "events", gone)
		}
	})
	return nil
}

// LetGo lets go of what may go and returns how many events that were. An error leaves the rest for
// the next time.
//
// The final views go to the archive first, then the projector lets go of them, then the events go: so
// a subject that is empty again is of an execution that has no view.
func (e Executions) LetGo(ctx context.Context) (gone uint64, err error) {
	if err := e.lift(ctx); err != nil {
		return 0, err
	}
	archived, err := e.archive(ctx, e.Now().Add(-e.Keep))
	if archived > 0 {
		e.Log.Info("archived executions that ended long ago", "executions", archived)
	}
	if err == nil {
		err = e.projected(ctx)
	}
	if err != nil {
		return 0, err
	}
	s, err := e.standing(ctx)
	if err != nil {
		return 0, err
	}
	to := bound(s, e.Spare)
	if to == 0 {
		return 0, nil
	}
	if err := e.cut(ctx, s.first, to); err != nil {
		return 0, err
	}
	return to - s.first + 1, nil
}

// standing finds what is there and what is needed.
func (e Executions) standing(ctx context.Context) (s standing, err error) {
	stream, err := e.JS.Stream(ctx, streams.Executions)
	if err != nil {
		return s, fmt.Errorf("look at stream %s: %w", streams.Executions, err)
	}
	state := stream.CachedInfo().State
	s.first, s.last = state.FirstSeq, state.LastSeq
	before := e.Now().Add(-e.Keep)
	switch young, _, err := get.Since(ctx, e.JS, streams.Executions, ">", before, 1); {
	case err != nil:
		return s, err
	case len(young) > 0:
		s.aged = young[0].Sequence - 1
	case state.LastTime.Before(before): // said by the leader: a replica may not have the young yet
		s.aged = state.LastSeq
	}
	if s.aged < s.first {
		return s, nil // nothing may go: the rest need not be asked for
	}
	if s.copied, err = e.History.Copied(ctx); err != nil {
		return s, err
	}
	live, projected, err := e.Views.Active(ctx)
	if err != nil {
		return s, err
	}
	s.projected = projected
	kept, err := e.firstKept(ctx)
	if err != nil {
		return s, err
	}
	for _, each := range append(live, kept...) {
		if each.RequestedAt.After(before.Add(skew)) {
			continue
		}
		first, err := get.LeaderNext(ctx, e.JS, streams.Executions, events.ExecutionSubject(each.Owner, each.ID), 1)
		if errors.Is(err, get.ErrNone) {
			continue
		}
		if err != nil {
			return s, fmt.Errorf("find the first event of execution %s: %w", each.ID, err)
		}
		s.live = append(s.live, first.Sequence)
	}
	return s, nil
}

// firstKept are the first executions of each owner that have a view: their events stay, and those behind.
func (e Executions) firstKept(ctx context.Context) (first []executions.Execution, err error) {
	owners, err := e.Views.Owners(ctx)
	if err != nil {
		return nil, err
	}
	for owner, user := range owners {
		if user.LetGo == user.Last {
			continue
		}
		some, err := e.Views.Executions(ctx, owner, []int64{user.LetGo + 1})
		if err != nil {
			return nil, err
		}
		first = append(first, some...)
	}
	return first, nil
}

// cut takes away the events from first up to to.
func (e Executions) cut(ctx context.Context, first, to uint64) error {
	stream, err := e.JS.Stream(ctx, streams.Executions)
	if err != nil {
		return fmt.Errorf("look at stream %s: %w", streams.Executions, err)
	}
	if stream.CachedInfo().Config.DenyPurge {
		return e.push(ctx, first, to)
	}
	for step := min(to, first+stepEvents-1); ; step = min(to, step+stepEvents) {
		within, cancel := context.WithTimeout(ctx, forgetWithin)
		err := stream.Purge(within, jetstream.WithPurgeSequence(step+1))
		cancel()
		if err != nil {
			return fmt.Errorf("purge stream %s up to %d: %w", streams.Executions, step, err)
		}
		if step == to {
			return nil
		}
	}
}

// push is cut of a stream that an earlier version made: it denies purges, and that cannot be undone;
// what it does allow is a limit of its messages, for as long as it takes. While the limit stands each
// event that is appended pushes out another: behind to there are the spare ones.
func (e Executions) push(ctx context.Context, first, to uint64) (err error) {
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), liftWithin)
		defer cancel()
		err = errors.Join(err, e.lift(ctx))
	}()
	for step := min(to, first+stepEvents-1); ; step = min(to, step+stepEvents) {
		stream, err := e.JS.Stream(ctx, streams.Executions)
		if err != nil {
			return err
		}
		info := stream.CachedInfo()
		// There are no gaps behind what went before: of such a stream nobody can be forgotten.
		info.Config.MaxMsgs = int64(info.State.LastSeq - step)
		if err := e.limit(ctx, info.Config); err != nil {
			return err
		}
		if step == to {
			return nil
		}
	}
}

// lift takes away a limit that a cut which was cut short has left, of this process or of another one: with each
// event that is appended, the log would lose another. A cut that goes on sets it again.
func (e Executions) lift(ctx context.Context) error {
	stream, err := e.JS.Stream(ctx, streams.Executions)
	if err != nil {
		return fmt.Errorf("look at stream %s: %w", streams.Executions, err)
	}
	config := stream.CachedInfo().Config
	if config.MaxMsgs <= 0 {
		return nil
	}
	config.MaxMsgs = -1
	return e.limit(ctx, config)
}

func (e Executions) limit(ctx context.Context, config jetstream.StreamConfig) error {
	if _, err := e.JS.UpdateStream(ctx, config); err != nil {
		return fmt.Errorf("limit stream %s to %d messages: %w", config.Name, config.MaxMsgs, err)
	}
	return nil
}
