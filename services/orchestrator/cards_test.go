package orchestrator

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/services/api"
)

// drawCards is a fleet of machines with whole GPUs and partitioned ones.
func drawCards(t *rapid.T, users MIGUsers) []Node {
	nodes := make([]Node, rapid.IntRange(1, 2).Draw(t, "watchers"))
	for i := range nodes {
		var devices []events.GPU
		for c := range rapid.IntRange(1, 2).Draw(t, "cards") {
			devices = append(devices, mig(rapid.IntRange(1, 4).Draw(t, "instances"), fmt.Sprintf("%d%d", i, c), 10)...)
		}
		devices = append(devices, gpus(rapid.IntRange(0, 1).Draw(t, "whole"), fmt.Sprint(i), "NVIDIA L4", 24)...)
		nodes[i] = gpuNode(fmt.Sprintf("w%d", i), devices...)
		nodes[i].MIG = users
	}
	return nodes
}

// drawGPUQueues is what users ask of GPUs, of these requests.
func drawGPUQueues(t *rapid.T, round string, most int, requests ...events.GPURequest) []Queue {
	var needs []Need
	for u := range rapid.IntRange(1, most).Draw(t, "users") {
		for range rapid.IntRange(0, 4).Draw(t, "waiting") {
			needs = append(needs, gpuNeed(fmt.Sprintf("%s%02d", round, len(needs)), fmt.Sprintf("u%d", u), rapid.SampledFrom(requests).Draw(t, "request")))
		}
	}
	return queuesOf(needs...)
}

// settle gives what a plan places to the nodes.
func settle(queues []Queue, nodes []Node, plan []Placement) []Node {
	nodes = slices.Clone(nodes)
	for _, p := range plan {
		n := &nodes[slices.IndexFunc(nodes, func(n Node) bool { return n.Name == p.Watcher })]
		for _, q := range queues {
			for _, need := range q.Waiting {
				if need.ID == p.ID {
					n.Holds = append(slices.Clip(n.Holds), need.hold(p.Devices))
					n.UsedSlots++
				}
			}
		}
	}
	return nodes
}

var (
	aWhole  = events.GPURequest{Count: 1}
	aPart   = events.GPURequest{Count: 1, MemoryBytes: gib}
	aShared = events.GPURequest{Count: 1, MemoryBytes: 4 * gib, Shared: true}
)

// TestCardsAreOneUsers: whatever is asked for, in two rounds, no device has more than it can, and no card two
// users who have not both said that it may be shared, but where the operator lets them.
func TestCardsAreOneUsers(t *testing.T) {
	for _, users := range []MIGUsers{"", OneUser, ManyUsers} {
		t.Run("users: "+string(users), func(t *testing.T) {
			together := false
			rapid.Check(t, func(t *rapid.T) {
				nodes := drawCards(t, users)
				for _, round := range []string{"a", "b"} {
					queues := drawGPUQueues(t, round, 3, aWhole, aPart, aShared)
					order := rapid.SampledFrom([]GPUOrder{Pack, Spread}).Draw(t, "order")
					plan := order.place(queues, nodes)
					if again := order.place(queues, nodes); !reflect.DeepEqual(plan, again) {
						t.Fatalf("equal inputs, other plan: %s", cmp.Diff(plan, again))
					}
					nodes = settle(queues, nodes, plan)
					for _, n := range nodes {
						checkDevices(t, n)
						if checkCards(t, n) {
							together = true
						}
					}
				}
			})
			if together != (users == ManyUsers) {
				t.Errorf("users of a card who did not both share it met: %t", together)
			}
		})
	}
}

// checkDevices: of one execution, or of several that share it and fit.
func checkDevices(t *rapid.T, n Node) {
	for _, g := range n.Machine.GPUs {
		alone, sharers, bytes := 0, 0, int64(0)
		for _, h := range n.Holds {
			if slices.Contains(h.Devices, g.UUID) {
				if bytes += setAside(g, h.GPU.MemoryBytes); h.GPU.Shared {
					sharers++
				} else {
					alone++
				}
			}
		}
		if alone > 1 || alone == 1 && sharers > 0 || bytes > g.MemoryBytes {
			t.Fatalf("%s has %d for themselves, %d who share it, and %d of %d bytes", g.UUID, alone, sharers, bytes, g.MemoryBytes)
		}
	}
}

