package orchestrator

import (
	"context"
	"slices"
	"time"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/projections/executions"
)

// hold is what a placed or running execution has of its watcher.
func (s *state) hold(e *entry, now time.Time) Hold {
	h := s.need(e).hold(e.has())
	if e.exec.Status == executions.Running {
		passed := now.Sub(e.exec.StartedAt)
		h.Ends, h.Likely = less(h.Ends, passed), less(h.Likely, passed)
	}
	return h
}

// need is what an execution asks of a machine, and for how long.
func (s *state) need(e *entry) Need {
	n := e.need()
	n.Likely = s.times.likely(jobOf(e.exec.Request), n.takes())
	return n
}

// has are the GPUs that it was given.
func (e *entry) has() []string {
	if e.exec.Status == executions.Running {
		return e.exec.Devices
	}
	return e.devices
}

// astray are the executions that wait on a watcher for devices which it cannot give them any more.
func (s *state) astray(watcher string, m events.Machine) []key {
	var keys []key
	for _, e := range s.heldBy(watcher) {
		if e.placed == watcher && slices.ContainsFunc(e.devices, func(uuid string) bool { return !gives(m, uuid) }) {
			keys = append(keys, e.key())
		}
	}
	return keys
}

func gives(m events.Machine, uuid string) bool {
	return slices.ContainsFunc(m.GPUs, func(g events.GPU) bool { return g.UUID == uuid && g.Fault == "" })
}

// placeAstray places anew what waits on a watcher for devices that it has lost. What runs on them is
// the watcher's to end.
func (l *leader) placeAstray(ctx context.Context, watcher string, m events.Machine) {
	l.mu.Lock()
	astray := l.state.astray(watcher, m)
	l.mu.Unlock()
	for _, k := range astray {
		l.log.Info("a GPU is not there any more, placing anew", "execution", k.id, "watcher", watcher)
		l.takeBack(ctx, watcher, k)
	}
}
