package orchestrator

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hermes-serverless/hermes/events"
)

const gib = 1 << 30

func gpus(n int, prefix, model string, memoryGiB int64) []events.GPU {
	list := make([]events.GPU, n)
	for i := range list {
		list[i] = events.GPU{UUID: fmt.Sprintf("GPU-%s-%d", prefix, i), Model: model, MemoryBytes: memoryGiB * gib}
	}
	return list
}

// mig are the instances that a GPU is partitioned into.
func mig(n int, prefix string, memoryGiB int64) []events.GPU {
	list := make([]events.GPU, n)
	for i := range list {
		list[i] = events.GPU{
			UUID: fmt.Sprintf("MIG-%s-%d", prefix, i), Parent: "GPU-" + prefix, Profile: fmt.Sprintf("1g.%dgb", memoryGiB),
			Model: "NVIDIA A100-SXM4-80GB", MemoryBytes: memoryGiB * gib,
		}
	}
	return list
}

func gpuNode(name string, devices ...events.GPU) Node {
	return Node{Name: name, Accepting: true, Machine: events.Machine{
		Slots: 64, MemoryBytes: 1 << 40, Bases: []string{"host"}, Driver: "550.54.15", GPUs: devices,
	}}
}

func gpuNeed(id, user string, r events.GPURequest) Need {
	return Need{ID: id, User: user, Kind: events.KindRun, Base: "host", GPUs: r.Count, GPU: &r, TimeoutMillis: time.Hour.Milliseconds()}
}

// queuesOf is one queue for each user, in the order of the needs.
func queuesOf(needs ...Need) []Queue {
	var queues []Queue
	for _, n := range needs {
		i := slices.IndexFunc(queues, func(q Queue) bool { return q.User == n.User })
		if i < 0 {
			i = len(queues)
			queues = append(queues, Queue{User: n.User})
		}
		n.RequestedAt = time.Unix(int64(len(queues)*1000+len(queues[i].Waiting)), 0)
		queues[i].Waiting = append(queues[i].Waiting, n)
	}
	return queues
}

// where says a plan in short: "01:gpu1[GPU-a-0]".
func where(plan []Placement) string {
	var words []string
	for _, p := range plan {
		words = append(words, fmt.Sprintf("%s:%s%v", p.ID, p.Watcher, p.Devices))
	}
	return strings.Join(words, " ")
}

