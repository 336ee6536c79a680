package orchestrator

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/events/log"
	"github.com/hermes-serverless/hermes/projections/fleet"
	"github.com/hermes-serverless/hermes/services/api"
)

// maxReason bounds what the operator says of a drain.
const maxReason = 200

// drain keeps new executions from a watcher, or from a GPU of it; what runs goes on.
func (l *leader) drain(ctx context.Context, who string, ask api.WatcherDrain) (api.WatcherDrained, error) {
	return l.cordon(ctx, ask.WatcherRef, func(w fleet.Watcher) (events.Data, error) {
		return decideCordon(w, who, ask)
	})
}

// undrain takes a drain back.
func (l *leader) undrain(ctx context.Context, who string, ask api.WatcherRef) (api.WatcherDrained, error) {
	return l.cordon(ctx, ask, func(w fleet.Watcher) (events.Data, error) {
		return decideUncordon(w, who, ask)
	})
}

// decideCordon is pure, as decideUncordon is. Asking again changes nothing.
func decideCordon(w fleet.Watcher, who string, ask api.WatcherDrain) (events.Data, error) {
	switch {
	case w.State == "":
		return nil, noSuchWatcher(ask.Watcher)
	case plainLine(ask.Reason, maxReason) != ask.Reason:
		return nil, api.Errorf(api.Invalid, api.InvalidArguments, "the reason must be one line of at most %d characters", maxReason)
	case ask.GPU != "" && !hasGPU(w.Machine, ask.GPU):
		return nil, api.Errorf(api.NotFound, api.NoSuchGPU, "the watcher %s has no GPU %s", ask.Watcher, ask.GPU).
			WithHint("`hermes gpu list` shows what there is")
	}
	if _, there := w.Cordon(ask.GPU); there {
		return nil, nil
	}
	return events.WatcherCordoned{GPU: ask.GPU, Reason: ask.Reason, By: who}, nil
}

func decideUncordon(w fleet.Watcher, who string, ask api.WatcherRef) (events.Data, error) {
	if w.State == "" {
		return nil, noSuchWatcher(ask.Watcher)
	}
	if _, there := w.Cordon(ask.GPU); !there {
		return nil, nil
	}
	return events.WatcherUncordoned{GPU: ask.GPU, By: who}, nil
}

func noSuchWatcher(name string) error {
	return api.Errorf(api.NotFound, api.NoSuchWatcher, "there is no watcher %q", name).
		WithHint("`hermes top --once` shows the machines")
}

// hasGPU: a device of the machine, or a GPU that it has instances of.
func hasGPU(m events.Machine, uuid string) bool {
	return slices.ContainsFunc(m.GPUs, func(g events.GPU) bool { return g.UUID == uuid || g.Parent == uuid })
}

func (l *leader) cordon(ctx context.Context, ask api.WatcherRef, decide func(fleet.Watcher) (events.Data, error)) (api.WatcherDrained, error) {
	if err := events.CheckWatcherName(ask.Watcher); err != nil {
		return api.WatcherDrained{}, api.Errorf(api.Invalid, api.InvalidArguments, "%v", err)
	}
	l.hellos.Lock() // one change of a watcher at a time
	defer l.hellos.Unlock()
	var refused error
	err := l.commitWatcher(ctx, ask.Watcher, func(known fleet.Watcher) (data events.Data) {
		data, refused = decide(known)
		return data
	})
	if err = errors.Join(refused, err); err != nil {
		return api.WatcherDrained{}, err
	}
	now, err := l.foldWatcher(ctx, ask.Watcher)
	if err != nil {
		return api.WatcherDrained{}, err
	}
	l.mu.Lock()
	l.state.cordons[ask.Watcher] = now.Cordons
	running := 0
	for _, e := range l.state.heldBy(ask.Watcher) {
		if ask.GPU == "" || slices.ContainsFunc(e.has(), func(uuid string) bool { return isPart(now.Machine, uuid, ask.GPU) }) {
			running++
		}
	}
	l.mu.Unlock()
	l.again()
	_, isDrained := now.Cordon(ask.GPU)
	l.log.Info("the operator changed what may be placed", "watcher", ask.Watcher, "gpu", ask.GPU, "drained", isDrained)
	return api.WatcherDrained{Drained: isDrained, Running: running}, nil
}

// isPart: a device is a GPU, or an instance of it.
func isPart(m events.Machine, device, gpu string) bool {
	return device == gpu || slices.ContainsFunc(m.GPUs, func(g events.GPU) bool { return g.UUID == device && g.Parent == gpu })
}

// recordAct records what the operator did in vain. Nobody minds what was recorded before it.
func (l *leader) recordAct(ctx context.Context, by string, act events.OperatorActed) error {
	event := events.Event{ID: api.NewID(), Source: source, By: by, Time: l.now().UTC(), Data: act}
	return log.AppendLast(ctx, l.Audit, events.AuditSubject(act.Type()), event)
}

// foldWatcher reads a watcher from the log.
func (l *leader) foldWatcher(ctx context.Context, watcher string) (w fleet.Watcher, err error) {
	for record, err := range l.Fleet.Read(ctx, events.WatcherSubject(watcher), 0) {
		if err != nil {
			return w, fmt.Errorf("read watcher %s: %w", watcher, err)
		}
		if w, err = fleet.Fold(w, record); err != nil {
			return w, fmt.Errorf("fold watcher %s: %w", watcher, err)
		}
	}
	return w, nil
}

// isCordoned: nothing new comes to the watcher.
func (s *state) isCordoned(watcher string) bool {
	return slices.ContainsFunc(s.cordons[watcher], func(c fleet.Cordon) bool { return c.GPU == "" })
}

// offered is the machine of a watcher as placement may use it: a GPU that is drained is out of order.
func (s *state) offered(watcher string, m events.Machine) events.Machine {
	if len(s.cordons[watcher]) == 0 {
		return m
	}
	m.GPUs = slices.Clone(m.GPUs)
	for i, g := range m.GPUs {
		if c, there := s.cordonOf(watcher, g); there && g.Fault == "" {
			m.GPUs[i].Fault = drainedText(c)
		}
	}
	return m
}

// cordonOf is what keeps new work from a device: its own, or that of the GPU that it is a part of.
func (s *state) cordonOf(watcher string, g events.GPU) (fleet.Cordon, bool) {
	for _, c := range s.cordons[watcher] {
		if c.GPU != "" && (c.GPU == g.UUID || c.GPU == g.Parent) {
			return c, true
		}
	}
	return fleet.Cordon{}, false
}

func drainedText(c fleet.Cordon) string {
	if c.Reason == "" {
		return "drained by the operator"
	}
	return "drained by the operator: " + c.Reason
}
