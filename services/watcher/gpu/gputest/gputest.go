// Package gputest is the conformance suite of gpu.Inventory: what the keeper relies on, run against
// the scripted inventory, the one of NVIDIA's driver on a simulated driver, and, on a machine that has
// one, on the real driver.
package gputest

import (
	"errors"
	"regexp"
	"strings"
	"testing"
	"time"

	cdi "tags.cncf.io/container-device-interface/specs-go"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/services/watcher/gpu"
)

// Options say what the inventory under test can do.
type Options struct {
	// Nodes: Edits names nodes and libraries. Without it only its errors are looked at.
	Nodes bool
}

var (
	wholeUUID  = regexp.MustCompile(`^GPU-[0-9a-fA-F-]{8,}$`)
	migUUID    = regexp.MustCompile(`^MIG-[0-9a-zA-Z/-]{8,}$`)
	version    = regexp.MustCompile(`^\d+\.\d+(\.\d+)?$`)
	capability = regexp.MustCompile(`^\d+\.\d+$`)
)

// Run tests an inventory of at least one device, all idle. The caller closes it.
func Run(t *testing.T, inventory gpu.Inventory, opts Options) {
	m, err := inventory.List()
	if err != nil || len(m.GPUs) == 0 {
		t.Fatalf("list: %+v, %v; want devices", m, err)
	}
	t.Run("List", func(t *testing.T) { listIsComplete(t, m) })
	t.Run("ListAgain", func(t *testing.T) { listIsStable(t, inventory, m) })
	t.Run("Read", func(t *testing.T) { readingsAreSane(t, inventory, m) })
	t.Run("ReadUnknown", func(t *testing.T) { unknownIsLost(t, inventory) })
	t.Run("Troubles", func(t *testing.T) { troublesReturn(t, inventory) })
	t.Run("Edits", func(t *testing.T) { editsAreHarmless(t, inventory, m, opts) })
}

func listIsComplete(t *testing.T, m gpu.Machine) {
	if !version.MatchString(m.Driver) || !version.MatchString(m.CUDA) {
		t.Errorf("driver %q and CUDA %q are no versions", m.Driver, m.CUDA)
	}
	seen := map[string]bool{}
	for _, g := range m.GPUs {
		if seen[g.UUID] {
			t.Errorf("%s is listed twice", g.UUID)
		}
		seen[g.UUID] = true
		checkDevice(t, g)
	}
	for _, g := range m.GPUs {
		if g.Parent != "" && seen[g.Parent] {
			t.Errorf("%s is partitioned, and listed as a whole too", g.Parent)
		}
	}
}

func checkDevice(t *testing.T, g events.GPU) {
	t.Helper()
	instance := g.Parent != ""
	switch {
	case !instance && !wholeUUID.MatchString(g.UUID), instance && !migUUID.MatchString(g.UUID), instance && !wholeUUID.MatchString(g.Parent):
		t.Errorf("%+v: its UUIDs are not such", g)
	case g.Model == "" || g.MemoryBytes <= 0:
		t.Errorf("%+v: its model or memory is missing", g)
	case !capability.MatchString(g.ComputeCapability):
		t.Errorf("%+v: its compute capability is none", g)
	case instance != (g.Profile != ""):
		t.Errorf("%+v: an instance has a profile, and a whole GPU has none", g)
	}
}

func listIsStable(t *testing.T, inventory gpu.Inventory, before gpu.Machine) {
	after, err := inventory.List()
	if err != nil || len(after.GPUs) != len(before.GPUs) {
		t.Fatalf("%+v, %v; before %+v", after, err, before)
	}
	for i := range after.GPUs {
		if after.GPUs[i] != before.GPUs[i] {
			t.Errorf("%+v, before %+v", after.GPUs[i], before.GPUs[i])
		}
	}
}

func readingsAreSane(t *testing.T, inventory gpu.Inventory, m gpu.Machine) {
	for _, g := range m.GPUs {
		r, err := inventory.Read(g.UUID)
		if err != nil {
			t.Errorf("read %s: %v", g.UUID, err)
			continue
		}
		if r.MemoryBytes < 0 || r.MemoryBytes > g.MemoryBytes {
			t.Errorf("%s: %d of %d bytes are in use", g.UUID, r.MemoryBytes, g.MemoryBytes)
		}
		if r.UtilisationPercent < gpu.Unknown || r.UtilisationPercent > 100 {
			t.Errorf("%s is used %d %%", g.UUID, r.UtilisationPercent)
		}
		if r.PowerMilliwatts < 0 || r.EnergyMillijoules < 0 || r.MemoryErrors < 0 {
			t.Errorf("%s: %+v", g.UUID, r)
		}
	}
}

func unknownIsLost(t *testing.T, inventory gpu.Inventory) {
	const none = "GPU-ffffffff-ffff-ffff-ffff-ffffffffffff"
	if _, err := inventory.Read(none); !errors.Is(err, gpu.ErrLost) {
		t.Errorf("read: %v, want %v", err, gpu.ErrLost)
	}
	if _, err := inventory.Edits([]string{none}); !errors.Is(err, gpu.ErrLost) {
		t.Errorf("edits: %v, want %v", err, gpu.ErrLost)
	}
}

func troublesReturn(t *testing.T, inventory gpu.Inventory) {
	done := make(chan error, 1)
	go func() {
		troubles, err := inventory.Troubles()
		if len(troubles) > 0 {
			t.Errorf("idle devices have %+v", troubles)
		}
		done <- err
	}()
	select {
	case err := <-done:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(30 * time.Second):
		t.Error("it waits for ever")
	}
}

func editsAreHarmless(t *testing.T, inventory gpu.Inventory, m gpu.Machine, opts Options) {
	capable := map[string]string{}
	for _, g := range m.GPUs {
		edits, err := inventory.Edits([]string{g.UUID})
		if err != nil {
			t.Errorf("%s: %v", g.UUID, err)
			continue
		}
		if len(edits.Hooks) > 0 || len(edits.NetDevices) > 0 || edits.IntelRdt != nil || len(edits.AdditionalGIDs) > 0 {
			t.Errorf("%s: %+v: more than nodes, mounts and variables", g.UUID, edits)
		}
		for _, m := range edits.Mounts {
			if strings.HasSuffix(m.HostPath, "socket") {
				t.Errorf("%s: the socket %s leads out of a sandbox", g.UUID, m.HostPath)
			}
		}
		if opts.Nodes && (len(edits.DeviceNodes) < 2 || len(edits.Mounts) == 0) {
			t.Errorf("%s: %d nodes and %d mounts", g.UUID, len(edits.DeviceNodes), len(edits.Mounts))
		}
		if opts.Nodes {
			capabilitiesAreItsOwn(t, g, edits, capable)
		}
	}
}

// capabilitiesAreItsOwn: the node of a GPU opens an instance of it only to who has its two capabilities,
// which nothing else has; owners are those that were seen of others.
func capabilitiesAreItsOwn(t *testing.T, g events.GPU, edits *cdi.ContainerEdits, owners map[string]string) {
	t.Helper()
	count := 0
	for _, node := range edits.DeviceNodes {
		if !strings.HasPrefix(node.Path, "/dev/nvidia-caps/") {
			continue
		}
		count++
		if other := owners[node.Path]; other != "" {
			t.Errorf("%s is given to %s and to %s", node.Path, other, g.UUID)
		}
		owners[node.Path] = g.UUID
	}
	want := 0
	if g.Parent != "" {
		want = 2 // of the part of the GPU, and of the part of its compute units
	}
	if count != want {
		t.Errorf("%s: %d capabilities, want %d", g.UUID, count, want)
	}
}
