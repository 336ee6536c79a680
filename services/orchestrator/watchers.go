package orchestrator

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/events/log"
	"github.com/hermes-serverless/hermes/projections/executions"
	"github.com/hermes-serverless/hermes/projections/fleet"
	"github.com/hermes-serverless/hermes/services/api"
)

// silentFor is how long nothing is heard of a watcher that has ended its runs: its lease, counted
// from before it was sent, and a margin for its way here.
const silentFor = api.WatcherLeaseTTL + 2*time.Second

// serve answers the watchers; only the leader does.
func (l *leader) serve() (*api.Server, error) {
	s, err := api.NewServer(l.Conn, "hermes-leader", l.Version, "places executions and grants attempts", l.log)
	if err != nil {
		return nil, err
	}
	err = errors.Join(
		api.HandleWatcher(s, api.OpHello, l.hello),
		api.HandleWatcher(s, api.OpPreparing, l.preparing),
		api.HandleWatcher(s, api.OpClaim, l.claim),
		api.HandleWatcher(s, api.OpReport, l.report),
		api.HandleWatcher(s, api.OpLeave, l.leave),
		api.HandleWatcher(s, api.OpBlobStat, l.statBlob),
		s.Handle("watch-"+api.OpBlobRead, api.WatchSubject("*", api.OpBlobRead), l.readBlob),
		s.Handle("queue-position", api.QueuePositionSubject, api.JSON(l.queuePosition)),
		s.Handle("fleet", api.FleetSubject, api.JSON(l.fleet)),
		s.Handle("gpus", api.GPUsSubject, api.JSON(l.gpus)),
		api.HandleAudited(s, l.recordAct, api.OpWatcherDrain, func(a api.WatcherDrain) string { return a.WatcherRef.String() }, l.drain),
		api.HandleAudited(s, l.recordAct, api.OpWatcherUndrain, api.WatcherRef.String, l.undrain),
	)
	if err != nil {
		return nil, errors.Join(err, s.Stop())
	}
	return s, nil
}

func (l *leader) queuePosition(_ context.Context, _ string, ask api.QueuePosition) (api.QueuePositionReply, error) {
	k := key{owner: ask.Owner, id: ask.ID}
	reply := l.standing(k)
	if reply.Position > 0 && reply.Waits == "" {
		var startsIn time.Duration
		startsIn, reply.Waits = l.foresee(k)
		reply.StartsInMillis = startsIn.Milliseconds()
	}
	return reply, nil
}

// standing is what is known of where an execution stands.
func (l *leader) standing(k key) api.QueuePositionReply {
	l.mu.Lock()
	defer l.mu.Unlock()
	reply := api.QueuePositionReply{Position: l.state.position(k), Doing: l.state.doing(k)}
	now := time.Now()
	if over := l.state.waitsFor(k, l.room(k.owner, now)); over != nil {
		reply.Waits = api.QuotaWaitText(*over, now)
	}
	return reply
}

// maxDoing bounds, in runes, what a watcher can have told to a person.
const maxDoing = 200

