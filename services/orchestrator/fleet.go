package orchestrator

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/hermes-serverless/hermes/projections/executions"
	"github.com/hermes-serverless/hermes/services/api"
)

func (s *Service) fleet(ctx context.Context, user string, _ api.FleetRequest) (api.Fleet, error) {
	return askLeader[api.Fleet](ctx, s, api.FleetSubject, api.FleetUse{User: user})
}

func (l *leader) fleet(_ context.Context, _ string, ask api.FleetUse) (api.Fleet, error) {
	now := time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.state.fleetFor(ask.User, func(n *node) bool { return now.Sub(n.seen) <= silentFor }), nil
}

// fleetFor is the fleet as a user may see it. Whose the other executions are is not told.
func (s *state) fleetFor(user string, alive func(*node) bool) api.Fleet {
	f := api.Fleet{Watchers: []api.FleetWatcher{}}
	at := map[string]int{}
	for _, name := range slices.Sorted(maps.Keys(s.nodes)) {
		n := s.nodes[name]
		if n.seen.IsZero() {
			continue
		}
		at[name] = len(f.Watchers)
		f.Watchers = append(f.Watchers, watcherShown(name, n, alive(n), n.draining || s.isCordoned(name)))
	}
	for _, e := range s.execs {
		yours := 0
		if e.exec.Owner == user {
			yours = 1
		}
		switch e.exec.Status {
		case executions.Running:
			f.Running, f.YourRunning = f.Running+1, f.YourRunning+yours
		case executions.Queued:
			f.Queued, f.YourQueued = f.Queued+1, f.YourQueued+yours
		}
		if i, held := at[e.holder()]; held {
			w, r := &f.Watchers[i], e.exec.Request
			w.UsedSlots, w.YourSlots = w.UsedSlots+1, w.YourSlots+yours
			w.UsedCPUMillis += r.Limits.CPUMillis
			w.UsedMemoryBytes += r.Limits.MemoryBytes
			w.UsedGPUs += r.GPUs
		}
	}
	return f
}

func watcherShown(name string, n *node, alive, draining bool) api.FleetWatcher {
	w := api.FleetWatcher{
		Name: name, State: api.WatcherReady,
		Slots: n.machine.Slots, CPUMillis: n.machine.CPUMillis, MemoryBytes: n.machine.MemoryBytes,
	}
	switch {
	case !alive:
		w.State = api.WatcherSilent
	case draining:
		w.State = api.WatcherDraining
	}
	for _, g := range n.machine.GPUs {
		w.GPUs = append(w.GPUs, api.FleetGPU{Model: g.Model, MemoryBytes: g.MemoryBytes, Profile: g.Profile, Fault: g.Fault})
	}
	return w
}
