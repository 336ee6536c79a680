package orchestrator

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/hermes-serverless/hermes/events"
)

// lab is a fleet of 200 devices: H100s, A100s, L4s, and A100s that are partitioned.
func lab() []Node {
	var nodes []Node
	for i := range 8 {
		nodes = append(nodes, gpuNode(fmt.Sprint("h", i), gpus(8, fmt.Sprint("h", i), "NVIDIA H100 80GB HBM3", 80)...))
	}
	for i := range 6 {
		nodes = append(nodes, gpuNode(fmt.Sprint("a", i), gpus(8, fmt.Sprint("a", i), "NVIDIA A100-SXM4-80GB", 80)...))
	}
	for i := range 8 {
		nodes = append(nodes, gpuNode(fmt.Sprint("l", i), gpus(4, fmt.Sprint("l", i), "NVIDIA L4", 24)...))
	}
	for i := range 4 {
		n := gpuNode(fmt.Sprint("m", i), append(mig(7, fmt.Sprint("m", i), 10), mig(7, fmt.Sprint("n", i), 5)...)...)
		n.Machine.Driver = "535.104.05"
		nodes = append(nodes, n)
	}
	return nodes
}

// run is an execution of the simulated fleet.
type simRun struct {
	need    Need
	watcher string
	devices []string
	// ends is when it will end, which is before its bound.
	ends, bound time.Duration
}

// sim is a fleet in simulated time. Everything in it follows from what is drawn.
type sim struct {
	nodes  []Node
	queues map[string][]Need
	runs   []simRun
	clock  time.Duration
	placed map[string]time.Duration
}

// waits says whether it has not been placed yet.
func (s *sim) waits(id string) bool {
	_, placed := s.placed[id]
	return !placed
}

// input is the state as a plan takes it.
func (s *sim) input() ([]Queue, []Node) {
	nodes := slices.Clone(s.nodes)
	running := map[string]int{}
	for _, r := range s.runs {
		running[r.need.User]++
		i := slices.IndexFunc(nodes, func(n Node) bool { return n.Name == r.watcher })
		nodes[i].UsedSlots++
		nodes[i].UsedMemoryBytes += r.need.MemoryBytes
		nodes[i].Holds = append(slices.Clip(nodes[i].Holds), Hold{
			User: r.need.User, MemoryBytes: r.need.MemoryBytes, Devices: r.devices, GPU: r.need.gpu(), Ends: r.bound - s.clock,
		})
	}
	var queues []Queue
	for user, waiting := range s.queues {
		if len(waiting) > 0 {
			queues = append(queues, Queue{User: user, Running: running[user], Waiting: waiting})
		}
	}
	return queues, nodes
}

// step plans, checks the plan, and lets time pass until something ends. It is false when nothing can.
func (s *sim) step(t *rapid.T, order GPUOrder, takes func(Need) time.Duration) bool {
	queues, nodes := s.input()
	plan := order.place(queues, nodes)
	slices.Reverse(nodes)
	slices.SortFunc(queues, func(a, b Queue) int { return strings.Compare(b.User, a.User) })
	if diff := cmp.Diff(plan, order.place(queues, nodes)); diff != "" {
		t.Fatalf("the plan follows the order of its input: %s", diff)
	}
	for _, p := range plan {
		q := s.queues[p.User]
		if q[0].ID != p.ID {
			t.Fatalf("%s overtook %s of the same user", p.ID, q[0].ID)
		}
		s.queues[p.User] = q[1:]
		s.placed[p.ID] = s.clock
		s.runs = append(s.runs, simRun{need: q[0], watcher: p.Watcher, devices: p.Devices, ends: s.clock + takes(q[0]), bound: s.clock + q[0].takes()})
	}
	s.check(t)
	if len(s.runs) == 0 {
		return false
	}
	s.clock = slices.MinFunc(s.runs, func(a, b simRun) int { return int(a.ends - b.ends) }).ends
	s.runs = slices.DeleteFunc(s.runs, func(r simRun) bool { return r.ends <= s.clock })
	return true
}

// check: what runs has what it asked for, and nobody else has it.
func (s *sim) check(t *rapid.T) {
	type held struct {
		runs  []simRun
		bytes int64
	}
	devices := map[string]*held{}
	for _, r := range s.runs {
		i := slices.IndexFunc(s.nodes, func(n Node) bool { return n.Name == r.watcher })
		if !s.nodes[i].Accepting {
			t.Fatalf("%s went to %s, which takes nothing", r.need.ID, r.watcher)
		}
		checkGiven(t, s.nodes[i].Machine, r)
		for _, uuid := range r.devices {
			if devices[uuid] == nil {
				devices[uuid] = &held{}
			}
			devices[uuid].runs = append(devices[uuid].runs, r)
			devices[uuid].bytes += r.need.gpu().MemoryBytes
		}
	}
	for uuid, h := range devices {
		alone := slices.ContainsFunc(h.runs, func(r simRun) bool { return !r.need.gpu().Shared })
		if alone && len(h.runs) > 1 {
			t.Fatalf("%s is booked %d times, by one that does not share", uuid, len(h.runs))
		}
		if size := deviceOf(s.nodes, uuid).MemoryBytes; h.bytes > size {
			t.Fatalf("%d bytes of %s are set aside, it has %d", h.bytes, uuid, size)
		}
	}
}

