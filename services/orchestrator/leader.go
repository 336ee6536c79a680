package orchestrator

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/events/log"
	"github.com/hermes-serverless/hermes/projections/executions"
	"github.com/hermes-serverless/hermes/services/api"
)

// tickEvery is how often the leader looks for what no event announces: leases that ran out, cancels
// that were not heard, placements that nobody claims.
const tickEvery = time.Second

// claimWithin is how long a placed run request may stay unclaimed before it is placed anew. It is
// far longer than preparing a sandbox takes; the claim that comes later is refused.
const claimWithin = 5 * time.Minute

// leader places executions and grants attempts while it holds the leadership.
type leader struct {
	*parts
	log *slog.Logger

	mu    sync.Mutex
	state *state
	// early holds placements found in the runs stream whose executions have not been followed yet.
	early map[key]put
	// sending are the run requests that are being stored.
	sending map[key]bool

	forecasts forecasts
	reads     reads

	// id is this leader's, and no other's.
	id      string
	notices notices

	// hellos lets one hello be worked on at a time: what is lost is decided on one state.
	hellos sync.Mutex

	// since is when it began to listen: who has not been heard of for a lease after that is gone.
	since time.Time

	// changes tells who waits for an execution; over is closed when the leader has ended.
	changes changes
	over    chan struct{}

	// kick asks for a new plan; one waiting kick is enough.
	kick chan struct{}
	// work counts what was started and not awaited; nothing is added once ended is set, under mu.
	work  sync.WaitGroup
	ended bool
}

func newLeader(p *parts) *leader {
	return &leader{
		parts: p, log: p.Log.With("role", "leader"), state: newState(), early: map[key]put{}, sending: map[key]bool{}, since: time.Now(),
		id: api.NewID(), notices: notices{sent: map[string]uint64{}}, over: make(chan struct{}), kick: make(chan struct{}, 1),
	}
}

// run leads until the context ends or something fails that a new start may mend. From ready on,
// others may tell it what they have appended; what was appended before is followed from the log.
func (l *leader) run(ctx context.Context, ready func()) error {
	if err := l.recover(ctx); err != nil {
		return fmt.Errorf("recover the leader's state: %w", err)
	}
	basesFrom, err := l.recoverBases(ctx)
	if err != nil {
		return fmt.Errorf("recover the leader's state: %w", err)
	}
	builds, functionsTo, err := l.recoverFunctions(ctx)
	if err != nil {
		return fmt.Errorf("recover the leader's state: %w", err)
	}
	defer l.end()
	l.beginAnew()
	ready()
	server, err := l.serve()
	if err != nil {
		return err
	}
	defer func() { _ = server.Stop() }()
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return l.followExecutions(ctx) })
	g.Go(func() error { return l.followFunctions(ctx, builds, functionsTo) })
	g.Go(func() error { return l.followBases(ctx, basesFrom) })
	g.Go(func() error { return l.watchLeases(ctx) })
	g.Go(func() error { return l.plan(ctx) })
	return g.Wait()
}

// recover brings back what the leader before knew: live executions from the view, later events
// from the log, placements from the runs stream, watchers from the fleet's view and the leases.
func (l *leader) recover(ctx context.Context) error {
	live, checkpoint, err := l.Views.Active(ctx)
	if err != nil {
		return fmt.Errorf("read the live executions: %w", err)
	}
	for _, exec := range live {
		l.state.load(exec)
	}
	l.seedTimes(ctx, live)
	l.state.followed = checkpoint
	for record, err := range l.Executions.Read(ctx, executionsFilter, checkpoint+1) {
		if err := l.skipUndecodable(err); err != nil {
			return fmt.Errorf("read the executions' log: %w", err)
		}
		if record.Data == nil {
			continue
		}
		e, err := l.state.follow(record)
		if err != nil {
			l.log.Error("event does not fit its execution", "subject", record.Subject, "sequence", record.Sequence, "err", err)
		}
		l.know(e)
	}
	if err := l.recoverPlacements(ctx); err != nil {
		return err
	}
	return l.recoverFleet(ctx)
}

// skipUndecodable lets reading go on behind an event that this build does not know: the projection
// quarantines it and shows it to the operator.
func (l *leader) skipUndecodable(err error) error {
	var undecodable *log.UndecodableError
	if errors.As(err, &undecodable) {
		l.log.Error("event cannot be read", "subject", undecodable.Subject, "sequence", undecodable.Sequence, "err", err)
		return nil
	}
	return err
}

func (l *leader) followExecutions(ctx context.Context) error {
	l.mu.Lock()
	from := l.state.followed + 1
	l.mu.Unlock()
	for record, err := range l.Executions.Follow(ctx, executionsFilter, from) {
		if err := l.skipUndecodable(err); err != nil {
			return fmt.Errorf("follow the executions' log: %w", err)
		}
		if record.Data == nil {
			continue
		}
		l.follow(ctx, record)
	}
	return ctx.Err()
}

