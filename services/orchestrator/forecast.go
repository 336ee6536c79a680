package orchestrator

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/projections/executions"
	"github.com/hermes-serverless/hermes/services/api"
)

const (
	// timesKept is of how many earlier runs of a function the mean is taken.
	timesKept = 8
	// forecastSteps bounds how many ends a forecast looks ahead.
	forecastSteps = 256
	// forecastFor is how long one is good enough for all who ask.
	forecastFor = 2 * time.Second
	// seedOwners and seedRuns bound what a new leader reads of the past.
	seedOwners, seedRuns = 50, 100
)

// job is what has a run time of its own: a function, or its build.
type job struct {
	owner, name string
	kind        events.ExecutionKind
}

func jobOf(r events.ExecutionRequested) job {
	return job{owner: r.Function.Owner, name: r.Function.Name, kind: r.Kind}
}

// runTimes are how long the latest executions took, by what they ran.
type runTimes map[job][]time.Duration

// add takes an execution that has run to its end.
func (t runTimes) add(e executions.Execution) {
	if e.StartedAt.IsZero() || e.EndedAt.IsZero() {
		return
	}
	j := jobOf(e.Request)
	t[j] = append(t[j], e.EndedAt.Sub(e.StartedAt))
	if len(t[j]) > timesKept {
		t[j] = t[j][1:]
	}
}

// likely is the mean, or the bound where there is none, which is also the most.
func (t runTimes) likely(j job, bound time.Duration) time.Duration {
	times := t[j]
	if len(times) == 0 {
		return bound
	}
	sum := time.Duration(0)
	for _, d := range times {
		sum += d
	}
	return min(sum/time.Duration(len(times)), bound)
}

// hold is what an execution has of a watcher once it is placed there.
func (n Need) hold(devices []string) Hold {
	return Hold{User: n.User, MemoryBytes: n.MemoryBytes, Devices: devices, GPU: n.gpu(), Ends: n.takes(), Likely: n.Likely, need: n}
}

// forecast plays on what happens if all that runs and waits takes as long as it is likely to, and
// says when each that waits would be placed, counted from now. What it does not reach is not known.
func forecast(order GPUOrder, queues []Queue, nodes []Node) map[key]time.Duration {
	queues, nodes = slices.Clone(queues), slices.Clone(nodes)
	for i := range nodes {
		nodes[i].Holds = slices.Clone(nodes[i].Holds)
	}
	starts, clock := map[key]time.Duration{}, time.Duration(0)
	for range forecastSteps {
		for _, p := range order.place(queues, nodes) {
			starts[key{p.User, p.ID}] = clock
			q := &queues[slices.IndexFunc(queues, func(q Queue) bool { return q.User == p.User })]
			n := &nodes[slices.IndexFunc(nodes, func(n Node) bool { return n.Name == p.Watcher })]
			need := q.Waiting[0]
			q.Waiting = q.Waiting[1:]
			q.Running++
			q.Room.take(need)
			n.UsedSlots++
			n.UsedMemoryBytes += need.MemoryBytes
			n.Holds = append(n.Holds, need.hold(p.Devices))
		}
		next := nextEnd(nodes)
		if next == forEver || !slices.ContainsFunc(queues, func(q Queue) bool { return len(q.Waiting) > 0 }) {
			break
		}
		clock += next
		passTime(queues, nodes, next)
	}
	return starts
}

// nextEnd is when the first of what runs is likely to end.
func nextEnd(nodes []Node) time.Duration {
	next := forEver
	for _, n := range nodes {
		for _, h := range n.Holds {
			next = min(next, h.Likely)
		}
	}
	return next
}

// passTime ends what is likely to have ended by then.
func passTime(queues []Queue, nodes []Node, passed time.Duration) {
	for i := range nodes {
		n := &nodes[i]
		n.Holds = slices.DeleteFunc(n.Holds, func(h Hold) bool {
			if h.Likely > passed {
				return false
			}
			n.UsedSlots--
			n.UsedMemoryBytes -= h.MemoryBytes
			if q := slices.IndexFunc(queues, func(q Queue) bool { return q.User == h.User }); q >= 0 {
				queues[q].Running--
				queues[q].Room.give(h.need)
			}
			return true
		})
		for j := range n.Holds {
			h := &n.Holds[j]
			h.Likely = less(h.Likely, passed)
			h.Ends = less(h.Ends, passed)
		}
	}
}

func less(d, passed time.Duration) time.Duration {
	if d == forEver {
		return d
	}
	return max(0, d-passed)
}

// forecasts keeps the latest forecast for all who ask.
type forecasts struct {
	mu     sync.Mutex
	at     time.Time
	starts map[key]time.Duration
	// behind is what those wait for whose GPU is on another user's card.
	behind map[key]string
}

// foresee says how long a waiting execution is likely to wait yet, 0 when nobody knows, and what it waits
// for if that is another user's card.
func (l *leader) foresee(k key) (startsIn time.Duration, behind string) {
	l.forecasts.mu.Lock()
	defer l.forecasts.mu.Unlock()
	now := time.Now()
	if now.Sub(l.forecasts.at) > forecastFor {
		l.mu.Lock()
		queues, nodes := l.planInput(now)
		l.mu.Unlock()
		l.forecasts.starts, l.forecasts.behind, l.forecasts.at = forecast(l.Policy.GPUs, queues, nodes), behindCards(l.Policy.GPUs, queues, nodes), now
	}
	return max(0, l.forecasts.starts[k]-now.Sub(l.forecasts.at)), l.forecasts.behind[k]
}

// behindCards is what those wait for that would have a GPU now, were its card not another user's.
func behindCards(order GPUOrder, queues []Queue, nodes []Node) map[key]string {
	f, behind := newFloor(order, nodes), map[key]string{}
	for _, q := range queues {
		for _, need := range q.Waiting {
			if why := f.behindCards(need); why != "" {
				behind[key{need.User, need.ID}] = why
			}
		}
	}
	return behind
}

// planInput is what is planned with. The caller holds mu.
func (l *leader) planInput(now time.Time) ([]Queue, []Node) {
	queues, nodes := l.state.planInput(now, func(n *node) bool { return now.Sub(n.seen) < api.WatcherLeaseTTL },
		func(user string) Room { return l.room(user, now) })
	l.state.share(queues, now.Add(-sharedFor))
	for i := range nodes {
		nodes[i].MIG = l.Policy.MIG
	}
	return queues, nodes
}

// seedTimes learns how long executions took before it led, of those who have some that live.
func (l *leader) seedTimes(ctx context.Context, live []executions.Execution) {
	owners := map[string]bool{}
	for _, e := range live {
		if len(owners) == seedOwners || owners[e.Owner] {
			continue
		}
		owners[e.Owner] = true
		past, _, err := l.Views.ListExecutions(ctx, e.Owner, 0, seedRuns)
		if err != nil {
			l.log.Warn("cannot read how long executions took: waiting times are guessed by their timeouts", "user", e.Owner, "err", err)
			return
		}
		for _, e := range slices.Backward(past) {
			if e.Status.Final() {
				l.state.times.add(e)
			}
		}
	}
}