// checkGiven: as many devices of its machine as it asked for, all of them what it asked for.
func checkGiven(t *rapid.T, m events.Machine, r simRun) {
	g := r.need.gpu()
	if len(r.devices) != g.Count || len(slices.Compact(slices.Sorted(slices.Values(r.devices)))) != g.Count {
		t.Fatalf("%s asked for %d devices and got %v", r.need.ID, g.Count, r.devices)
	}
	models := map[string]bool{}
	for _, uuid := range r.devices {
		i := slices.IndexFunc(m.GPUs, func(d events.GPU) bool { return d.UUID == uuid })
		if i < 0 {
			t.Fatalf("%s got %s, which %s does not have", r.need.ID, uuid, r.watcher)
		}
		d := m.GPUs[i]
		if _, fits := rankOf(d, g); !fits || d.Fault != "" || driverUnfit(m.Driver, g.Driver) != "" {
			t.Fatalf("%s asked for %+v and got %+v", r.need.ID, g, d)
		}
		models[d.Model] = true
	}
	if len(models) > 1 {
		t.Fatalf("%s got devices of several models", r.need.ID)
	}
}

func deviceOf(nodes []Node, uuid string) events.GPU {
	for _, n := range nodes {
		for _, g := range n.Machine.GPUs {
			if g.UUID == uuid {
				return g
			}
		}
	}
	return events.GPU{}
}

func drawRequest(t *rapid.T) events.GPURequest {
	r := events.GPURequest{Count: rapid.SampledFrom([]int{1, 1, 1, 1, 2, 4, 8}).Draw(t, "count")}
	r.MemoryBytes = rapid.SampledFrom([]int64{0, 0, 4, 8, 20, 40, 80, 100}).Draw(t, "memory") * gib
	r.Models = rapid.SampledFrom([][]string{nil, nil, {"H100"}, {"H100", "A100"}, {"L4", "A100"}, {"1g.5gb"}, {"B200"}}).Draw(t, "models")
	r.Shared = r.MemoryBytes > 0 && rapid.Bool().Draw(t, "shared")
	r.Driver = rapid.SampledFrom([]string{"", "", "", ">=550", ">=560"}).Draw(t, "driver")
	return r
}

// drawSim draws a part of the lab, with faults and drains, and executions that wait.
func drawSim(t *rapid.T, most int) *sim {
	s := &sim{queues: map[string][]Need{}, placed: map[string]time.Duration{}}
	share := rapid.SampledFrom([]int{1, 3, 6, 9}).Draw(t, "one node of")
	for i, n := range lab() {
		if i%share != 0 {
			continue
		}
		n.Accepting = rapid.IntRange(0, 9).Draw(t, "accepting") < 9
		n.Machine.GPUs = slices.Clone(n.Machine.GPUs)
		if f := rapid.IntRange(0, 60).Draw(t, "fault"); f < len(n.Machine.GPUs) {
			n.Machine.GPUs[f].Fault = "Xid 79"
		}
		s.nodes = append(s.nodes, n)
	}
	for i := range rapid.IntRange(1, most).Draw(t, "executions") {
		need := gpuNeed(fmt.Sprintf("%04d", i), rapid.SampledFrom([]string{"ana", "bob", "cay", "dan"}).Draw(t, "user"), drawRequest(t))
		need.RequestedAt = time.Unix(int64(i), 0)
		need.TimeoutMillis = rapid.Int64Range(1, 100_000).Draw(t, "timeout")
		s.queues[need.User] = append(s.queues[need.User], need)
	}
	return s
}

// takesOf draws how much of its bound an execution uses up, from its id alone.
func takesOf(seed uint64) func(Need) time.Duration {
	return func(n Need) time.Duration {
		var id uint64
		_, _ = fmt.Sscan(n.ID, &id)
		return time.Duration(1 + rand.New(rand.NewPCG(seed, id)).Int64N(int64(n.takes())))
	}
}

// able is what a fleet could run if it were empty, as it is now.
func able(nodes []Node, need Need) bool {
	return len(Place([]Queue{{User: need.User, Waiting: []Need{need}}}, nodes)) == 1
}

