package orchestrator

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/services/api"
)

func (s *Service) gpuList(ctx context.Context, user string, _ api.GPUList) (api.GPUs, error) {
	return askLeader[api.GPUs](ctx, s, api.GPUsSubject, api.FleetUse{User: user})
}

func (l *leader) gpus(_ context.Context, _ string, ask api.FleetUse) (api.GPUs, error) {
	now := time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.state.gpusFor(ask.User, func(n *node) bool { return now.Sub(n.seen) <= silentFor }), nil
}

// gpusFor are the GPUs of the watchers that are there, as a user may see them. Who else uses one, or
// waits for one, is not told.
func (s *state) gpusFor(user string, alive func(*node) bool) api.GPUs {
	list := api.GPUs{GPUs: []api.GPUState{}}
	at := map[[2]string]int{}
	for _, name := range slices.Sorted(maps.Keys(s.nodes)) {
		n := s.nodes[name]
		if n.seen.IsZero() || !alive(n) {
			continue
		}
		for _, g := range n.machine.GPUs {
			at[[2]string{name, g.UUID}] = len(list.GPUs)
			list.GPUs = append(list.GPUs, s.gpuShown(name, n, g))
		}
	}
	for _, e := range s.execs {
		isYours := e.exec.Owner == user
		if e.waiting() && e.exec.Request.GPUs > 0 {
			list.Waiting++
			if isYours {
				list.Yours = append(list.Yours, e.exec.ID)
			}
		}
		for _, uuid := range e.has() {
			if i, known := at[[2]string{e.holder(), uuid}]; known {
				list.GPUs[i].Users++
				if isYours {
					list.GPUs[i].Yours = append(list.GPUs[i].Yours, e.exec.ID)
				}
			}
		}
	}
	slices.Sort(list.Yours)
	for i := range list.GPUs {
		slices.Sort(list.GPUs[i].Yours)
	}
	return list
}

// gpuShown is a device without those who hold it.
func (s *state) gpuShown(watcher string, n *node, g events.GPU) api.GPUState {
	shown := api.GPUState{
		Watcher: watcher, GPU: g, Driver: n.machine.Driver, CUDA: n.machine.CUDA, Drained: s.drainedText(watcher, n, g),
	}
	for _, r := range n.readings {
		if r.UUID == g.UUID {
			shown.Reading = &r
		}
	}
	return shown
}

// drainedText says why no new work comes to a device, beside its own faults; empty if it may come.
func (s *state) drainedText(watcher string, n *node, g events.GPU) string {
	if c, there := s.cordonOf(watcher, g); there {
		return drainedText(c)
	}
	for _, c := range s.cordons[watcher] {
		if c.GPU == "" {
			return drainedText(c)
		}
	}
	if n.draining {
		return "its watcher is ending"
	}
	return ""
}
