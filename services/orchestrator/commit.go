package orchestrator

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/events/log"
	"github.com/hermes-serverless/hermes/projections/executions"
	"github.com/hermes-serverless/hermes/services/api"
)

const (
	source           = "orchestrator"
	executionsFilter = "hermes.execution.>"
)

// subjectState is what a decision about one execution sees.
type subjectState struct {
	exec     executions.Execution
	placedOn put
}

// fold reads one execution from the log. When that has let go of its first event it has ended, and
// its view is all that can be said of it.
func (p *parts) fold(ctx context.Context, owner, id string) (executions.Execution, error) {
	var state executions.Execution
	for record, err := range p.Executions.Read(ctx, events.ExecutionSubject(owner, id), 0) {
		if err != nil {
			return state, fmt.Errorf("read execution %s: %w", id, err)
		}
		if state.Status == "" && !begins(record) {
			break
		}
		next, err := executions.Fold(state, record)
		if err != nil {
			return state, fmt.Errorf("fold execution %s at sequence %d: %w", id, record.Sequence, err)
		}
		state = next
	}
	if state.Status != "" {
		return state, nil
	}
	state, err := p.Views.ExecutionByID(ctx, owner, id)
	if err != nil {
		return state, fmt.Errorf("read the view of execution %s: %w", id, err)
	}
	return state, nil
}

func begins(r events.Record) bool {
	_, requested := r.Data.(events.ExecutionRequested)
	return requested
}

// append stores one event behind the state that it was decided on, and returns the state after it.
// What does not fold is not stored.
func (p *parts) append(ctx context.Context, owner, id string, state executions.Execution, eventID string, data events.Data) (executions.Execution, error) {
	r := events.Record{
		// As the log keeps it, so that what is learned now and what is read later are the same.
		Event:   events.Event{ID: eventID, Source: source, Time: time.Now().UTC().Truncate(time.Microsecond), Data: data},
		Subject: events.ExecutionSubject(owner, id),
	}
	next, err := executions.Fold(state, r)
	if err != nil {
		return state, err
	}
	next.Sequence, err = p.Executions.Append(ctx, r.Subject, state.Sequence, r.Event)
	if err == nil {
		p.ends.add(next)
		p.newest.saw(owner, next.Sequence)
	}
	return next, err
}

// current is the state to decide on: what the leader holds, or else the log's.
func (l *leader) current(ctx context.Context, owner, id string) (subjectState, error) {
	l.mu.Lock()
	if e := l.state.execs[key{owner: owner, id: id}]; e != nil {
		defer l.mu.Unlock()
		return subjectState{exec: e.exec, placedOn: put{e.placed, e.devices}}, nil
	}
	l.mu.Unlock()
	return l.refresh(ctx, owner, id)
}

// refresh takes the state from the log.
func (l *leader) refresh(ctx context.Context, owner, id string) (subjectState, error) {
	exec, err := l.fold(ctx, owner, id)
	if err != nil {
		return subjectState{}, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.know(l.state.load(exec))
	return subjectState{exec: exec, placedOn: l.state.placedOn(key{owner: owner, id: id})}, nil
}

// commit decides and appends; a lost race means that it reads again and decides again. A nil event
// with the decision's words means that there is nothing to append.
func (l *leader) commit(ctx context.Context, owner, id string, decide func(subjectState) (events.Data, string)) (string, error) {
	state, err := l.current(ctx, owner, id)
	for {
		if err != nil {
			return "", err
		}
		data, words := decide(state)
		if data == nil {
			return words, nil
		}
		next, err2 := l.append(ctx, owner, id, state.exec, api.NewID(), data)
		switch {
		case err2 == nil:
			l.learn(ctx, next, data)
			return words, nil
		case !errors.Is(err2, log.ErrConflict):
			return "", fmt.Errorf("append %s of execution %s: %w", data.Type(), id, err2)
		}
		state, err = l.refresh(ctx, owner, id)
	}
}

// endQueued appends the end of an execution that never got to run, and takes its run request away.
func (l *leader) endQueued(ctx context.Context, owner, id string, decide func(subjectState) events.Data) {
	watcher := ""
	_, err := l.commit(ctx, owner, id, func(s subjectState) (events.Data, string) {
		watcher = s.placedOn.watcher
		return decide(s), ""
	})
	if err != nil {
		if ctx.Err() == nil {
			l.log.Warn("cannot end a queued execution yet", "execution", id, "err", err)
		}
		return
	}
	if watcher != "" {
		l.withdraw(ctx, watcher, key{owner: owner, id: id})
	}
}
