package orchestrator

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/projections/executions"
	"github.com/hermes-serverless/hermes/services/api"
)

// sendRun puts a run request on the watcher's queue. If that fails the execution waits again.
func (l *leader) sendRun(ctx context.Context, watcher string, request api.RunRequest) {
	raw, err := json.Marshal(request)
	if err == nil {
		_, err = l.JS.Publish(ctx, events.RunSubject(watcher, request.ID), raw, jetstream.WithMsgID(api.NewID()))
	}
	if err == nil {
		return
	}
	if ctx.Err() == nil {
		l.log.Warn("cannot place an execution yet", "execution", request.ID, "watcher", watcher, "err", err)
	}
	// The request may be stored all the same: it is taken away before the execution waits again,
	// and a claim on it is refused as long as the placement is not this watcher's.
	l.withdraw(context.WithoutCancel(ctx), watcher, request.ID)
	l.mu.Lock()
	l.state.unplace(request.ID, watcher)
	l.mu.Unlock()
}

// withdraw takes a run request back from a watcher's queue. It may be there no more.
func (l *leader) withdraw(ctx context.Context, watcher, id string) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	if err := l.Runs.Purge(ctx, jetstream.WithPurgeSubject(events.RunSubject(watcher, id))); err != nil {
		l.log.Warn("cannot take a run request back; its claim will be refused", "execution", id, "watcher", watcher, "err", err)
	}
}

// recoverPlacements reads from the runs stream which requests are out.
func (l *leader) recoverPlacements(ctx context.Context) error {
	info, err := l.Runs.Info(ctx, jetstream.WithSubjectFilter("hermes.run.>"))
	if err != nil {
		return fmt.Errorf("read the run requests that are out: %w", err)
	}
	for subject := range info.State.Subjects {
		watcher, id, ok := strings.Cut(strings.TrimPrefix(subject, "hermes.run."), ".")
		if !ok {
			continue
		}
		if l.state.execs[id] == nil {
			l.early[id] = watcher
			continue
		}
		l.state.place(id, watcher, time.Now())
	}
	return nil
}

// takeBackUnclaimed places anew what a watcher has not claimed for so long that it never will.
func (l *leader) takeBackUnclaimed(ctx context.Context) {
	now := time.Now()
	l.mu.Lock()
	stale := map[string]string{}
	for id, e := range l.state.held {
		if e.placed != "" && now.Sub(e.placedAt) > claimWithin {
			stale[id] = e.placed
		}
	}
	l.mu.Unlock()
	for id, watcher := range stale {
		l.log.Warn("a run request was not claimed, placing it anew", "execution", id, "watcher", watcher)
		l.withdraw(ctx, watcher, id)
		l.mu.Lock()
		l.state.unplace(id, watcher)
		l.mu.Unlock()
		l.again()
	}
}

// pursueCancels goes after every cancel that has not come to its end.
func (l *leader) pursueCancels(ctx context.Context) {
	l.mu.Lock()
	var pending []executions.Execution
	for _, e := range l.state.execs {
		if e.exec.CancelRequestedBy != "" && !e.exec.Status.Final() {
			pending = append(pending, e.exec)
		}
	}
	l.mu.Unlock()
	for _, e := range pending {
		l.background(func() { l.pursueCancel(ctx, e.Owner, e.ID) })
	}
}

// pursueCancel ends a queued execution, or tells the watcher to end a running one. It does no
// harm to call it again.
func (l *leader) pursueCancel(ctx context.Context, owner, id string) {
	state, err := l.current(ctx, owner, id)
	if err != nil {
		return
	}
	if state.exec.Status == executions.Queued {
		l.endQueued(ctx, owner, id, func(s subjectState) events.Data { return decideQueuedCancel(s.exec) })
		if state, err = l.current(ctx, owner, id); err != nil {
			return
		}
	}
	if state.exec.Status != executions.Running {
		return
	}
	raw, err := json.Marshal(api.CancelRun{AttemptRef: api.AttemptRef{Owner: owner, ID: id, Attempt: state.exec.Attempt}})
	if err != nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, tickEvery)
	defer cancel()
	// No answer is no harm: the next tick asks again, and a lost watcher's attempts end as lost.
	_, _ = l.Conn.RequestMsgWithContext(ctx, &nats.Msg{Subject: api.CancelSubject(state.exec.Watcher), Data: raw})
}
