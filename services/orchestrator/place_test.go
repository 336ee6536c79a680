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
	"github.com/hermes-serverless/hermes/projections/executions"
)

func drawFleet(t *rapid.T) []Node {
	var nodes []Node
	for i := range rapid.IntRange(0, 6).Draw(t, "watchers") {
		m := events.Machine{
			Slots:       rapid.IntRange(1, 4).Draw(t, "slots"),
			MemoryBytes: rapid.Int64Range(1, 10).Draw(t, "memory"),
			Bases:       []string{"host"}, Languages: []string{"cpp"},
			GPUs: make([]events.GPU, rapid.IntRange(0, 2).Draw(t, "gpus")),
		}
		for g := range m.GPUs {
			m.GPUs[g] = events.GPU{UUID: fmt.Sprintf("GPU-%d-%d", i, g), Model: "NVIDIA L4", MemoryBytes: 24 << 30}
		}
		nodes = append(nodes, Node{
			Name: fmt.Sprintf("w%d", i), Machine: m, Accepting: rapid.Bool().Draw(t, "accepting"),
			UsedSlots: rapid.IntRange(0, m.Slots).Draw(t, "used"),
		})
	}
	return nodes
}

func drawQueues(t *rapid.T) []Queue {
	var queues []Queue
	id := 0
	for u := range rapid.IntRange(0, 4).Draw(t, "users") {
		q := Queue{User: fmt.Sprintf("u%d", u), Running: rapid.IntRange(0, 3).Draw(t, "running")}
		for range rapid.IntRange(0, 6).Draw(t, "waiting") {
			id++
			q.Waiting = append(q.Waiting, Need{
				ID: fmt.Sprintf("%04d", id), User: q.User, Kind: events.KindRun, Base: "host", Language: "cpp",
				MemoryBytes: rapid.Int64Range(0, 6).Draw(t, "need"), GPUs: rapid.IntRange(0, 1).Draw(t, "need gpus"),
			})
		}
		queues = append(queues, q)
	}
	return queues
}

func TestPlaceProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		queues, nodes := drawQueues(t), drawFleet(t)
		plan := Place(queues, nodes)
		if again := Place(queues, nodes); !reflect.DeepEqual(plan, again) {
			t.Fatalf("equal inputs, other plan: %s", cmp.Diff(plan, again))
		}
		placed := map[string]string{}
		for _, p := range plan {
			if placed[p.ID] != "" {
				t.Fatalf("%s is placed twice", p.ID)
			}
			placed[p.ID] = p.Watcher
		}
		checkRoom(t, queues, nodes, placed)
		for _, q := range queues {
			checkOrder(t, q, placed)
		}
	})
}

// checkRoom: nothing on a watcher that takes nothing, and no watcher over its capacity.
func checkRoom(t *rapid.T, queues []Queue, nodes []Node, placed map[string]string) {
	for _, n := range nodes {
		slots, memory, gpus := n.UsedSlots, n.UsedMemoryBytes, 0
		for _, q := range queues {
			for _, need := range q.Waiting {
				if placed[need.ID] == n.Name {
					slots, memory, gpus = slots+1, memory+need.MemoryBytes, gpus+need.GPUs
				}
			}
		}
		if !n.Accepting && slots > n.UsedSlots {
			t.Fatalf("%s accepts nothing but got something", n.Name)
		}
		if slots > n.Machine.Slots || memory > n.Machine.MemoryBytes || gpus > len(n.Machine.GPUs) {
			t.Fatalf("%s is over its capacity: %d slots, %d bytes, %d GPUs", n.Name, slots, memory, gpus)
		}
	}
}

// checkOrder: a user's executions are placed first come first.
func checkOrder(t *rapid.T, q Queue, placed map[string]string) {
	waits := false
	for _, need := range q.Waiting {
		if placed[need.ID] == "" {
			waits = true
		} else if waits {
			t.Fatalf("%s overtook an earlier execution of %s", need.ID, q.User)
		}
	}
}

func TestPlaceSharesFairly(t *testing.T) {
	need := func(id string) Need { return Need{ID: id, Base: "host", Language: "cpp"} }
	node := Node{Name: "w", Accepting: true, Machine: events.Machine{Slots: 4, Bases: []string{"host"}}}
	queues := []Queue{
		{User: "flood", Running: 1, Waiting: []Need{need("01"), need("02"), need("03"), need("04")}},
		{User: "other", Waiting: []Need{need("05"), need("06")}},
	}
	var order []string
	for _, p := range Place(queues, []Node{node}) {
		order = append(order, p.ID)
	}
	if want := []string{"05", "01", "06", "02"}; !slices.Equal(order, want) {
		t.Errorf("placed %v, want %v", order, want)
	}
}

