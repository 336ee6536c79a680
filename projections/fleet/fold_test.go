package fleet_test

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/projections/fleet"
	"github.com/hermes-serverless/hermes/projections/foldtest"
)

var subject = events.WatcherSubject("node-1")

func TestFold(t *testing.T) {
	foldtest.Check(t, foldtest.Case[fleet.Watcher]{
		Subject: subject, Fold: fleet.Fold, Projection: fleet.Projection, Next: next,
	})
}

func next(t *rapid.T, w fleet.Watcher) events.Data {
	may := []events.Data{events.WatcherJoined{Machine: events.Machine{Slots: 2, Bases: []string{"host"}}}}
	if w.Present() {
		may = append(may, events.WatcherChanged{Machine: events.Machine{Slots: 3}}, events.WatcherLeft{}, events.WatcherLost{SilentMillis: 5})
	}
	if w.State == fleet.Joined {
		may = append(may, events.WatcherDraining{Reason: "upgrade"})
	}
	return rapid.SampledFrom(may).Draw(t, "event")
}

func TestFoldRefuses(t *testing.T) {
	joined := events.WatcherJoined{Machine: events.Machine{Slots: 1}}
	gone := []events.Data{events.WatcherChanged{}, events.WatcherDraining{}, events.WatcherLeft{}, events.WatcherLost{}}
	for name, c := range map[string]struct{ given, refused []events.Data }{
		"never seen": {nil, gone},
		"left":       {[]events.Data{joined, events.WatcherLeft{}}, gone},
		"lost":       {[]events.Data{joined, events.WatcherLost{}}, gone},
		"draining":   {[]events.Data{joined, events.WatcherDraining{}}, []events.Data{events.WatcherDraining{}}},
	} {
		t.Run(name, func(t *testing.T) {
			w := foldtest.Given(t, fleet.Fold, subject, c.given...)
			for _, d := range c.refused {
				foldtest.WantRefused(t, fleet.Fold, w, foldtest.Record(subject, 100, d))
			}
		})
	}
}

func TestSinceIsTheStateAndNotTheEvent(t *testing.T) {
	w := foldtest.Given(t, fleet.Fold, subject, events.WatcherJoined{}, events.WatcherChanged{}, events.WatcherDraining{Reason: "x"}, events.WatcherChanged{})
	if w.JoinedAt.Unix() != 1 || w.Since.Unix() != 3 || w.Reason != "x" || w.Name != "node-1" {
		t.Errorf("%+v", w)
	}
	if w = foldtest.Given(t, fleet.Fold, subject, events.WatcherJoined{}, events.WatcherDraining{Reason: "x"}, events.WatcherJoined{}); w.State != fleet.Joined || w.Reason != "" {
		t.Errorf("a new life: %+v", w)
	}
}

func TestSameMachine(t *testing.T) {
	m := events.Machine{Host: "h", Bases: []string{"host"}, GPUs: []events.GPU{{UUID: "a"}}}
	w := fleet.Watcher{Machine: m}
	other := m
	other.GPUs = []events.GPU{{UUID: "b"}}
	if !w.SameMachine(m) || w.SameMachine(other) || w.SameMachine(events.Machine{Host: "h"}) {
		t.Error("machines are confused")
	}
	if w = (fleet.Watcher{}); !w.SameMachine(events.Machine{Bases: []string{}, GPUs: []events.GPU{}}) {
		t.Error("an empty list is not none")
	}
}
