package orchestrator

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/projections/executions"
	"github.com/hermes-serverless/hermes/projections/fleet"
	"github.com/hermes-serverless/hermes/services/api"
)

// operate asks as the operator.
func operate[Reply any](w *world, op string, request any) (Reply, error) {
	w.t.Helper()
	return api.Ask[Reply](w.t.Context(), w.nc, api.AdminSubject("op", op), request)
}

// lease renews a watcher's lease with readings.
func (w *watch) lease(readings ...api.GPUReading) {
	w.t.Helper()
	raw, err := json.Marshal(api.Lease{Session: w.session, GPUs: readings})
	if err == nil {
		_, err = w.service().Leases.Put(w.t.Context(), api.LeaseKey(w.name), raw)
	}
	if err != nil {
		w.t.Fatal(err)
	}
}

// TestDrain: nothing new comes to what is drained, what runs goes on, and another leader keeps to it.
func TestDrain(t *testing.T) {
	w := newWorld(t)
	_, stop := w.orchestrate()
	w.register()
	w1 := w.watcher("w1", 4).hello()
	w.run()
	runs := w1.start()
	drain := api.WatcherDrain{WatcherRef: api.WatcherRef{Watcher: "w1"}, Reason: "a new fan"}
	for range 2 { // asking again changes nothing
		if reply, err := operate[api.WatcherDrained](w, api.OpWatcherDrain, drain); err != nil || !reply.Drained || reply.Running != 1 {
			t.Fatalf("%+v, %v", reply, err)
		}
	}
	waiting := w.run()
	w2 := w.watcher("w2", 1).hello()
	if ref := w2.start(); ref.ID != waiting {
		t.Errorf("%s went to the other, want %s", ref.ID, waiting)
	}
	if reply := w1.report(runs, api.Succeeded); reply.Why != "" {
		t.Errorf("what ran there: %s", reply.Why)
	}
	stop()
	w.orchestrate()
	w1.hello()
	queued := w.run()
	w.eventually("the new leader has it in its queue", func() bool {
		e, err := ask[api.Execution](w, api.OpExecutionInspect, api.ExecutionRef{ID: queued})
		return err == nil && e.Position == 1
	})
	if e := w.state(queued); e.Status != executions.Queued {
		t.Errorf("a new leader forgot the drain: %+v", e)
	}
	if reply, err := operate[api.WatcherDrained](w, api.OpWatcherUndrain, drain.WatcherRef); err != nil || reply.Drained {
		t.Fatalf("%+v, %v", reply, err)
	}
	if ref := w1.hello().start(); ref.ID != queued { // again, as it renews no lease
		t.Errorf("%s came, want %s", ref.ID, queued)
	}
	var types []string
	for record, err := range w.opts.Fleet.Read(t.Context(), events.WatcherSubject("w1"), 0) {
		if err != nil {
			t.Fatal(err)
		}
		types = append(types, string(record.Data.Type()[strings.LastIndex(string(record.Data.Type()), ".")+1:]))
	}
	if cordoned := slices.Index(types, "cordoned"); cordoned < 0 || slices.Index(types[cordoned+1:], "cordoned") >= 0 || slices.Index(types, "uncordoned") < cordoned {
		t.Errorf("the log has %q", types)
	}
}

func TestDrainRefuses(t *testing.T) {
	w := newWorld(t)
	w.orchestrate()
	w.watcher("w1", 1).hello()
	for what, c := range map[string]struct {
		ask  api.WatcherDrain
		kind api.Kind
	}{
		"nobody":   {api.WatcherDrain{WatcherRef: api.WatcherRef{Watcher: "w9"}}, api.NotFound},
		"no GPU":   {api.WatcherDrain{WatcherRef: api.WatcherRef{Watcher: "w1", GPU: "GPU-9"}}, api.NotFound},
		"no name":  {api.WatcherDrain{WatcherRef: api.WatcherRef{Watcher: "a.b"}}, api.Invalid},
		"a screen": {api.WatcherDrain{WatcherRef: api.WatcherRef{Watcher: "w1"}, Reason: "\x1b[2J"}, api.Invalid},
	} {
		if reply, err := operate[api.WatcherDrained](w, api.OpWatcherDrain, c.ask); !api.IsKind(err, c.kind) {
			t.Errorf("%s: %+v, %v", what, reply, err)
		}
	}
	if _, err := operate[api.WatcherDrained](w, api.OpWatcherUndrain, api.WatcherRef{Watcher: "w8"}); !api.IsKind(err, api.NotFound) {
		t.Errorf("to take a drain of nobody back: %v", err)
	}
	inVain := map[string]int{}
	for record, err := range w.opts.Audit.Read(t.Context(), events.AuditSubject(events.OperatorActed{}.Type()), 0) {
		if err != nil {
			t.Fatal(err)
		}
		act := record.Data.(events.OperatorActed)
		inVain[fmt.Sprintf("%s by %s: %s of %s", act.Failed, record.By, act.Action, act.About)]++
	}
	want := map[string]int{
		"NoSuchWatcher by op: watcher.drain of w9": 1, "NoSuchGPU by op: watcher.drain of w1 GPU-9": 1, "InvalidArguments by op: watcher.drain of a.b": 1,
		"InvalidArguments by op: watcher.drain of w1": 1, "NoSuchWatcher by op: watcher.undrain of w8": 1,
	}
	if !maps.Equal(inVain, want) {
		t.Errorf("the audit has %v", inVain)
	}
}