func TestUnplaceable(t *testing.T) {
	cpu := Node{Name: "w", Machine: events.Machine{Slots: 1, MemoryBytes: 1 << 30, Bases: []string{"host"}, Languages: []string{"cpp"}}}
	images := cpu
	images.Machine.Bases = []string{"host", events.ImageBases("amd64")}
	gcc := "gcc@sha256:" + strings.Repeat("ab", 32)
	online := cpu
	online.Name, online.Machine.Network = "x", true
	tests := []struct {
		name  string
		nodes []Node
		need  Need
		want  string // a part of the words; "" when it can be placed, or may be later
	}{
		{"fits", []Node{cpu}, Need{Base: "host", Language: "cpp", Kind: events.KindBuild}, ""},
		{"no fleet yet", nil, Need{Base: "host", GPUs: 1}, ""},
		{"no GPU", []Node{cpu}, Need{Base: "host", GPUs: 1}, "gpuCapable"},
		{"no toolkit", []Node{cpu}, Need{Base: "host", Language: "cuda", Kind: events.KindBuild}, "CUDA toolkit"},
		{"a built CUDA function runs without a toolkit", []Node{cpu}, Need{Base: "host", Language: "cuda", Kind: events.KindRun}, ""},
		{"an image's compiler is its own", []Node{images}, Need{Base: gcc, Language: "rust", Kind: events.KindBuild}, ""},
		{"no images", []Node{cpu}, Need{Base: gcc, Language: "cpp"}, `no base "gcc@sha256:`},
		{"an image of its architecture", []Node{images}, Need{Base: gcc, Architecture: "amd64"}, ""},
		{"an image of another", []Node{images}, Need{Base: gcc, Architecture: "arm64"}, "which is for arm64"},
		{"the machine itself is of every", []Node{images}, Need{Base: "host"}, ""},
		{"no base at all", []Node{images}, Need{Base: "gcc", Language: "cpp"}, `no base "gcc"`},
		{"no network", []Node{cpu}, Need{Base: "host", Network: true}, "hermesd watcher --allow-network"},
		{"a network, but not enough else", []Node{cpu, online}, Need{Base: "host", Network: true, MemoryBytes: 2 << 30}, "no watcher of the fleet can run it"},
		{"a network on one of them", []Node{cpu, online}, Need{Base: "host", Network: true}, ""},
		{"too much memory", []Node{cpu}, Need{Base: "host", MemoryBytes: 2 << 30}, "2048 MiB"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got := Unplaceable(test.nodes, test.need)
			if (got == "") != (test.want == "") || !strings.Contains(got, test.want) {
				t.Errorf("got %q, want something with %q", got, test.want)
			}
		})
	}
}

func TestPlaceGivesANetworkOnlyWhereThereIsOne(t *testing.T) {
	node := func(name string, slots int, network bool) Node {
		return Node{Name: name, Accepting: true, Machine: events.Machine{Slots: slots, Bases: []string{"host"}, Network: network}}
	}
	nodes := []Node{node("large", 8, false), node("small", 1, true)}
	queue := []Queue{{User: "ana", Waiting: []Need{{ID: "01", Base: "host", Network: true}, {ID: "02", Base: "host", Network: true}}}}
	if got := Place(queue, nodes); len(got) != 1 || got[0].Watcher != "small" {
		t.Errorf("placed %+v", got)
	}
}

// TestPlaceLeavesASlotToOthers: who has one already leaves the last one, if there are others and slots enough;
// who has none gets it.
func TestPlaceLeavesASlotToOthers(t *testing.T) {
	node := func(name string, slots, used int) Node {
		return Node{Name: name, Machine: events.Machine{Slots: slots, MemoryBytes: 100, Bases: []string{"host"}}, Accepting: true, UsedSlots: used}
	}
	queue := func(user string, running, spare, waiting int) Queue {
		q := Queue{User: user, Running: running, Spare: spare}
		for i := range waiting {
			q.Waiting = append(q.Waiting, Need{ID: fmt.Sprint(user, i), User: user, Kind: events.KindRun, Base: "host"})
		}
		return q
	}
	away := node("c", 4, 0)
	away.Accepting = false
	for name, c := range map[string]struct {
		queues []Queue
		nodes  []Node
		want   map[string]int
	}{
		"alone":                    {[]Queue{queue("eve", 0, 0, 9)}, []Node{node("a", 4, 0)}, map[string]int{"eve": 4}},
		"others have asked":        {[]Queue{queue("eve", 0, 1, 9)}, []Node{node("a", 4, 0)}, map[string]int{"eve": 3}},
		"and ask again":            {[]Queue{queue("eve", 3, 1, 9), queue("ana", 0, 1, 2)}, []Node{node("a", 4, 3)}, map[string]int{"ana": 1}},
		"of few slots all go":      {[]Queue{queue("eve", 0, 1, 9)}, []Node{node("a", 3, 0)}, map[string]int{"eve": 3}},
		"one of all machines'":     {[]Queue{queue("eve", 0, 1, 9)}, []Node{node("a", 3, 0), node("b", 3, 0)}, map[string]int{"eve": 5}},
		"none of one that is away": {[]Queue{queue("eve", 0, 1, 9)}, []Node{node("a", 4, 0), away}, map[string]int{"eve": 3}},
	} {
		got := map[string]int{}
		for _, p := range Place(c.queues, c.nodes) {
			got[p.User]++
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

func TestShare(t *testing.T) {
	now := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	s := newState()
	ask := func(user string, ago time.Duration) {
		s.load(executions.Execution{ID: "id", Owner: user, Status: executions.Queued, RequestedAt: now.Add(-ago), Sequence: 1})
	}
	spare := func(user string) int {
		queues := []Queue{{User: user}}
		s.share(queues, now.Add(-time.Minute))
		return queues[0].Spare
	}
	ask("eve", 0)
	if spare("eve") != 0 {
		t.Error("a slot is kept free for nobody")
	}
	ask("old", time.Hour)
	if spare("eve") != 0 {
		t.Error("a slot is kept free for one who asked long ago")
	}
	ask("ana", time.Second)
	if spare("eve") != 1 || spare("ana") != 1 || spare("bob") != 1 {
		t.Error("no slot is kept free for others")
	}
}