func (l *leader) preparing(_ context.Context, watcher string, p api.Preparing) (api.PreparingReply, error) {
	if err := checkAttempt(p.AttemptRef); err != nil {
		return api.PreparingReply{}, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.state.prepares(key{owner: p.Owner, id: p.ID}, watcher, plainLine(p.Doing, maxDoing), time.Now())
	return api.PreparingReply{}, nil
}

// plainLine is what a terminal can be shown of a text that nobody vouches for, up to so many runes.
func plainLine(text string, most int) string {
	line := []rune{}
	for _, r := range text {
		if len(line) == most {
			break
		}
		if unicode.IsPrint(r) {
			line = append(line, r)
		}
	}
	return string(line)
}

func (l *leader) claim(ctx context.Context, watcher string, claim api.Claim) (api.ClaimReply, error) {
	k := key{owner: claim.Owner, id: claim.ID}
	if err := checkAttempt(claim.AttemptRef); err != nil {
		return api.ClaimReply{}, err
	}
	if !l.isSession(watcher, claim.Session) {
		l.takeBack(ctx, watcher, k)
		return api.ClaimReply{Why: "the watcher has not said hello in this session"}, nil
	}
	on := l.hardware(watcher, claim.Devices)
	refusal, err := l.commit(ctx, claim.Owner, claim.ID, func(s subjectState) (events.Data, string) {
		return decideClaim(s.exec, s.placedOn, on, watcher, claim)
	})
	if err != nil {
		return api.ClaimReply{}, err
	}
	if refusal != "" {
		// The watcher drops the request.
		l.takeBack(ctx, watcher, k)
		return api.ClaimReply{Why: refusal}, nil
	}
	l.withdrawStored(ctx, watcher, k)
	return api.ClaimReply{Granted: true}, nil
}

// hardware is what an attempt runs on that is given these devices of a watcher.
func (l *leader) hardware(watcher string, devices []string) events.Hardware {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := l.state.nodes[watcher]
	if n == nil {
		return events.Hardware{}
	}
	on := events.Hardware{CPUModel: n.machine.CPUModel}
	for _, uuid := range devices {
		for _, g := range n.machine.GPUs {
			if g.UUID == uuid {
				on.GPUModels, on.Driver = append(on.GPUModels, g.Model), n.machine.Driver
			}
		}
	}
	return on
}

// checkAttempt refuses what no attempt can be called: its words become subjects.
func checkAttempt(ref api.AttemptRef) error {
	if err := errors.Join(events.CheckUserName(ref.Owner), events.CheckExecutionID(ref.ID)); err != nil {
		return api.Errorf(api.Invalid, api.InvalidArguments, "attempt: %v", err)
	}
	return nil
}

func (l *leader) report(ctx context.Context, watcher string, report api.Report) (api.ReportReply, error) {
	if err := checkAttempt(report.AttemptRef); err != nil {
		return api.ReportReply{}, err
	}
	if err := l.dropForeign(ctx, watcher, &report); err != nil {
		return api.ReportReply{}, err
	}
	why, err := l.commit(ctx, report.Owner, report.ID, func(s subjectState) (events.Data, string) {
		return decideReport(s.exec, s.placedOn, watcher, report)
	})
	if err == nil && !report.Started {
		l.withdraw(ctx, watcher, key{owner: report.Owner, id: report.ID})
	}
	return api.ReportReply{Why: why}, err
}

// hello takes a watcher into the fleet. What the log says runs there and the watcher does not
// hold is lost.
func (l *leader) hello(ctx context.Context, watcher string, hello api.Hello) (api.HelloReply, error) {
	if err := events.CheckWatcherName(watcher); err != nil {
		return api.HelloReply{}, api.Errorf(api.Invalid, api.InvalidArguments, "%v", err)
	}
	l.hellos.Lock()
	defer l.hellos.Unlock()
	isNew, isLate := l.orderOf(watcher, hello)
	if isLate {
		return api.HelloReply{}, nil
	}
	err := l.commitWatcher(ctx, watcher, func(known fleet.Watcher) events.Data {
		if isNew || !known.Present() {
			return events.WatcherJoined{Machine: hello.Machine}
		}
		if known.SameMachine(hello.Machine) {
			return nil
		}
		return events.WatcherChanged{Machine: hello.Machine}
	})
	if err != nil {
		return api.HelloReply{}, err
	}
	l.mu.Lock()
	greeted := &node{machine: hello.Machine, session: hello.Session, hello: hello.Number, seen: time.Now()}
	if old := l.state.nodes[watcher]; old != nil && old.session == hello.Session {
		greeted.draining, greeted.readings = old.draining, old.readings
	}
	l.state.nodes[watcher] = greeted
	l.state.machines[watcher] = hello.Machine
	l.mu.Unlock()
	holds := map[api.AttemptRef]bool{}
	for _, h := range hello.Holds {
		holds[h] = true
	}
	l.loseAttempts(ctx, watcher, "the watcher was restarted while it ran", holds)
	l.placeAstray(ctx, watcher, hello.Machine)
	l.sendAgain(ctx, watcher, holds)
	if isNew {
		l.log.Info("watcher joins", "watcher", watcher, "slots", hello.Machine.Slots, "holds", len(hello.Holds))
	}
	l.again()
	drop, err := l.notHeld(ctx, watcher, hello.Holds)
	return api.HelloReply{Drop: drop, Leader: l.id, Notices: l.told(watcher)}, err
}

// orderOf says whether a hello begins a session, and whether a later one of its session was heard.
func (l *leader) orderOf(watcher string, hello api.Hello) (isNew, isLate bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := l.state.nodes[watcher]
	if n == nil || n.session != hello.Session {
		return true, false
	}
	return false, n.hello >= hello.Number
}

// notHeld are the attempts that a watcher believes to hold and the log says are over for it.
func (l *leader) notHeld(ctx context.Context, watcher string, holds []api.AttemptRef) ([]api.AttemptRef, error) {
	var drop []api.AttemptRef
	for _, ref := range holds {
		s, err := l.current(ctx, ref.Owner, ref.ID)
		if err != nil {
			return nil, err
		}
		elsewhere := s.exec.Status == executions.Running && s.exec.Watcher != watcher
		if s.exec.Status.Final() || s.exec.Attempt > ref.Attempt || elsewhere {
			drop = append(drop, ref)
		}
	}
	return drop, nil
}

func (l *leader) leave(ctx context.Context, watcher string, leave api.Leave) (api.LeaveReply, error) {
	if !l.isSession(watcher, leave.Session) {
		return api.LeaveReply{}, nil
	}
	err := l.commitWatcher(ctx, watcher, func(known fleet.Watcher) events.Data {
		if !known.Present() {
			return nil
		}
		return events.WatcherLeft{}
	})
	if err != nil {
		return api.LeaveReply{}, err
	}
	l.mu.Lock()
	delete(l.state.nodes, watcher)
	l.mu.Unlock()
	l.requeue(ctx, watcher)
	l.log.Info("watcher left", "watcher", watcher)
	return api.LeaveReply{}, nil
}

func (l *leader) isSession(watcher, session string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := l.state.nodes[watcher]
	return n != nil && n.session == session
}

// loseAttempts ends, or queues again, what runs on a watcher and is not in holds.
func (l *leader) loseAttempts(ctx context.Context, watcher, message string, holds map[api.AttemptRef]bool) {
	l.mu.Lock()
	held := l.state.heldBy(watcher)
	refs := make([]api.AttemptRef, 0, len(held))
	for _, e := range held {
		if e.exec.Watcher == watcher && e.placed == "" {
			refs = append(refs, api.AttemptRef{Owner: e.exec.Owner, ID: e.exec.ID, Attempt: e.exec.Attempt})
		}
	}
	l.mu.Unlock()
	for _, ref := range refs {
		if holds[ref] {
			continue
		}
		_, err := l.commit(ctx, ref.Owner, ref.ID, func(s subjectState) (events.Data, string) {
			if s.exec.Attempt != ref.Attempt {
				return nil, ""
			}
			return decideLost(s.exec, watcher, message), ""
		})
		if err != nil {
			l.log.Warn("cannot note a lost attempt yet", "execution", ref.ID, "watcher", watcher, "err", err)
		}
	}
}

// requeue takes back what was placed on a watcher and not claimed.
func (l *leader) requeue(ctx context.Context, watcher string) {
	l.purgeRuns(ctx, events.RunsSubject(watcher))
	l.mu.Lock()
	for _, e := range l.state.heldBy(watcher) {
		l.state.unplace(e.key(), watcher)
	}
	l.mu.Unlock()
	l.again()
}

// recoverFleet knows every watcher that had joined, as heard of just now: those that live renew
// their leases, and the others are lost one lease later.
func (l *leader) recoverFleet(ctx context.Context) error {
	watchers, err := l.Views.Watchers(ctx)
	if err != nil {
		return fmt.Errorf("read the fleet: %w", err)
	}
	for _, w := range watchers {
		known, err := l.foldWatcher(ctx, w.Name) // the view may be a moment behind a drain
		if err != nil {
			return err
		}
		l.state.cordons[w.Name] = known.Cordons
		l.state.machines[w.Name] = w.Machine
		if w.Present() {
			l.state.nodes[w.Name] = &node{machine: w.Machine, seen: time.Now()}
		}
	}
	return nil
}

// watchLeases keeps track of who lives.
func (l *leader) watchLeases(ctx context.Context) error {
	w, err := l.Leases.Watch(ctx, api.LeaseKey("*"))
	if err != nil {
		return fmt.Errorf("watch the watchers' leases: %w", err)
	}
	// Nobody waits for the answer, which without a connection does not come for seconds.
	defer func() { go func() { _ = w.Stop() }() }()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case update, ok := <-w.Updates():
			if !ok {
				return errors.New("the watch of the watchers' leases ended")
			}
			if update != nil {
				l.leaseChanged(update)
			}
		}
	}
}