// follow folds a record of the log, and does what it calls for.
func (l *leader) follow(ctx context.Context, record events.Record) {
	l.mu.Lock()
	e, err := l.state.follow(record)
	l.know(e)
	var k key
	if e != nil {
		k = e.key()
	}
	l.mu.Unlock()
	if err != nil {
		l.log.Error("event does not fit its execution", "subject", record.Subject, "sequence", record.Sequence, "err", err)
		return
	}
	if e != nil {
		l.react(ctx, k.owner, k.id, record.Data)
	}
}

// learn takes an execution as its log stood right behind an event that this process appended. It
// is the whole fold and not the event alone: events before it may not have been followed yet.
func (l *leader) learn(ctx context.Context, exec executions.Execution, last events.Data) {
	l.mu.Lock()
	l.know(l.state.load(exec))
	l.mu.Unlock()
	l.react(ctx, exec.Owner, exec.ID, last)
}

// know takes note of an execution that was loaded or followed. The caller holds mu.
func (l *leader) know(e *entry) {
	if e == nil {
		return
	}
	l.adopt(e)
	l.newest.saw(e.exec.Owner, e.exec.Sequence)
	l.changes.tell(e.exec)
}

// adopt puts an execution where the runs stream had its request, before the execution was known. The
// caller holds mu.
func (l *leader) adopt(e *entry) {
	if e == nil {
		return
	}
	if on, ok := l.early[e.key()]; ok {
		l.state.place(e.key(), on, time.Now())
		if e.placed == on.watcher {
			delete(l.early, e.key())
		}
	}
}

func (l *leader) react(ctx context.Context, owner, id string, last events.Data) {
	if _, ok := last.(events.ExecutionCancelRequested); ok {
		l.background(func() { l.pursueCancel(ctx, owner, id) })
	}
	l.again()
}

// again asks for a new plan.
func (l *leader) again() {
	select {
	case l.kick <- struct{}{}:
	default:
	}
}

// background runs f; the leader waits for it before it ends. A leader that has ended does nothing:
// the next one finds what is to be done in the log.
func (l *leader) background(f func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.ended {
		l.work.Go(f)
	}
}

func (l *leader) end() {
	l.mu.Lock()
	l.ended = true
	l.mu.Unlock()
	close(l.over)
	l.work.Wait()
}

// plan places what waits, whenever something changed, and looks after what no event announces.
func (l *leader) plan(ctx context.Context) error {
	tick := time.NewTicker(tickEvery)
	defer tick.Stop()
	for {
		l.placeWaiting(ctx)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-l.kick:
		case <-tick.C:
			l.checkLeases(ctx)
			l.loseOrphans(ctx)
			l.pursueCancels(ctx)
			l.takeBackUnclaimed(ctx)
			l.tidyEarly(ctx)
		}
	}
}

// sharedFor is how long a slot is kept free for somebody after they have asked for an execution.
const sharedFor = 10 * time.Minute

func (l *leader) placeWaiting(ctx context.Context) {
	now := time.Now()
	l.mu.Lock()
	queues, nodes := l.planInput(now)
	plan := l.Policy.GPUs.place(queues, nodes)
	requests := make([]api.RunRequest, 0, len(plan))
	for _, p := range plan {
		k := key{owner: p.User, id: p.ID}
		e := l.state.execs[k]
		l.state.place(k, put{p.Watcher, p.Devices}, now)
		requests = append(requests, e.request())
	}
	hopeless := l.hopeless(queues)
	l.mu.Unlock()
	for i, p := range plan {
		l.background(func() { l.sendRun(ctx, p.Watcher, requests[i]) })
	}
	for owner, ids := range hopeless {
		for id, why := range ids {
			l.background(func() { l.endUnplaceable(ctx, owner, id, why) })
		}
	}
}

// hopeless finds the waiting executions that no machine of the fleet can ever run: why, by owner and id.
func (l *leader) hopeless(queues []Queue) map[string]map[string]string {
	found, nodes := map[string]map[string]string{}, l.state.fleet()
	for _, q := range queues {
		for _, need := range q.Waiting {
			if e := l.state.execs[key{owner: q.User, id: need.ID}]; e == nil || !e.waiting() {
				continue
			}
			if why := Unplaceable(nodes, need); why != "" {
				if found[q.User] == nil {
					found[q.User] = map[string]string{}
				}
				found[q.User][need.ID] = why
			}
		}
	}
	return found
}

func (l *leader) endUnplaceable(ctx context.Context, owner, id, why string) {
	l.endQueued(ctx, owner, id, func(s subjectState) events.Data { return decideUnplaceable(s.exec, why) })
}