// Whatever waits: no device is given twice, no memory is promised that is not there, and what the fleet
// can run is run when what is before it has ended.
func TestFleetModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := drawSim(t, 60)
		order := rapid.SampledFrom([]GPUOrder{"", Pack, Spread}).Draw(t, "order")
		var all []Need
		for user, waiting := range s.queues {
			s.queues[user] = slices.DeleteFunc(waiting, func(n Need) bool {
				if Unplaceable(s.nodes, n) != "" && able(s.nodes, n) {
					t.Fatalf("%s is called unplaceable and can be placed", n.ID)
				}
				return !able(s.nodes, n) // it would block its user, and ends or waits for a machine to be mended
			})
			all = append(all, s.queues[user]...)
		}
		takes := takesOf(rapid.Uint64().Draw(t, "ends"))
		for s.step(t, order, takes) {
		}
		for _, n := range all {
			if _, placed := s.placed[n.ID]; !placed {
				t.Fatalf("%s of %s is never placed: %+v", n.ID, n.User, n.gpu())
			}
		}
	})
}

// One that needs a whole machine is not starved by those who need little and never cease to come.
func TestLargeRequestIsNotStarved(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := &sim{nodes: []Node{gpuNode("n", gpus(8, "g", "NVIDIA L4", 24)...)}, queues: map[string][]Need{}, placed: map[string]time.Duration{}}
		takes := takesOf(rapid.Uint64().Draw(t, "ends"))
		bound := time.Duration(rapid.Int64Range(1000, 100_000).Draw(t, "timeout")) * time.Millisecond
		id := 1
		come := func(user string, r events.GPURequest) string {
			n := gpuNeed(fmt.Sprintf("%06d", id), user, r)
			n.RequestedAt, n.TimeoutMillis = time.Unix(int64(id), 0), bound.Milliseconds()
			s.queues[user] = append(s.queues[user], n)
			id++
			return n.ID
		}
		refill := func() {
			for _, user := range []string{"bob", "cay", "dan"} {
				for len(s.queues[user]) < 9 {
					come(user, events.GPURequest{Count: 1 + id%2})
				}
			}
		}
		for range rapid.IntRange(0, 20).Draw(t, "before") {
			refill()
			s.step(t, Pack, takes)
		}
		came := s.clock
		large := come("ana", events.GPURequest{Count: 8})
		for s.waits(large) && s.clock < came+100*(bound+endsWithin) {
			refill()
			s.step(t, Pack, takes)
		}
		// What ran when it came has ended by then, and so has what was older and went before it.
		if s.waits(large) || s.placed[large]-came > 12*(bound+endsWithin) {
			t.Fatalf("it waited for %s, of runs of %s", s.clock-came, bound)
		}
	})
}

// What passes the one that a place is kept for does not make it wait longer than it was promised, even
// if all that runs takes as long as it may.
func TestBackfillKeepsItsPromise(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := drawSim(t, 40)
		for range rapid.IntRange(1, 5).Draw(t, "steps before") {
			s.step(t, Pack, takesOf(1))
		}
		first := gpuNeed("9999", "zoe", drawRequest(t)) // holds nothing and is the oldest: the first of the fair order
		first.RequestedAt = time.Unix(-1, 0)
		s.queues["zoe"] = []Need{first}
		plan, free := Pack.plan(s.input())
		if !able(s.nodes, first) || slices.ContainsFunc(plan, func(p Placement) bool { return p.User == "zoe" }) {
			return // it can never be placed, or at once
		}
		promised := s.clock + free.reserved.after
		for s.waits("9999") {
			if s.clock > promised || !s.step(t, Pack, func(n Need) time.Duration { return n.takes() }) {
				t.Fatalf("promised for %s, and it waits at %s", promised, s.clock)
			}
		}
	})
}

// BenchmarkPlace plans 1,000 executions of 50 users that wait for the lab.
func BenchmarkPlace(b *testing.B) {
	var queues []Queue
	random := rand.New(rand.NewPCG(1, 2))
	models := [][]string{nil, {"H100"}, {"A100", "H100"}, {"L4"}}
	for u := range 50 {
		q := Queue{User: fmt.Sprint("u", u)}
		for i := range 20 {
			n := gpuNeed(fmt.Sprintf("%d-%d", u, i), q.User, events.GPURequest{Count: 1 << random.IntN(4), Models: models[random.IntN(len(models))]})
			n.RequestedAt = time.Unix(random.Int64N(1000), 0)
			q.Waiting = append(q.Waiting, n)
		}
		queues = append(queues, q)
	}
	nodes := lab()
	for b.Loop() {
		Place(queues, nodes)
	}
}