func (l *leader) leaseChanged(update jetstream.KeyValueEntry) {
	watcher := strings.TrimPrefix(update.Key(), api.LeaseKey(""))
	l.mu.Lock()
	defer l.mu.Unlock()
	n := l.state.nodes[watcher]
	if n == nil || update.Operation() != jetstream.KeyValuePut {
		return
	}
	var lease api.Lease
	if err := json.Unmarshal(update.Value(), &lease); err != nil {
		l.log.Error("a watcher's lease cannot be read", "watcher", watcher, "err", err)
		return
	}
	if n.session == "" {
		n.session = lease.Session
	}
	if n.session == lease.Session {
		n.seen, n.draining, n.readings = time.Now(), lease.Draining, lease.GPUs
		l.again()
	}
}

// checkLeases finds the watchers that have been silent for longer than their lease, as this
// machine's clock sees it. It counts from the last renewal that was heard.
func (l *leader) checkLeases(ctx context.Context) {
	now := time.Now()
	l.mu.Lock()
	silent := map[string]time.Duration{}
	for name, n := range l.state.nodes {
		if quiet := now.Sub(n.seen); quiet > silentFor {
			silent[name] = quiet
		}
	}
	l.mu.Unlock()
	for name, quiet := range silent {
		if l.leaseHolds(ctx, name) {
			continue
		}
		l.loseWatcher(ctx, name, quiet)
	}
}

