package orchestrator

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/services/manifest"
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
	// GPU is all that it asks of them; nil for any whole ones.
	GPU *events.GPURequest
	// Network: it wants one.
	Network bool
	// TimeoutMillis bounds how long it runs; 0 is for ever.
	TimeoutMillis int64
	// Likely is how long it will run if it takes as long as those before it.
	Likely time.Duration
}

// gpu is what it asks of GPUs.
func (n Need) gpu() events.GPURequest {
	if n.GPU != nil {
		return *n.GPU
	}
	return events.GPURequest{Count: n.GPUs}
}

// takes is how long it holds its place at the most.
func (n Need) takes() time.Duration {
	if n.TimeoutMillis == 0 {
		return forEver
	}
	return time.Duration(n.TimeoutMillis)*time.Millisecond + endsWithin
}

// endsWithin is how long an execution may hold its place beside its timeout: until it starts, and
// from its end until that is known.
const endsWithin = time.Minute

// Node is a watcher as placement sees it.
type Node struct {
	Name    string
	Machine events.Machine
	// Accepting is false for one that drains or is not heard of.
	Accepting bool
	// MIG is how many users may have instances of one of its cards; empty is OneUser.
	MIG MIGUsers
	// Used is what placed and running executions hold, and Holds what each of them does.
	UsedSlots       int
	UsedMemoryBytes int64
	Holds           []Hold
}

// Queue is one user's waiting executions, first come first.
type Queue struct {
	User string
	// Running is how many of the user's executions hold a slot.
	Running int
	// Room is what the user's quota leaves.
	Room Room
	// Spare is how many slots of the fleet stay free when the user has one already: for others, who have
	// asked for something lately.
	Spare   int
	Waiting []Need
}

// Placement puts an execution on a watcher.
type Placement struct {
	User, ID, Watcher string
	// Devices are the UUIDs of the GPUs that it gets.
	Devices []string
}

// Place plans which waiting executions go where now. It is pure and deterministic: equal inputs
// give equal plans. Users share fairly: the next place goes to the user who holds the fewest; a
// user's own executions go in their order. Who has a slot leaves the last one to others, while there are
// any. An execution that fits nowhere now, or not into what the
// user's quota leaves, lets the user's later ones wait, so that a large one is not starved by its
// owner's small ones.
//
// A GPU is one user's at a time, with all the MIG instances of its card, unless all that use it said that it
// may be shared, or the node says that a card may have many users.
//
// Nor is it starved by those of others: a place is kept for the first that fits nowhere now, where the
// timeouts of what runs promise room first, and who comes after it may pass only where that does not
// make it wait longer. While it waits its owner gets nothing new, so that it comes to be the first.
func Place(queues []Queue, nodes []Node) []Placement { return Pack.place(queues, nodes) }

func (o GPUOrder) place(queues []Queue, nodes []Node) []Placement {
	plan, _ := o.plan(queues, nodes)
	return plan
}

// plan returns the fleet too as it is when everything stands where the plan has put it.
func (o GPUOrder) plan(queues []Queue, nodes []Node) ([]Placement, *floor) {
	queues = slices.Clone(queues)
	slices.SortFunc(queues, func(a, b Queue) int { return cmp.Compare(a.User, b.User) })
	free := newFloor(o, nodes)
	var plan []Placement
	for {
		i := nextQueue(queues)
		if i < 0 {
			return plan, free
		}
		q := &queues[i]
		need := q.Waiting[0]
		// It is no machine that it waits for.
		if q.Room.over(need) != nil || q.Running > 0 && !leaves(free.sites, q.Spare) {
			q.Waiting = nil
			continue
		}
		n, on := free.best(need)
		if n < 0 {
			free.reserve(need)
			q.Waiting = nil
			continue
		}
		devices := free.take(n, need, on)
		q.Waiting = q.Waiting[1:]
		q.Running++
		q.Room.take(need)
		plan = append(plan, Placement{User: need.User, ID: need.ID, Watcher: free.sites[n].Name, Devices: devices})
	}
}

// leastShared is how many slots a fleet must have for one of them to be left free: of fewer, one would be
// too much.
const leastShared = 4

// leaves reports whether so many slots are free besides one more.
func leaves(sites []site, spare int) bool {
	all, free := 0, 0
	for _, n := range sites {
		if n.Accepting {
			all += n.Machine.Slots
			free += max(n.Machine.Slots-n.UsedSlots, 0)
		}
	}
	return all < leastShared || free > spare
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

func hasRoom(n Node, need Need) bool {
	return n.UsedSlots < n.Machine.Slots &&
		n.UsedMemoryBytes+need.MemoryBytes <= n.Machine.MemoryBytes
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
	case need.GPUs > 0:
		return gpuUnfit(m, need.gpu())
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
	why, hasGPU := "", false // what is nearest to a GPU says most of why there is none
	for _, n := range nodes {
		reason := unfit(n.Machine, need)
		if reason == "" {
			return ""
		}
		if why == "" || need.GPUs > 0 && !hasGPU && len(n.Machine.GPUs) > 0 {
			hasGPU = len(n.Machine.GPUs) > 0
			why = fmt.Sprintf("watcher %s: %s", n.Name, reason)
		}
	}
	switch {
	case len(nodes) == 0:
		return ""
	case need.Kind == events.KindBuild && need.Language == "cuda":
		return fmt.Sprintf("no watcher of the fleet has a CUDA toolkit (%s): install one on a machine of the fleet, below /usr where builds see it (nvcc on PATH, /usr/local/cuda or /usr/local/cuda-12.4), and restart hermesd there; the machine needs no GPU", why)
	case need.Kind == events.KindBuild:
		return fmt.Sprintf("no watcher of the fleet can build %s (%s): install g++ and make there and restart hermesd", need.Language, why)
	case need.Network && !anyNetwork(nodes):
		return fmt.Sprintf("no watcher of the fleet gives functions a network (%s): start one with `hermesd watcher --allow-network`, or set network to \"none\"", why)
	case need.GPUs > 0 && !hasGPU:
		return "the fleet has no GPU: add a machine with an NVIDIA GPU (`hermesd doctor` says there what is missing), or set gpuCapable to false in hermes.config.json"
	case need.GPUs > 0:
		return fmt.Sprintf("no machine of the fleet can give it %s (%s); fleet: %s", manifest.GPUText(need.gpu()), why, fleetText(nodes))
	}
	return fmt.Sprintf("no watcher of the fleet can run it (%s)", why)
}

func anyNetwork(nodes []Node) bool {
	return slices.ContainsFunc(nodes, func(n Node) bool { return n.Machine.Network })
}