func TestPlaceGPUs(t *testing.T) {
	h100, a100, l4 := gpus(2, "h", "NVIDIA H100 80GB HBM3", 80), gpus(2, "a", "NVIDIA A100-SXM4-80GB", 80), gpus(2, "l", "NVIDIA L4", 24)
	broken := slices.Clone(h100)
	broken[0].Fault = "Xid 79"
	one, two := events.GPURequest{Count: 1}, events.GPURequest{Count: 2}
	shared := func(memoryGiB int64) events.GPURequest {
		return events.GPURequest{Count: 1, MemoryBytes: memoryGiB * gib, Shared: true}
	}
	part := events.GPURequest{Count: 1, MemoryBytes: gib}
	split := func(n Node) Node { n.MIG = ManyUsers; return n }
	held := func(n Node, r events.GPURequest, devices ...string) Node {
		n.Holds = append(n.Holds, Hold{User: "eve", Devices: devices, GPU: r, Ends: time.Hour})
		n.UsedSlots++
		return n
	}
	all := []Node{gpuNode("na", a100...), gpuNode("nh", h100...), gpuNode("nl", l4...)}
	away := gpuNode("nh", h100...)
	away.Accepting = false
	for _, c := range []struct {
		name  string
		nodes []Node
		needs []Need
		want  string
	}{
		{"none without a GPU", []Node{gpuNode("n")}, []Need{gpuNeed("01", "ana", one)}, ""},
		{"the smallest that is large enough", all, []Need{gpuNeed("01", "ana", one)}, "01:nl[GPU-l-0]"},
		{"so much memory", all, []Need{gpuNeed("01", "ana", events.GPURequest{Count: 1, MemoryBytes: 40 * gib})}, "01:na[GPU-a-0]"},
		{"the model that is liked best", all, []Need{gpuNeed("01", "ana", events.GPURequest{Count: 1, Models: []string{"h100", "A100"}})}, "01:nh[GPU-h-0]"},
		{"another one of those when it is taken", []Node{gpuNode("na", a100...), held(gpuNode("nh", h100...), two, "GPU-h-0", "GPU-h-1"), gpuNode("nl", l4...)},
			[]Need{gpuNeed("01", "ana", events.GPURequest{Count: 1, Models: []string{"h100", "A100"}})}, "01:na[GPU-a-0]"},
		{"no model that is not named", []Node{gpuNode("nl", l4...)}, []Need{gpuNeed("01", "ana", events.GPURequest{Count: 1, Models: []string{"H100"}})}, ""},
		{"all or nothing", []Node{held(gpuNode("na", a100...), one, "GPU-a-0")}, []Need{gpuNeed("01", "ana", two)}, ""},
		{"of one model", []Node{gpuNode("n", a100[0], h100[0], l4[0], h100[1])}, []Need{gpuNeed("01", "ana", two)}, "01:n[GPU-h-0 GPU-h-1]"},
		{"not one that is out of order", []Node{gpuNode("nh", broken...)}, []Need{gpuNeed("01", "ana", one), gpuNeed("02", "bob", one)}, "01:nh[GPU-h-1]"},
		{"not where nothing new is taken", []Node{away}, []Need{gpuNeed("01", "ana", one)}, ""},
		{"a driver", []Node{gpuNode("nl", l4...)}, []Need{gpuNeed("01", "ana", events.GPURequest{Count: 1, Driver: ">=560"})}, ""},
		{"a driver that does", []Node{gpuNode("nl", l4...)}, []Need{gpuNeed("01", "ana", events.GPURequest{Count: 1, Driver: ">=550"})}, "01:nl[GPU-l-0]"},
		{"whole machines are kept", []Node{gpuNode("n1", gpus(4, "1", "NVIDIA L4", 24)...), held(gpuNode("n2", gpus(4, "2", "NVIDIA L4", 24)...), one, "GPU-2-1")},
			[]Need{gpuNeed("01", "ana", one), gpuNeed("02", "bob", events.GPURequest{Count: 4})}, "01:n2[GPU-2-0] 02:n1[GPU-1-0 GPU-1-1 GPU-1-2 GPU-1-3]"},
		{"one execution to a GPU, of one user too", []Node{gpuNode("n", l4[0])}, []Need{gpuNeed("01", "ana", one), gpuNeed("02", "ana", one)}, "01:n[GPU-l-0]"},
		{"shared by two users who both said so", []Node{gpuNode("n", l4[0])}, []Need{gpuNeed("01", "ana", shared(8)), gpuNeed("02", "bob", shared(16))}, "01:n[GPU-l-0] 02:n[GPU-l-0]"},
		{"no more memory than there is", []Node{gpuNode("n", l4[0])}, []Need{gpuNeed("01", "ana", shared(8)), gpuNeed("02", "bob", shared(17))}, "01:n[GPU-l-0]"},
		{"not with one that did not say so", []Node{held(gpuNode("n", l4[0]), events.GPURequest{Count: 1, MemoryBytes: gib}, "GPU-l-0")}, []Need{gpuNeed("01", "ana", shared(1))}, ""},
		{"nor the other way round", []Node{held(gpuNode("n", l4[0]), shared(1), "GPU-l-0")}, []Need{gpuNeed("01", "ana", events.GPURequest{Count: 1, MemoryBytes: gib})}, ""},
		{"what is shared is filled first", []Node{gpuNode("n1", l4...), held(gpuNode("n2", h100...), shared(8), "GPU-h-1")}, []Need{gpuNeed("01", "ana", shared(8))}, "01:n2[GPU-h-1]"},
		{"a MIG instance for who says how much is enough", []Node{gpuNode("n", append(mig(2, "m", 10), l4...)...)},
			[]Need{gpuNeed("01", "ana", events.GPURequest{Count: 1, MemoryBytes: 8 * gib}), gpuNeed("02", "bob", one)}, "01:n[MIG-m-0] 02:n[GPU-l-0]"},
		{"one user on the instances of one card", []Node{gpuNode("n", mig(2, "m", 10)...)}, []Need{gpuNeed("01", "ana", part), gpuNeed("02", "ana", part)}, "01:n[MIG-m-0] 02:n[MIG-m-1]"},
		{"not two users", []Node{gpuNode("n", mig(2, "m", 10)...)}, []Need{gpuNeed("01", "ana", part), gpuNeed("02", "bob", part)}, "01:n[MIG-m-0]"},
		{"two users on two cards", []Node{gpuNode("n", append(mig(2, "m", 10), mig(2, "k", 10)...)...)}, []Need{gpuNeed("01", "ana", part), gpuNeed("02", "bob", part)}, "01:n[MIG-k-0] 02:n[MIG-m-0]"},
		{"two users where the operator lets them", []Node{split(gpuNode("n", mig(2, "m", 10)...))}, []Need{gpuNeed("01", "ana", part), gpuNeed("02", "bob", part)}, "01:n[MIG-m-0] 02:n[MIG-m-1]"},
		{"two users who both said that it may be shared", []Node{gpuNode("n", mig(2, "m", 10)...)}, []Need{gpuNeed("01", "ana", shared(8)), gpuNeed("02", "bob", shared(8))}, "01:n[MIG-m-0] 02:n[MIG-m-1]"},
		{"the other one did not", []Node{held(gpuNode("n", mig(2, "m", 10)...), part, "MIG-m-1")}, []Need{gpuNeed("01", "ana", shared(1))}, ""},
		{"nor did this one", []Node{held(gpuNode("n", mig(2, "m", 10)...), shared(1), "MIG-m-1")}, []Need{gpuNeed("01", "ana", part)}, ""},
		{"its own card", []Node{held(gpuNode("n", mig(2, "m", 10)...), part, "MIG-m-1")}, []Need{gpuNeed("01", "eve", part)}, "01:n[MIG-m-0]"},
		{"an instance of that profile", []Node{gpuNode("n", append(mig(1, "m", 10), mig(1, "k", 20)...)...)},
			[]Need{gpuNeed("01", "ana", events.GPURequest{Count: 1, MemoryBytes: gib, Models: []string{"1g.20gb"}})}, "01:n[MIG-k-0]"},
		{"no two instances for one process", []Node{gpuNode("n", mig(2, "m", 10)...)}, []Need{gpuNeed("01", "ana", events.GPURequest{Count: 2, MemoryBytes: gib})}, ""},
		{"no instance of a GPU that somebody held when it was whole", []Node{held(gpuNode("n", mig(2, "m", 10)...), one, "GPU-m")},
			[]Need{gpuNeed("01", "ana", events.GPURequest{Count: 1, MemoryBytes: gib})}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := where(Place(queuesOf(c.needs...), c.nodes)); got != c.want {
				t.Errorf("placed %q, want %q", got, c.want)
			}
		})
	}
}

