package orchestrator

import (
	"cmp"
	"math"
	"slices"
	"time"

	"github.com/hermes-serverless/hermes/events"
)

// forEver is a time that nothing is known of.
const forEver = time.Duration(math.MaxInt64)

// Hold is what one placed or running execution has of its watcher.
type Hold struct {
	User        string
	MemoryBytes int64
	// Devices are the UUIDs of the GPUs that it was given, and GPU what it asked for.
	Devices []string
	GPU     events.GPURequest
	// Ends is when it will have ended at the latest, counted from now.
	Ends time.Duration
	// Likely is when it will have ended if it takes as long as those before it.
	Likely time.Duration
	need   Need
}

// site is a watcher while a plan is made, with what the plan has put there.
type site struct {
	Node
	// uses are those of Machine.GPUs.
	uses []deviceUse
	// cards are those that are partitioned; nil where a card may have many users.
	cards cards
}

func newSite(n Node) site {
	s := site{Node: n, uses: make([]deviceUse, len(n.Machine.GPUs))}
	if n.MIG != ManyUsers {
		s.cards = cards{}
	}
	for _, h := range n.Holds {
		s.hold(h, 1)
	}
	return s
}

// hold adds (1) or takes away (-1) what a hold has of the devices. A GPU that was partitioned since
// keeps all of its instances busy.
func (s *site) hold(h Hold, sign int) {
	for i, g := range s.Machine.GPUs {
		if !slices.Contains(h.Devices, g.UUID) && (g.Parent == "" || !slices.Contains(h.Devices, g.Parent)) {
			continue
		}
		u := &s.uses[i]
		u.holders += sign
		u.bytes += int64(sign) * setAside(g, h.GPU.MemoryBytes)
		u.shared = h.GPU.Shared
	}
	if s.cards != nil {
		s.cards.hold(s.Machine.GPUs, h, sign)
	}
}

// admits says whether one more may have a device that fits.
func (s *site) admits(device int, need Need) bool {
	g, r := s.Machine.GPUs[device], need.gpu()
	return s.uses[device].admits(g, r) && (g.Parent == "" || s.cards[g.Parent].admits(need.User, r.Shared))
}

func (s *site) copy() *site {
	c := *s
	c.uses = slices.Clone(s.uses)
	if s.cards != nil {
		c.cards = s.cards.copy()
	}
	return &c
}

// take puts an execution there.
func (s *site) take(need Need, devices []int) {
	s.UsedSlots++
	s.UsedMemoryBytes += need.MemoryBytes
	s.hold(Hold{User: need.User, Devices: s.uuids(devices), GPU: need.gpu()}, 1)
}

// release takes away what has ended.
func (s *site) release(h Hold) {
	s.UsedSlots--
	s.UsedMemoryBytes -= h.MemoryBytes
	s.hold(h, -1)
}

// room says whether an execution that the machine can run has room there, on which devices. With
// later, it must have room then too.
func (s *site) room(order GPUOrder, later *site, need Need) (choice, bool) {
	if !hasRoom(s.Node, need) || later != nil && !hasRoom(later.Node, need) {
		return choice{}, false
	}
	if need.GPUs == 0 {
		return choice{}, true
	}
	return chooseDevices(order, s, later, need)
}

// freeDevices counts those that nobody uses.
func (s *site) freeDevices() int {
	n := 0
	for i, g := range s.Machine.GPUs {
		if g.Fault == "" && s.uses[i].holders == 0 {
			n++
		}
	}
	return n
}

// freeSlots is the share of the slots that nothing holds.
func (s *site) freeSlots() float64 {
	return float64(s.Machine.Slots-s.UsedSlots) / float64(s.Machine.Slots)
}

// floor is the fleet while a plan is made.
type floor struct {
	order    GPUOrder
	sites    []site
	reserved *reservation
}

// reservation keeps a machine from being given away bit by bit before the execution that was blocked
// first, which needs more of it than is ever free at once.
type reservation struct {
	site int
	// after is when what it needs will be free at the latest, counted from now.
	after time.Duration
	// later is the machine then, with the execution on it.
	later *site
}

func newFloor(order GPUOrder, nodes []Node) *floor {
	f := &floor{order: order}
	for _, n := range nodes {
		f.sites = append(f.sites, newSite(n))
	}
	slices.SortFunc(f.sites, func(a, b site) int { return cmp.Compare(a.Name, b.Name) })
	return f
}

// laterOf is the site at the time of the reservation, if one is there and the execution would still
// run then; else nil: it is in nobody's way.
func (f *floor) laterOf(i int, need Need) *site {
	if r := f.reserved; r != nil && r.site == i && need.takes() > r.after {
		return r.later
	}
	return nil
}

// best is where an execution goes now, -1 for nowhere. CPU functions spread: the site with the largest
// share of free slots. GPUs are given as the order says.
func (f *floor) best(need Need) (best int, on choice) {
	best = -1
	for i := range f.sites {
		s := &f.sites[i]
		if !s.Accepting || unfit(s.Machine, need) != "" {
			continue
		}
		c, ok := s.room(f.order, f.laterOf(i, need), need)
		if ok && (best < 0 || f.compare(s, c, &f.sites[best], on) < 0) {
			best, on = i, c
		}
	}
	return best, on
}

// compare says which of two places is better.
func (f *floor) compare(a *site, on choice, b *site, other choice) int {
	devices := 0
	if len(on.devices) > 0 {
		devices = cmp.Compare(a.freeDevices(), b.freeDevices())
		if f.order == Spread {
			devices = -devices
		}
	}
	return cmp.Or(on.compare(other, f.order), devices, cmp.Compare(b.freeSlots(), a.freeSlots()))
}

// take puts an execution on a site, and says which devices it gets.
func (f *floor) take(i int, need Need, on choice) []string {
	if later := f.laterOf(i, need); later != nil {
		later.take(need, on.devices)
	}
	f.sites[i].take(need, on.devices)
	return f.sites[i].uuids(on.devices)
}

// reserve keeps a place for an execution that fits nowhere now, unless one is kept already: where the
// ends of what runs make room for it first. From then on others may have of it what they give back
// in time, or what is left over beside it.
func (f *floor) reserve(need Need) {
	if f.reserved != nil {
		return
	}
	var kept choice
	for i := range f.sites {
		s := &f.sites[i]
		if !s.Accepting || unfit(s.Machine, need) != "" {
			continue
		}
		r, on := f.earliest(i, need)
		if r != nil && (f.reserved == nil || cmp.Or(cmp.Compare(r.after, f.reserved.after), on.compare(kept, f.order)) < 0) {
			f.reserved, kept = r, on
		}
	}
}

// earliest finds when a site has room for an execution; nil if nobody knows.
func (f *floor) earliest(i int, need Need) (*reservation, choice) {
	later := f.sites[i].copy()
	holds := slices.SortedStableFunc(slices.Values(later.Holds), func(a, b Hold) int { return cmp.Compare(a.Ends, b.Ends) })
	for n, h := range holds {
		if h.Ends == forEver {
			break
		}
		later.release(h)
		if n+1 < len(holds) && holds[n+1].Ends == h.Ends {
			continue
		}
		if on, ok := later.room(f.order, nil, need); ok {
			later.take(need, on.devices)
			return &reservation{site: i, after: h.Ends, later: later}, on
		}
	}
	return nil, choice{}
}
