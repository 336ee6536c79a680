package orchestrator

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/projections/executions"
	"github.com/hermes-serverless/hermes/services/api"
)

// changes tells who waits for an execution how it went on. It is the leader's: every event of an
// execution is appended in its process, or followed there from the log.
type changes struct {
	mu      sync.Mutex
	waiting map[key]map[chan executions.Execution]bool
}

// listen returns a channel that has the newest state that was told since, and its end.
func (c *changes) listen(k key) (<-chan executions.Execution, func()) {
	news := make(chan executions.Execution, 1)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.waiting == nil {
		c.waiting = map[key]map[chan executions.Execution]bool{}
	}
	if c.waiting[k] == nil {
		c.waiting[k] = map[chan executions.Execution]bool{}
	}
	c.waiting[k][news] = true
	return news, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if delete(c.waiting[k], news); len(c.waiting[k]) == 0 {
			delete(c.waiting, k)
		}
	}
}

// tell hands a state to who waits for it, in the place of an older one that was not taken yet.
func (c *changes) tell(e executions.Execution) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for news := range c.waiting[key{owner: e.Owner, id: e.ID}] {
		select {
		case older := <-news:
			if older.Sequence > e.Sequence {
				e = older
			}
		default:
		}
		news <- e
	}
}

// wait returns the execution's state as soon as done says so, or the context ends: what is known
// then is no error. It is over too when the leader is, and then says so.
func (l *leader) wait(ctx context.Context, owner, id string, done func(executions.Execution) bool) (state executions.Execution, over bool, err error) {
	news, stop := l.changes.listen(key{owner: owner, id: id})
	defer stop()
	now, err := l.current(ctx, owner, id)
	if state = now.exec; err != nil {
		return state, false, err
	}
	for !done(state) {
		select {
		case e := <-news:
			if e.Sequence > state.Sequence {
				state = e
			}
		case <-l.over:
			return state, true, nil
		case <-ctx.Done():
			return state, false, nil
		}
	}
	return state, false, nil
}

// until returns the execution's state as soon as done says so, or the context ends: what is known
// then is no error. Where the leader is, its memory has the answer before any store has.
func (s *Service) until(ctx context.Context, owner, id string, done func(executions.Execution) bool) (executions.Execution, error) {
	for {
		l := s.leader.Load()
		if l == nil {
			return s.followUntil(ctx, owner, id, done)
		}
		state, over, err := l.wait(ctx, owner, id, done)
		if err != nil && ctx.Err() == nil {
			return state, fmt.Errorf("wait for execution %s: %w", id, err)
		}
		if !over || ctx.Err() != nil {
			return state, nil
		}
		s.leader.CompareAndSwap(l, nil) // it is about to say so itself
	}
}

// followUntil is until by the log alone.
func (s *Service) followUntil(ctx context.Context, owner, id string, done func(executions.Execution) bool) (executions.Execution, error) {
	var state executions.Execution
	for record, err := range s.Executions.Follow(ctx, events.ExecutionSubject(owner, id), 0) {
		if ctx.Err() != nil {
			return state, nil
		}
		if err != nil {
			return state, fmt.Errorf("wait for execution %s: %w", id, err)
		}
		if state.Status == "" && !begins(record) {
			return s.fold(ctx, owner, id)
		}
		if state, err = executions.Fold(state, record); err != nil {
			return state, fmt.Errorf("fold execution %s at sequence %d: %w", id, record.Sequence, err)
		}
		if done(state) {
			break
		}
	}
	return state, nil
}

// change answers as soon as the execution has an event behind the one that the caller knows, from
// the log's fold alone: no view has to have seen it.
func (s *Service) change(ctx context.Context, user string, ask api.ExecutionWait) (api.Execution, error) {
	if err := checkIDs(ask.ID); err != nil {
		return api.Execution{}, err
	}
	within, cancel := context.WithTimeout(ctx, min(time.Duration(ask.WaitMillis)*time.Millisecond, maxWait))
	defer cancel()
	defer context.AfterFunc(s.ending, cancel)()
	state, err := s.until(within, user, ask.ID, func(e executions.Execution) bool {
		return e.Status.Final() || e.Sequence > ask.After
	})
	if err != nil {
		return api.Execution{}, err
	}
	if state.Status == "" {
		// Either there is none, or the time was over before it was read.
		if state, err = s.fold(ctx, user, ask.ID); err != nil {
			return api.Execution{}, err
		}
	}
	if state.Status == "" {
		return api.Execution{}, noSuchRun(ask.ID)
	}
	return shown(user, state, s.place(ctx, state)), nil
}

// newest is the newest event of each user's executions that this process knows of: a view that is
// read for a user has to have seen it.
type newest struct {
	mu     sync.Mutex
	byUser map[string]uint64
}

func (n *newest) saw(user string, sequence uint64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.byUser == nil {
		n.byUser = map[string]uint64{}
	}
	n.byUser[user] = max(n.byUser[user], sequence)
}

func (n *newest) of(user string) uint64 {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.byUser[user]
}

// fresh lets the view catch up with what has happened to the user's executions: who has heard of an
// end finds it there. The leader's process knows what has happened; another one asks the log. A
// view that lags for longer than settleWithin is not worth more waiting.
func (s *Service) fresh(ctx context.Context, user string) {
	ctx, cancel := context.WithTimeout(ctx, settleWithin)
	defer cancel()
	sequence := s.newest.of(user)
	if s.leader.Load() == nil {
		if head, err := s.Executions.Head(ctx, executionsFilter); err == nil {
			sequence = max(sequence, head)
		}
	}
	if sequence > 0 {
		_ = s.Views.WaitForExecutions(ctx, sequence)
	}
}
