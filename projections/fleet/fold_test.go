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
	if w.State != "" {
		for _, gpu := range []string{"", "GPU-1", "GPU-2"} {
			if _, there := w.Cordon(gpu); there {
				may = append(may, events.WatcherUncordoned{GPU: gpu, By: "op"})
			} else {
				may = append(may, events.WatcherCordoned{GPU: gpu, Reason: "repair", By: "op"})
			}
		}
	}
	if w.State == fleet.Joined {
		may = append(may, events.WatcherDraining{Reason: "upgrade"})
	}
	return rapid.SampledFrom(may).Draw(t, "event")
}

func TestFoldRefuses(t *testing.T) {
	joined := events.WatcherJoined{Machine: events.Machine{Slots: 1}}
	cordon, back := events.WatcherCordoned{GPU: "GPU-1", By: "op"}, events.WatcherUncordoned{GPU: "GPU-1", By: "op"}
	gone := []events.Data{events.WatcherChanged{}, events.WatcherDraining{}, events.WatcherLeft{}, events.WatcherLost{}}
	for name, c := range map[string]struct{ given, refused []events.Data }{
		"never seen": {nil, append([]events.Data{cordon, back}, gone...)},
		"cordoned":   {[]events.Data{joined, cordon}, []events.Data{cordon, events.WatcherUncordoned{By: "op"}}},
		"uncordoned": {[]events.Data{joined, cordon, back}, []events.Data{back}},
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

func TestCordonsOutlastALife(t *testing.T) {
	w := foldtest.Given(t, fleet.Fold, subject, events.WatcherJoined{}, events.WatcherCordoned{GPU: "GPU-2", By: "op"},
		events.WatcherCordoned{Reason: "moving", By: "op"}, events.WatcherLeft{}, events.WatcherJoined{})
	if len(w.Cordons) != 2 || w.Cordons[0].Reason != "moving" || w.Cordons[1].GPU != "GPU-2" || w.Cordons[1].Since.Unix() != 2 {
		t.Errorf("%+v", w.Cordons)
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
