package orchestrator

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/projections/executions"
	"github.com/hermes-serverless/hermes/services/api"
)

// sendRun sends a run request to the watcher. The watcher hears it as it is published; the stream
// keeps it until its claim is decided, for the next leader to know where it went, and for a watcher
// that did not hear it. If that fails the execution waits again.
func (l *leader) sendRun(ctx context.Context, watcher string, request api.RunRequest) {
	k := key{owner: request.Owner, id: request.ID}
	l.mu.Lock()
	l.sending[k] = true
	l.mu.Unlock()
	raw, err := json.Marshal(request)
	if err == nil {
		_, err = l.JS.Publish(ctx, events.RunSubject(watcher, k.owner, k.id), raw, jetstream.WithMsgID(api.NewID()))
	}
	l.mu.Lock()
	delete(l.sending, k)
	decided := l.state.placedOn(k).watcher != watcher
	e := l.state.execs[k]
	isStale := e != nil && e.outdated && !request.Outdated
	l.mu.Unlock()
	if isStale {
		// The watcher may have been told before it heard the request.
		l.tellStale([]string{watcher}, request.Request.Function)
	}
	if err == nil {
		// The watcher heard it before it was stored, and may have claimed it already.
		if decided {
			l.withdraw(context.WithoutCancel(ctx), watcher, k)
		}
		return
	}
	if ctx.Err() == nil {
		l.log.Warn("cannot place an execution yet", "execution", k.id, "watcher", watcher, "err", err)
	}
	// The request may be stored all the same: it is taken away before the execution waits again,
	// and a claim on it is refused as long as the placement is not this watcher's.
	l.withdraw(context.WithoutCancel(ctx), watcher, k)
	l.mu.Lock()
	l.state.unplace(k, watcher)
	l.mu.Unlock()
}

// withdrawStored takes a request away whose claim is decided, unless it is still being stored: then
// sendRun does.
func (l *leader) withdrawStored(ctx context.Context, watcher string, k key) {
	l.mu.Lock()
	sending := l.sending[k]
	l.mu.Unlock()
	if !sending {
		l.background(func() { l.withdraw(context.WithoutCancel(ctx), watcher, k) })
	}
}

// sendAgain sends a watcher that said hello what is placed on it and what it does not hold: it may
// not have listened when that was sent.
func (l *leader) sendAgain(ctx context.Context, watcher string, holds map[api.AttemptRef]bool) {
	l.mu.Lock()
	var requests []api.RunRequest
	for _, e := range l.state.heldBy(watcher) {
		if r := e.request(); e.placed != "" && !holds[r.AttemptRef] {
			requests = append(requests, r)
		}
	}
	l.mu.Unlock()
	for _, r := range requests {
		l.background(func() { l.sendRun(context.WithoutCancel(ctx), watcher, r) })
	}
}

// withdraw takes a run request out of a watcher's queue. It may be there no more.
func (l *leader) withdraw(ctx context.Context, watcher string, k key) {
	l.purgeRuns(ctx, events.RunSubject(watcher, k.owner, k.id))
}

func (l *leader) purgeRuns(ctx context.Context, subject string) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	if err := l.Runs.Purge(ctx, jetstream.WithPurgeSubject(subject)); err != nil {
		l.log.Warn("cannot take run requests back; their claims will be refused", "subject", subject, "err", err)
	}
}

// recoverPlacements reads from the runs stream which requests are out.
func (l *leader) recoverPlacements(ctx context.Context) error {
	info, err := l.Runs.Info(ctx, jetstream.WithSubjectFilter("hermes.run.>"))
	if err != nil {
		return fmt.Errorf("read the run requests that are out: %w", err)
	}
	for subject := range info.State.Subjects {
		watcher, owner, id, err := events.ParseRunSubject(subject)
		if err != nil {
			l.log.Error("what stands in the stream of run requests is none; taking it away", "subject", subject, "err", err)
			l.background(func() { l.purgeRuns(ctx, subject) })
			continue
		}
		k := key{owner: owner, id: id}
		on := put{watcher: watcher}
		if e := l.state.execs[k]; e == nil || e.exec.Request.GPUs > 0 {
			if on.devices, err = l.storedDevices(ctx, subject); err != nil {
				return err
			}
		}
		l.early[k] = on
		l.adopt(l.state.execs[k])
	}
	return nil
}

// storedDevices are the GPUs that a run request which is out gives; none if it is there no more. A
// watcher that has other ones is refused.
func (l *leader) storedDevices(ctx context.Context, subject string) ([]string, error) {
	m, err := l.Runs.GetLastMsgForSubject(ctx, subject)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the run request %s: %w", subject, err)
	}
	var request api.RunRequest
	if err := json.Unmarshal(m.Data, &request); err != nil {
		l.log.Error("a run request cannot be read; its claim will be refused", "subject", subject, "err", err)
	}
	return request.Devices, nil
}

// tidyEarly takes away the requests that the leader before left and that nobody waits for: their
// executions have been started, or have ended.
func (l *leader) tidyEarly(ctx context.Context) {
	l.mu.Lock()
	early := maps.Clone(l.early)
	l.mu.Unlock()
	for k, on := range early {
		// What is not known lives on in the log alone: it is yet to be followed, or has ended.
		s, err := l.current(ctx, k.owner, k.id)
		if err != nil {
			continue
		}
		if s.placedOn.watcher != on.watcher {
			l.withdraw(ctx, on.watcher, k)
		}
		l.mu.Lock()
		delete(l.early, k)
		l.mu.Unlock()
	}
}

// takeBackUnclaimed places anew what a watcher has not claimed for so long that it never will.
func (l *leader) takeBackUnclaimed(ctx context.Context) {
	now := time.Now()
	l.mu.Lock()
	stale := map[key]string{}
	for k, e := range l.state.held {
		if e.placed != "" && now.Sub(e.placedAt) > claimWithin {
			stale[k] = e.placed
		}
	}
	l.mu.Unlock()
	for k, watcher := range stale {
		l.log.Warn("a run request was not claimed, placing it anew", "execution", k.id, "watcher", watcher)
		l.takeBack(ctx, watcher, k)
	}
}

// takeBack undoes a placement: the execution, if it still waits there, has to be placed anew.
func (l *leader) takeBack(ctx context.Context, watcher string, k key) {
	l.withdraw(ctx, watcher, k)
	l.mu.Lock()
	l.state.unplace(k, watcher)
	l.mu.Unlock()
	l.again()
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