// loseOrphans finds what is held by a watcher that nobody knows: its loss was noted, but a leader
// died, or an append failed, before its attempts were.
func (l *leader) loseOrphans(ctx context.Context) {
	if time.Since(l.since) < silentFor {
		return
	}
	l.mu.Lock()
	orphaned := map[string]bool{}
	for _, e := range l.state.held {
		if l.state.nodes[e.holder()] == nil {
			orphaned[e.holder()] = true
		}
	}
	l.mu.Unlock()
	for watcher := range orphaned {
		if l.leaseHolds(ctx, watcher) {
			continue
		}
		l.log.Warn("taking back what an unknown watcher holds", "watcher", watcher)
		l.requeue(ctx, watcher)
		l.loseAttempts(ctx, watcher, fmt.Sprintf("the watcher %s is gone", watcher), nil)
	}
}

// leaseHolds asks the bucket itself, which lets go of a lease by the server's clock: it may be this
// leader that was cut off, and not the watcher. No answer counts as yes.
func (l *leader) leaseHolds(ctx context.Context, watcher string) bool {
	held, err := l.Leases.Get(ctx, api.LeaseKey(watcher))
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return false
	}
	if err == nil {
		l.leaseChanged(held)
	}
	return true
}

func (l *leader) loseWatcher(ctx context.Context, watcher string, quiet time.Duration) {
	l.log.Warn("watcher is lost", "watcher", watcher, "silent", quiet.Round(time.Millisecond))
	err := l.commitWatcher(ctx, watcher, func(known fleet.Watcher) events.Data {
		if !known.Present() {
			return nil
		}
		return events.WatcherLost{SilentMillis: quiet.Milliseconds()}
	})
	if err != nil {
		l.log.Warn("cannot note a lost watcher yet", "watcher", watcher, "err", err)
		return
	}
	l.mu.Lock()
	delete(l.state.nodes, watcher)
	l.mu.Unlock()
	l.requeue(ctx, watcher)
	l.loseAttempts(ctx, watcher, fmt.Sprintf("the watcher %s was silent for %s", watcher, quiet.Round(time.Second)), nil)
}

// commitWatcher appends an event about a watcher, deciding again when somebody else was first.
func (l *leader) commitWatcher(ctx context.Context, watcher string, decide func(fleet.Watcher) events.Data) error {
	subject := events.WatcherSubject(watcher)
	for {
		known, err := l.foldWatcher(ctx, watcher)
		if err != nil {
			return err
		}
		data := decide(known)
		if data == nil {
			return nil
		}
		event := events.Event{ID: api.NewID(), Source: source, Time: time.Now().UTC(), Data: data}
		if _, err = l.Fleet.Append(ctx, subject, known.Sequence, event); !errors.Is(err, log.ErrConflict) {
			return err
		}
	}
}