// checkCards reports whether two users have instances of a card who have not both said that it may be shared.
// Only where the operator says so they may.
func checkCards(t *rapid.T, n Node) (together bool) {
	physical := func(h Hold) string {
		return n.Machine.GPUs[slices.IndexFunc(n.Machine.GPUs, func(g events.GPU) bool { return slices.Contains(h.Devices, g.UUID) })].Physical()
	}
	for _, a := range n.Holds {
		for _, b := range n.Holds {
			if a.User != b.User && physical(a) == physical(b) && !(a.GPU.Shared && b.GPU.Shared) {
				if together = true; n.MIG != ManyUsers {
					t.Fatalf("%s and %s have parts of %s", a.User, b.User, physical(a))
				}
			}
		}
	}
	return together
}

// TestCardsMatterToOthersOnly: a user alone, and users who all share, are placed in the same way whatever the
// operator says, and are told of no card.
func TestCardsMatterToOthersOnly(t *testing.T) {
	for what, c := range map[string]struct {
		users    int
		requests []events.GPURequest
	}{
		"one user": {1, []events.GPURequest{aWhole, aPart, aShared}}, "all share": {3, []events.GPURequest{aShared}},
	} {
		t.Run(what, func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) {
				nodes := drawCards(t, OneUser)
				many := slices.Clone(nodes)
				for i := range many {
					many[i].MIG = ManyUsers
				}
				queues := drawGPUQueues(t, "a", c.users, c.requests...)
				plan := Place(queues, nodes)
				if diff := cmp.Diff(plan, Place(queues, many)); diff != "" {
					t.Fatalf("one user a card, and many: %s", diff)
				}
				if behind := behindCards(Pack, queues, settle(queues, nodes, plan)); len(behind) > 0 {
					t.Fatalf("told to wait for a card: %v", behind)
				}
			})
		})
	}
}

func TestWhoWaitsForACardIsTold(t *testing.T) {
	card, other := gpuNode("n", mig(2, "m", 10)...), gpuNode("o", mig(1, "k", 10)...)
	card.Holds = []Hold{{User: "eve", Devices: []string{"MIG-m-0"}, GPU: aPart, Ends: time.Hour}}
	full := card
	full.Holds = append(slices.Clone(card.Holds), Hold{User: "eve", Devices: []string{"MIG-m-1"}, GPU: aPart, Ends: time.Hour})
	split := card
	split.MIG = ManyUsers
	for what, c := range map[string]struct {
		nodes []Node
		need  Need
		told  bool
	}{
		"an instance is free":                       {[]Node{card}, gpuNeed("01", "ana", aPart), true},
		"on a card of one's own":                    {[]Node{card}, gpuNeed("01", "eve", aPart), false},
		"none is free":                              {[]Node{full}, gpuNeed("01", "ana", aPart), false},
		"one of another card":                       {[]Node{card, other}, gpuNeed("01", "ana", aPart), false},
		"the operator lets them":                    {[]Node{split}, gpuNeed("01", "ana", aPart), false},
		"it is too small":                           {[]Node{card}, gpuNeed("01", "ana", events.GPURequest{Count: 1, MemoryBytes: 11 * gib}), false},
		"no GPU is asked for":                       {[]Node{card}, Need{ID: "01", User: "ana", Base: "host"}, false},
		"who would share a card that is not shared": {[]Node{card}, gpuNeed("01", "ana", aShared), true},
	} {
		got := behindCards(Pack, queuesOf(c.need), c.nodes)[key{c.need.User, "01"}]
		if (got != "") != c.told || c.told && !strings.Contains(got, "their cards are other users'") {
			t.Errorf("%s: told %q", what, got)
		}
	}
}

// TestTheSecondUserOfACardWaits, is told why, and has it when the first has ended; or at once where the operator
// says so.
func TestTheSecondUserOfACardWaits(t *testing.T) {
	for _, users := range []MIGUsers{"", ManyUsers} {
		w := newWorld(t)
		w.opts.Policy.MIG = users
		w.orchestrate()
		w.registerGPU("pi", &aPart)
		gpu := w.gpuWatcher("gpu1", mig(2, "m", 10)...).hello()
		w.runGPU("ana", "pi", nil)
		first := gpu.start()
		second := w.runGPU("bob", "pi", nil)
		if users != ManyUsers {
			w.eventually("the second is told what it waits for", func() bool {
				e, err := askAs[api.Execution](w, "bob", api.OpExecutionInspect, api.ExecutionRef{ID: second})
				return err == nil && e.Position == 1 && strings.HasPrefix(e.Waits, "a GPU: MIG instances that would do are free")
			})
			gpu.report(first, api.Succeeded)
		}
		want := "MIG-m-0"
		if users == ManyUsers {
			want = "MIG-m-1"
		}
		if request := gpu.next(); request.ID != second || !slices.Equal(request.Devices, []string{want}) {
			t.Errorf("users of a card %q: the second got %+v", users, request)
		}
	}
}