func TestSpreadGivesWhatIsUsedLeast(t *testing.T) {
	n1, n2 := gpuNode("n1", gpus(2, "1", "NVIDIA L4", 24)...), gpuNode("n2", gpus(2, "2", "NVIDIA L4", 24)...)
	r := events.GPURequest{Count: 1, MemoryBytes: 2 * gib, Shared: true}
	n1.Holds = []Hold{{User: "eve", Devices: []string{"GPU-1-0"}, GPU: r, Ends: time.Hour}}
	needs := queuesOf(gpuNeed("01", "ana", r), gpuNeed("02", "bob", r), gpuNeed("03", "cay", r), gpuNeed("04", "dan", r))
	if got, want := where(Spread.place(needs, []Node{n1, n2})), "01:n2[GPU-2-0] 02:n1[GPU-1-1] 03:n2[GPU-2-1] 04:n1[GPU-1-0]"; got != want {
		t.Errorf("spread: %s, want %s", got, want)
	}
	if got, want := where(Pack.place(needs, []Node{n1, n2})), "01:n1[GPU-1-0] 02:n1[GPU-1-0] 03:n1[GPU-1-0] 04:n1[GPU-1-0]"; got != want {
		t.Errorf("packed: %s, want %s", got, want)
	}
}

func TestBackfillDelaysNobody(t *testing.T) {
	one := events.GPURequest{Count: 1}
	node := gpuNode("n", gpus(4, "g", "NVIDIA L4", 24)...)
	node.UsedSlots, node.Holds = 2, []Hold{
		{User: "eve", Devices: []string{"GPU-g-0"}, GPU: one, Ends: time.Hour},
		{User: "eve", Devices: []string{"GPU-g-1"}, GPU: one, Ends: 2 * time.Hour},
	}
	takes := func(id, user string, r events.GPURequest, d time.Duration) Need {
		n := gpuNeed(id, user, r)
		n.TimeoutMillis = (d - endsWithin).Milliseconds()
		return n
	}
	other := gpuNode("o", gpus(1, "o", "NVIDIA L4", 24)...)
	both := node
	both.Holds = slices.Clone(node.Holds)
	both.Holds[1].Ends = time.Hour
	three := takes("01", "ana", events.GPURequest{Count: 3}, time.Hour) // has room in an hour, with one left over
	four := takes("01", "ana", events.GPURequest{Count: 4}, time.Hour)  // has room in two
	for _, c := range []struct {
		name  string
		nodes []Node
		needs []Need
		want  string
	}{
		{"one that ends in time passes", []Node{node}, []Need{four, takes("02", "bob", one, 2*time.Hour)}, "02:n[GPU-g-2]"},
		{"one that does not waits", []Node{node}, []Need{four, takes("02", "bob", one, 2*time.Hour+time.Second)}, ""},
		{"one without a bound waits", []Node{node}, []Need{four, {ID: "02", User: "bob", Base: "host", GPUs: 1}}, ""},
		{"what is left over beside it is not kept", []Node{both}, []Need{three, takes("02", "bob", one, 9*time.Hour), takes("03", "cay", one, 9*time.Hour)}, "02:n[GPU-g-3]"},
		{"nor are other machines", []Node{node, other}, []Need{four, takes("02", "bob", one, 9*time.Hour)}, "02:o[GPU-o-0]"},
		{"what needs no GPU passes", []Node{node}, []Need{four, {ID: "02", User: "bob", Base: "host"}}, "02:n[]"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := where(Place(queuesOf(c.needs...), c.nodes)); got != c.want {
				t.Errorf("placed %q, want %q", got, c.want)
			}
		})
	}
}