// TestOfferedGPUs: what is drained is out of order for placement, alone or with all its instances.
func TestOfferedGPUs(t *testing.T) {
	m := events.Machine{GPUs: []events.GPU{{UUID: "GPU-1"}, {UUID: "MIG-1", Parent: "GPU-2"}, {UUID: "MIG-2", Parent: "GPU-2"}, {UUID: "GPU-3", Fault: "Xid 79"}}}
	for cordon, want := range map[string]string{"GPU-1": "1000", "GPU-2": "0110", "MIG-2": "0010", "GPU-3": "0000", "GPU-9": "0000"} {
		s := newState()
		s.cordons["w"] = []fleet.Cordon{{GPU: cordon, Reason: "why"}}
		got := ""
		for _, g := range s.offered("w", m).GPUs {
			got += fmt.Sprint(map[bool]int{true: 1}[g.Fault == "drained by the operator: why"])
		}
		if got != want || m.GPUs[0].Fault != "" {
			t.Errorf("%s: %s, want %s", cordon, got, want)
		}
		if s.isCordoned("w") {
			t.Errorf("%s: the whole watcher is drained", cordon)
		}
	}
}

// TestGPUList: who holds a GPU is told to them alone.
func TestGPUList(t *testing.T) {
	w := newWorld(t)
	w.orchestrate()
	w1 := w.watcher("w1", 4)
	w1.machine.Driver, w1.machine.CUDA = "580.1", "13.0"
	w1.machine.GPUs = []events.GPU{{UUID: "GPU-1", Model: "H100", MemoryBytes: 80 << 30}, {UUID: "GPU-2", Model: "H100", MemoryBytes: 80 << 30, Fault: "Xid 79"}}
	w1.hello()
	w1.lease(api.GPUReading{UUID: "GPU-1", UtilisationPercent: 90, MemoryBytes: 5})
	w.eventually("the readings are there", func() bool {
		got, err := ask[api.GPUs](w, api.OpGPUList, api.GPUList{})
		return err == nil && len(got.GPUs) == 2 && got.GPUs[0].Reading != nil
	})
	got, err := ask[api.GPUs](w, api.OpGPUList, api.GPUList{})
	if err != nil || got.GPUs[0].Reading.UtilisationPercent != 90 || got.GPUs[0].Driver != "580.1" || got.GPUs[1].GPU.Fault != "Xid 79" || got.Waiting != 0 {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := operate[api.WatcherDrained](w, api.OpWatcherDrain, api.WatcherDrain{WatcherRef: api.WatcherRef{Watcher: "w1", GPU: "GPU-1"}}); err != nil {
		t.Fatal(err)
	}
	if got, err = ask[api.GPUs](w, api.OpGPUList, api.GPUList{}); err != nil || got.GPUs[0].Drained != "drained by the operator" {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestGPUFleetIsSeenByOwner(t *testing.T) {
	s := newState()
	s.nodes["w"] = &node{seen: time.Unix(1, 0), machine: events.Machine{GPUs: []events.GPU{{UUID: "GPU-1"}, {UUID: "GPU-2"}}}}
	for i, owner := range []string{"ana", "bob", "bob"} {
		e := &entry{exec: executions.Execution{
			Owner: owner, ID: fmt.Sprint(i), Status: executions.Running, Watcher: "w", Devices: []string{"GPU-1"}, Request: events.ExecutionRequested{GPUs: 1},
		}}
		if i == 2 {
			e.exec.Status, e.exec.Devices = executions.Queued, nil
		}
		s.execs[e.key()] = e
		s.index(e)
	}
	everyone := func(*node) bool { return true }
	ana, bob := s.gpusFor("ana", everyone), s.gpusFor("bob", everyone)
	if g := ana.GPUs[0]; g.Users != 2 || !slices.Equal(g.Yours, []string{"0"}) || ana.Waiting != 1 || ana.Yours != nil || ana.GPUs[1].Users != 0 {
		t.Errorf("ana sees %+v", ana)
	}
	if g := bob.GPUs[0]; !slices.Equal(g.Yours, []string{"1"}) || !slices.Equal(bob.Yours, []string{"2"}) {
		t.Errorf("bob sees %+v", bob)
	}
	raw, err := json.Marshal(ana)
	if err != nil || strings.Contains(string(raw), "bob") {
		t.Errorf("ana is told of bob: %s, %v", raw, err)
	}
}
