package orchestrator

import (
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/services/api"
)

// TestFleetTellsCounts of everybody's, and whose only of the caller's own.
func TestFleetTellsCounts(t *testing.T) {
	w := newWorld(t)
	w.orchestrate()
	w.register()
	big := w.watcher("big", 2)
	big.machine.CPUMillis, big.machine.GPUs = 8000, []events.GPU{{UUID: "GPU-1", Model: "H200", MemoryBytes: 1 << 37}}
	big.hello()
	w.watcher("away", 1)
	mine := w.run()
	for range 2 {
		w.runAs("bob", api.NewID())
	}
	first, second := big.start(), big.start() // a third waits
	see := func(user string) api.Fleet {
		t.Helper()
		f, err := askAs[api.Fleet](w, user, api.OpFleet, api.FleetRequest{})
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	for user, want := range map[string]api.Fleet{
		"ana": {Running: 2, Queued: 1, YourRunning: 1}, "bob": {Running: 2, Queued: 1, YourRunning: 1, YourQueued: 1}, "eve": {Running: 2, Queued: 1},
	} {
		got := see(user)
		wantWatcher := api.FleetWatcher{
			Name: "big", State: api.WatcherReady, Slots: 2, UsedSlots: 2, YourSlots: want.YourRunning, CPUMillis: 8000, UsedCPUMillis: 2 * policy.Defaults.CPUMillis,
			MemoryBytes: 1 << 40, UsedMemoryBytes: 2 * policy.Defaults.MemoryBytes, GPUs: []api.FleetGPU{{Model: "H200", MemoryBytes: 1 << 37}},
		}
		if want.Watchers = []api.FleetWatcher{wantWatcher}; !reflect.DeepEqual(got, want) {
			t.Errorf("%s sees %+v, want %+v", user, got, want)
		}
	}
	big.report(first, api.Succeeded)
	big.report(second, api.Succeeded)
	big.start()
	if got := see("ana"); got.Running != 1 || got.Queued != 0 || got.YourRunning != 0 || got.Watchers[0].UsedSlots != 1 {
		t.Errorf("after two ends, %s among them: %+v", mine, got)
	}
}

func TestFleetTellsWhoIsSilent(t *testing.T) {
	s := newState()
	s.nodes["a"] = &node{seen: time.Now()}
	s.nodes["b"] = &node{seen: time.Now(), draining: true}
	s.nodes["c"] = &node{seen: time.Now()}
	s.nodes["never"] = &node{}
	var got []string
	for _, w := range s.fleetFor("ana", func(n *node) bool { return n != s.nodes["c"] }).Watchers {
		got = append(got, w.Name+" "+w.State)
	}
	if want := []string{"a ready", "b draining", "c silent"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}