// Memory is kept as GPUs are: what needs much of it is not starved by many who need little.
func TestBackfillKeepsMemory(t *testing.T) {
	node := gpuNode("n")
	node.Machine.MemoryBytes, node.UsedMemoryBytes, node.UsedSlots = 10, 6, 1
	node.Holds = []Hold{{User: "eve", MemoryBytes: 6, Ends: time.Hour}}
	need := func(id, user string, bytes int64, d time.Duration) Need {
		return Need{ID: id, User: user, Base: "host", MemoryBytes: bytes, TimeoutMillis: d.Milliseconds()}
	}
	queues := queuesOf(need("01", "ana", 8, time.Hour), need("02", "bob", 1, 30*time.Minute), need("03", "cay", 2, time.Hour), need("04", "dan", 1, time.Hour))
	if got, want := where(Place(queues, []Node{node})), "02:n[] 03:n[]"; got != want {
		t.Errorf("placed %q, want %q", got, want)
	}
}

func TestUnplaceableNamesTheFleet(t *testing.T) {
	old := gpuNode("old", gpus(1, "o", "Tesla P100", 16)...)
	old.Machine.Driver = "470.57.02"
	broken := gpus(2, "h", "NVIDIA H100 80GB HBM3", 80)
	broken[1].Fault = "Xid 79"
	fleet := []Node{gpuNode("cpu"), gpuNode("gpu1", broken...), gpuNode("gpu2", mig(7, "m", 10)...), old}
	const text = "fleet: 1× NVIDIA H100 80GB HBM3 80.0 GiB on gpu1 (driver 550.54.15), " +
		"1× NVIDIA H100 80GB HBM3 80.0 GiB (out of order: Xid 79) on gpu1 (driver 550.54.15), " +
		"7× NVIDIA A100-SXM4-80GB MIG 1g.10gb 10.0 GiB on gpu2 (driver 550.54.15), 1× Tesla P100 16.0 GiB on old (driver 470.57.02)"
	for _, c := range []struct {
		name  string
		nodes []Node
		r     events.GPURequest
		want  string
	}{
		{"no GPU", []Node{gpuNode("cpu")}, events.GPURequest{Count: 1}, "the fleet has no GPU: add a machine with an NVIDIA GPU (`hermesd doctor` says there what is missing), or set gpuCapable to false in hermes.config.json"},
		{"enough", fleet, events.GPURequest{Count: 1}, ""},
		{"one that is out of order may be mended", fleet, events.GPURequest{Count: 2, Models: []string{"H100"}}, ""},
		{"too many", fleet, events.GPURequest{Count: 3}, "no machine of the fleet can give it count=3 (watcher gpu1: it has 2 of one model that would do, 3 are asked for); " + text},
		{"too much memory", fleet, events.GPURequest{Count: 1, MemoryBytes: 81 * gib}, "no machine of the fleet can give it count=1,memory=81GiB (watcher gpu1: none of its 2 GPUs is what is asked for); " + text},
		{"no such model", fleet, events.GPURequest{Count: 1, Models: []string{"B200"}}, "no machine of the fleet can give it count=1,model=B200 (watcher gpu1: none of its 2 GPUs is what is asked for); " + text},
		{"no such driver", fleet, events.GPURequest{Count: 1, Driver: ">=560"}, "no machine of the fleet can give it count=1,driver=>=560 (watcher gpu1: its driver is 550.54.15, >=560 is asked for); " + text},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := Unplaceable(c.nodes, gpuNeed("01", "ana", c.r)); got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
}

func TestDriversAreCompared(t *testing.T) {
	for _, c := range []struct {
		driver, constraint string
		fits               bool
	}{
		{"550.54.15", ">=550", true}, {"550.54.15", "550", true}, {"550.54.15", ">=550.90", false},
		{"535.104.05", ">=535 <560", true}, {"580.65.06", ">=535 <560", false}, {"580.65.06", ">=535 <560 || >=575", true},
		{"560.94", ">=550", true}, {"", ">=550", false}, {"unknown", ">=550", false}, {"", "", true}, {"550.54.15", "new", false},
	} {
		if why := driverUnfit(c.driver, c.constraint); (why == "") != c.fits {
			t.Errorf("driver %q for %q: %q", c.driver, c.constraint, why)
		}
	}
}
