package orchestrator

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/Masterminds/semver/v3"

	"github.com/hermes-serverless/hermes/events"
)

// GPUOrder is how GPUs are given away when several would do.
type GPUOrder string

// Pack fills machines and shared devices one after the other, so that whole ones stay free for what
// needs much; it is the default. Spread gives what is used least, so that runs disturb each other least.
const (
	Pack   GPUOrder = "pack"
	Spread GPUOrder = "spread"
)

// deviceUse is what is held of a device: nothing, all of it by one execution, or parts of its memory
// by several that share it.
type deviceUse struct {
	holders int
	shared  bool
	bytes   int64
}

// admits says whether a device that fits has room for one more. A GPU, or a MIG instance, is one
// execution's at a time, unless all that use it said that it may be shared. Whose the card of an instance
// may be besides, cardUse says.
func (u deviceUse) admits(g events.GPU, r events.GPURequest) bool {
	switch {
	case g.Fault != "":
		return false
	case u.holders == 0:
		return true
	}
	return u.shared && r.Shared && u.bytes+setAside(g, r.MemoryBytes) <= g.MemoryBytes
}

// setAside is the memory that a request takes of a device: without a number, all of it.
func setAside(g events.GPU, bytes int64) int64 {
	if bytes == 0 {
		return g.MemoryBytes
	}
	return bytes
}

// rankOf says whether a device will ever do for a request, and where its model stands among those that
// are asked for, from 0.
func rankOf(g events.GPU, r events.GPURequest) (rank int, fits bool) {
	switch {
	case g.MemoryBytes < r.MemoryBytes:
		return 0, false
	case g.Parent != "" && (r.MemoryBytes == 0 || r.Count > 1):
		// A part is for who says how much is enough. CUDA sees one instance in a process, whatever
		// it is given.
		return 0, false
	case len(r.Models) == 0:
		return 0, true
	}
	name := strings.ToLower(g.Model + " " + g.Profile)
	rank = slices.IndexFunc(r.Models, func(m string) bool { return strings.Contains(name, strings.ToLower(m)) })
	return rank, rank >= 0
}

// gpuUnfit says why a machine can never give what is asked of GPUs; empty if it can. A device that is
// out of order may be mended: it counts.
func gpuUnfit(m events.Machine, r events.GPURequest) string {
	if len(m.GPUs) == 0 {
		return "it has no GPU"
	}
	if why := driverUnfit(m.Driver, r.Driver); why != "" {
		return why
	}
	fit, most := map[string]int{}, 0
	for _, g := range m.GPUs {
		if _, fits := rankOf(g, r); fits {
			fit[g.Model]++
			most = max(most, fit[g.Model])
		}
	}
	switch {
	case most >= r.Count:
		return ""
	case most == 0 && len(m.GPUs) == 1:
		return "its GPU is not what is asked for"
	case most == 0:
		return fmt.Sprintf("none of its %d GPUs is what is asked for", len(m.GPUs))
	}
	return fmt.Sprintf("it has %d of one model that would do, %d are asked for", most, r.Count)
}

// driverUnfit says why a driver does not keep a constraint; empty if it does.
func driverUnfit(driver, constraint string) string {
	if constraint == "" {
		return ""
	}
	allowed, err := semver.NewConstraint(constraint)
	if err != nil {
		return fmt.Sprintf("no driver is %q", constraint)
	}
	version, err := semver.NewVersion(driver)
	if err != nil {
		return fmt.Sprintf("its driver's version %q cannot be compared with %s", driver, constraint)
	}
	if !allowed.Check(version) {
		return fmt.Sprintf("its driver is %s, %s is asked for", driver, constraint)
	}
	return ""
}

// choice are the devices of one machine that a request gets.
type choice struct {
	// rank is that of their model among those that are asked for.
	rank int
	// joins says that others use them already.
	joins bool
	// bytes is the memory of each, left what of it is not set aside.
	bytes, left int64
	devices     []int
}

// chooseDevices picks the devices of a site for a request; with later, only such as are still free
// then. All of them are of one model.
func chooseDevices(order GPUOrder, s, later *site, need Need) (choice, bool) {
	var found []choice
	r := need.gpu()
	for i, g := range s.Machine.GPUs {
		rank, fits := rankOf(g, r)
		if fits && s.admits(i, need) && (later == nil || later.admits(i, need)) {
			found = append(found, choice{rank: rank, joins: s.uses[i].holders > 0, bytes: g.MemoryBytes, left: g.MemoryBytes - s.uses[i].bytes, devices: []int{i}})
		}
	}
	gpu := func(c choice) events.GPU { return s.Machine.GPUs[c.devices[0]] }
	slices.SortFunc(found, func(a, b choice) int {
		return cmp.Or(a.compare(b, order), cmp.Compare(gpu(a).Model, gpu(b).Model), cmp.Compare(gpu(a).UUID, gpu(b).UUID))
	})
	if r.Count == 1 && len(found) > 0 {
		return found[0], true
	}
	return oneModel(found, r.Count, gpu)
}

// oneModel joins the first so many choices of one device that are of one model.
func oneModel(found []choice, count int, gpu func(choice) events.GPU) (choice, bool) {
	of := map[string][]int{}
	for _, c := range found {
		model := gpu(c).Model
		of[model] = append(of[model], c.devices...)
		if len(of[model]) == count {
			c.devices = of[model]
			return c, true
		}
	}
	return choice{}, false
}

// compare says which of two choices is better, of whatever machines: the model that is liked best, the
// smallest that is large enough. When packing, a device that is shared already comes before that, and
// the fullest of those; when spreading, the emptiest.
func (c choice) compare(o choice, order GPUOrder) int {
	joins, left := 0, cmp.Compare(c.left, o.left)
	if c.joins != o.joins {
		joins = 1
		if c.joins {
			joins = -1
		}
	}
	if order == Spread {
		joins, left = -joins, -left
	}
	return cmp.Or(cmp.Compare(c.rank, o.rank), joins, cmp.Compare(c.bytes, o.bytes), left)
}

// uuids names the devices.
func (s *site) uuids(devices []int) []string {
	if len(devices) == 0 {
		return nil
	}
	names := make([]string, len(devices))
	for i, d := range devices {
		names[i] = s.Machine.GPUs[d].UUID
	}
	slices.Sort(names)
	return names
}
