package accounts

import (
	"context"
	"time"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/events/log"
)

const (
	// recordEach is how often windows are looked at.
	recordEach = 10 * time.Second
	// lastRecords bounds what is recorded after the end.
	lastRecords = 2 * time.Second
)

// recorder keeps the audit events that the service is the only one to know.
type recorder struct {
	failures, logins, keys *tally
	// wake tells, without waiting, that there is something to record now.
	wake chan struct{}
}

func newRecorder() *recorder {
	return &recorder{
		failures: newTally(failureWindow, maxFailures), logins: newTally(entryWindow, maxEntries), keys: newTally(entryWindow, maxEntries),
		wake: make(chan struct{}, 1),
	}
}

func (r *recorder) note(t *tally, f fact, now time.Time) {
	if !t.note(f, now) {
		return
	}
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// due are the events to be recorded now, or all that there will be.
func (r *recorder) due(now time.Time, all bool) []events.Data {
	var list []events.Data
	for _, c := range r.failures.due(now, all) {
		list = append(list, events.LoginFailed{User: c.user, Address: c.address, Reason: c.detail, Count: c.n, Since: c.since.UTC()})
	}
	for _, c := range r.logins.due(now, all) {
		list = append(list, events.LoginSucceeded{User: c.user, Address: c.address, Count: c.n, Since: c.since.UTC()})
	}
	for _, c := range r.keys.due(now, all) {
		list = append(list, events.KeyUsed{User: c.user, PublicKey: c.detail, Address: c.address, Count: c.n, Since: c.since.UTC()})
	}
	return list
}

// failed notes that somebody was not let in. Of the name only that of a user is kept: people type a
// password where the name belongs.
func (s *Service) failed(name, address, reason string) {
	if !s.directory.user(name).Registered {
		name = ""
	}
	s.recorder.note(s.recorder.failures, fact{name, address, reason}, s.Now())
}

// recordAlways records until the context ends, and then what was counted. While the log cannot be
// written to, counting goes on.
func (s *Service) recordAlways(ctx context.Context) error {
	again := time.NewTicker(recordEach)
	defer again.Stop()
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-again.C:
		case <-s.recorder.wake:
		}
		for _, data := range s.recorder.due(s.Now(), false) {
			if f, failed := data.(events.LoginFailed); failed {
				s.Log.Warn("logins failed", "user", f.User, "from", f.Address, "reason", f.Reason, "count", f.Count)
			}
			if !s.recordPatiently(ctx, data) {
				break
			}
		}
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastRecords)
	defer cancel()
	for _, data := range s.recorder.due(s.Now(), true) {
		if err := s.record(ctx, "", data); err != nil {
			s.Log.Warn("what was counted last is not in the audit", "err", err)
			break
		}
	}
	return context.Canceled
}

// recordPatiently tries until it is done, which it reports, or the service ends.
func (s *Service) recordPatiently(ctx context.Context, data events.Data) bool {
	for {
		within, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastRecords)
		err := s.record(within, "", data)
		cancel()
		if err == nil {
			return true
		}
		s.Log.Warn("cannot write to the audit yet", "err", err)
		if ctx.Err() != nil {
			return false
		}
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
		}
	}
}

// record appends an audit event. Several services may write to the subject, and none minds who is first.
func (s *Service) record(ctx context.Context, by string, data events.Data) error {
	event := events.Event{ID: s.NewID(), Source: source, By: by, Time: s.Now().UTC(), Data: data}
	return log.AppendLast(ctx, s.Audit, events.AuditSubject(data.Type()), event)
}

// recordAct records what the operator did in vain.
func (s *Service) recordAct(ctx context.Context, by string, act events.OperatorActed) error {
	return s.record(ctx, by, act)
}
