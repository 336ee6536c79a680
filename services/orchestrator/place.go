package orchestrator

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/hermes-serverless/hermes/events"
)

// Need is what a waiting execution asks of a machine.
type Need struct {
	ID string
	// RequestedAt is when the server accepted it.
	RequestedAt time.Time
	User        string
	Kind        events.ExecutionKind
	Base        string
	// Architecture is what Base is for; empty when it is not known.
	Architecture string
	Language     string
	// MemoryBytes is reserved whole while it runs; CPU time is shared, bounded by slots.
	MemoryBytes int64
	// CPUMillis counts against the user's quota only.
	CPUMillis int64
	GPUs      int
	// Network: it wants one.
	Network bool
}

// Node is a watcher as placement sees it.
type Node struct {
	Name    string
	Machine events.Machine
	// Accepting is false for one that drains or is not heard of.
	Accepting bool
	// Used is what placed and running executions hold.
	UsedSlots       int
	UsedMemoryBytes int64
	UsedGPUs        int
}

// Queue is one user's waiting executions, first come first.
type Queue struct {
	User string
	// Running is how many of the user's executions hold a slot.
	Running int
	// Room is what the user's quota leaves.
	Room    Room
	Waiting []Need
}

// Placement puts an execution on a watcher.
type Placement struct{ User, ID, Watcher string }

// Place plans which waiting executions go where now. It is pure and deterministic: equal inputs
// give equal plans. Users share fairly: the next place goes to the user who holds the fewest; a
// user's own executions go in their order. An execution that fits nowhere now, or not into what the
// user's quota leaves, lets the user's later ones wait, so that a large one is not starved by its
// owner's small ones.
func Place(queues []Queue, nodes []Node) []Placement {
	queues, nodes = slices.Clone(queues), slices.Clone(nodes)
	slices.SortFunc(nodes, func(a, b Node) int { return cmp.Compare(a.Name, b.Name) })
	var plan []Placement
	for {
		i := nextQueue(queues)
		if i < 0 {
			return plan
		}
		q := &queues[i]
		need := q.Waiting[0]
		n := -1
		if q.Room.over(need) == nil {
			n = bestNode(nodes, need)
		}
		if n < 0 {
			q.Waiting = nil
			continue
		}
		nodes[n].UsedSlots++
		nodes[n].UsedMemoryBytes += need.MemoryBytes
		nodes[n].UsedGPUs += need.GPUs
		q.Waiting = q.Waiting[1:]
		q.Running++
		q.Room.take(need)
		plan = append(plan, Placement{User: need.User, ID: need.ID, Watcher: nodes[n].Name})
	}
}

// nextQueue is the queue of the user who holds the fewest slots; between equals, the one whose
// first execution came first.
func nextQueue(queues []Queue) int {
	best := -1
	for i, q := range queues {
		if len(q.Waiting) == 0 {
			continue
		}
		if best < 0 || cmp.Or(cmp.Compare(q.Running, queues[best].Running),
			q.Waiting[0].RequestedAt.Compare(queues[best].Waiting[0].RequestedAt)) < 0 {
			best = i
		}
	}
	return best
}

// bestNode spreads: the accepting node with the largest share of free slots that has room.
func bestNode(nodes []Node, need Need) int {
	best := -1
	var bestFree float64
	for i, n := range nodes {
		if !n.Accepting || unfit(n.Machine, need) != "" || !hasRoom(n, need) {
			continue
		}
		free := float64(n.Machine.Slots-n.UsedSlots) / float64(n.Machine.Slots)
		if best < 0 || free > bestFree {
			best, bestFree = i, free
		}
	}
	return best
}

func hasRoom(n Node, need Need) bool {
	return n.UsedSlots < n.Machine.Slots &&
		n.UsedMemoryBytes+need.MemoryBytes <= n.Machine.MemoryBytes &&
		n.UsedGPUs+need.GPUs <= len(n.Machine.GPUs)
}

// unfit says why a machine can never run it, even when idle; empty if it can.
func unfit(m events.Machine, need Need) string {
	switch {
	case m.Slots < 1:
		return "it has no slots"
	case !m.OffersBase(need.Base, need.Architecture):
		return lackOfBase(need)
	case need.Kind == events.KindBuild && need.Base == events.HostBase && !slices.Contains(m.Languages, need.Language):
		return fmt.Sprintf("it has no compiler for %s", need.Language)
	case need.MemoryBytes > m.MemoryBytes:
		return fmt.Sprintf("it has %d MiB of memory, %d MiB are asked for", m.MemoryBytes>>20, need.MemoryBytes>>20)
	case need.Network && !m.Network:
		return "it gives functions no network"
	case need.GPUs > len(m.GPUs):
		return fmt.Sprintf("it has %d GPUs, %d are asked for", len(m.GPUs), need.GPUs)
	}
	return ""
}

func lackOfBase(need Need) string {
	if need.Architecture != "" {
		return fmt.Sprintf("it cannot stand on the base %s, which is for %s", need.Base, need.Architecture)
	}
	return fmt.Sprintf("it has no base %q", need.Base)
}

// Unplaceable says why no machine of the fleet can ever run it, and what to do; empty if one can,
// or if the fleet has no machine yet: then it waits.
func Unplaceable(nodes []Node, need Need) string {
	why := ""
	for _, n := range nodes {
		reason := unfit(n.Machine, need)
		if reason == "" {
			return ""
		}
		if why == "" {
			why = fmt.Sprintf("watcher %s: %s", n.Name, reason)
		}
	}
	switch {
	case len(nodes) == 0:
		return ""
	case need.Kind == events.KindBuild && need.Language == "cuda":
		return fmt.Sprintf("no watcher of the fleet has a CUDA toolkit (%s): install one there (nvcc on PATH or /usr/local/cuda) and restart hermesd", why)
	case need.Kind == events.KindBuild:
		return fmt.Sprintf("no watcher of the fleet can build %s (%s): install g++ and make there and restart hermesd", need.Language, why)
	case need.Network && !anyNetwork(nodes):
		return fmt.Sprintf("no watcher of the fleet gives functions a network (%s): start one with `hermesd watcher --allow-network`, or set network to \"none\"", why)
	case need.GPUs > 0:
		return fmt.Sprintf("no watcher of the fleet has %d GPU(s) (%s): add a machine with an NVIDIA GPU, or set gpuCapable to false", need.GPUs, why)
	}
	return fmt.Sprintf("no watcher of the fleet can run it (%s)", why)
}

func anyNetwork(nodes []Node) bool {
	return slices.ContainsFunc(nodes, func(n Node) bool { return n.Machine.Network })
}
