package fleet

import (
	"slices"
	"strings"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/projections"
)

// Fold returns the state after the record. It is pure and total over legal histories; anything
// else is an *events.ImpossibleError and leaves the state as it was.
func Fold(w Watcher, r events.Record) (Watcher, error) {
	name, err := events.ParseWatcherSubject(r.Subject)
	if err != nil {
		return w, projections.Impossible(r, "%v", err)
	}
	next, err := w.apply(r)
	if err != nil {
		return w, err
	}
	next.Name, next.Sequence = name, r.Sequence
	return next, nil
}

func (w Watcher) apply(r events.Record) (Watcher, error) {
	if joined, ok := r.Data.(events.WatcherJoined); ok {
		// From any state: a watcher that crashed starts again without having left.
		return Watcher{State: Joined, Machine: joined.Machine, Since: r.Time, JoinedAt: r.Time, Cordons: w.Cordons}, nil
	}
	switch d := r.Data.(type) {
	case events.WatcherCordoned:
		return w.cordon(r, d)
	case events.WatcherUncordoned:
		return w.uncordon(r, d)
	}
	if !w.Present() {
		return w, projections.Impossible(r, "the watcher is not there (state %q)", string(w.State))
	}
	switch d := r.Data.(type) {
	case events.WatcherChanged:
		w.Machine = d.Machine
		return w, nil
	case events.WatcherDraining:
		if w.State == Draining {
			return w, projections.Impossible(r, "it drains already")
		}
		w.State, w.Since, w.Reason = Draining, r.Time, d.Reason
		return w, nil
	case events.WatcherLeft:
		w.State, w.Since, w.Reason = Left, r.Time, ""
		return w, nil
	case events.WatcherLost:
		w.State, w.Since, w.Reason = Lost, r.Time, ""
		return w, nil
	}
	return w, projections.Impossible(r, "it is not an event of a watcher")
}

// cordon is for any watcher that was ever seen: one that is away may be kept from work before it is back.
func (w Watcher) cordon(r events.Record, d events.WatcherCordoned) (Watcher, error) {
	if w.State == "" {
		return w, projections.Impossible(r, "the watcher was never there")
	}
	if _, there := w.Cordon(d.GPU); there {
		return w, projections.Impossible(r, "it is cordoned already")
	}
	w.Cordons = append(slices.Clone(w.Cordons), Cordon{GPU: d.GPU, Reason: d.Reason, By: d.By, Since: r.Time})
	slices.SortFunc(w.Cordons, func(a, b Cordon) int { return strings.Compare(a.GPU, b.GPU) })
	return w, nil
}

func (w Watcher) uncordon(r events.Record, d events.WatcherUncordoned) (Watcher, error) {
	if _, there := w.Cordon(d.GPU); !there {
		return w, projections.Impossible(r, "it is not cordoned")
	}
	left := slices.DeleteFunc(slices.Clone(w.Cordons), func(c Cordon) bool { return c.GPU == d.GPU })
	if w.Cordons = left; len(left) == 0 {
		w.Cordons = nil
	}
	return w, nil
}
