package containerd

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	cdispecs "tags.cncf.io/container-device-interface/specs-go"

	"github.com/hermes-serverless/hermes/services/watcher/sandbox"
)

// fakeParts is a card that is partitioned: the node of the card is in everybody's sandbox, and two
// capabilities say which instance is meant. No driver has their numbers: who may open one is told that
// there is no such device, and who may not, that it is not permitted.
type fakeParts struct {
	*fakeDriver
	card  *cdispecs.DeviceNode
	caps  map[string][]*cdispecs.DeviceNode // by instance
	rules int                               // of the spec that was made last
}

func newFakeParts(t *testing.T) *fakeParts {
	d := &fakeParts{fakeDriver: &fakeDriver{dir: newDir(t)}, caps: map[string][]*cdispecs.DeviceNode{}}
	const free = 240 // a major number for local use
	d.node(t, "card", free, 0, 0o666)
	d.card = &cdispecs.DeviceNode{Path: "/dev/nvidia0", HostPath: d.path("card")}
	for instance, numbers := range map[string][]uint32{"MIG-a": {12, 13}, "MIG-b": {21, 22}} {
		for _, n := range numbers {
			name := fmt.Sprintf("nvidia-cap%d", n)
			d.node(t, name, free, n, 0o444)
			d.caps[instance] = append(d.caps[instance], &cdispecs.DeviceNode{Path: capabilities + name, HostPath: d.path(name)})
		}
	}
	return d
}

func (d *fakeParts) give(ids []string) (*cdispecs.ContainerEdits, error) {
	edits := &cdispecs.ContainerEdits{DeviceNodes: []*cdispecs.DeviceNode{d.card}}
	for _, id := range ids {
		if d.caps[id] == nil {
			return nil, fmt.Errorf("there is no instance %s", id)
		}
		edits.DeviceNodes = append(edits.DeviceNodes, d.caps[id]...)
	}
	return edits, nil
}

// TestInstancesOfOneCard: two users have an instance each of the same card, at the same time. Each finds
// the card and its own two capabilities, to be read, and a capability of the other's that got in by a
// mistake would open nothing.
func TestInstancesOfOneCard(t *testing.T) {
	needContainers(t)
	d := newFakeParts(t)
	for _, starter := range []string{LaunchName, RuncName} {
		r := newRuntimeWith(t, newDir(t), func(o *Options) {
			o.Devices = d.give
			if starter == RuncName {
				o.Libexec.Launch = ""
			}
		})
		boxes := map[string]sandbox.Sandbox{}
		for mine, other := range map[string]string{"MIG-a": "MIG-b", "MIG-b": "MIG-a"} {
			r.weaken = func(spec *specs.Spec) {
				d.rules = len(spec.Linux.Resources.Devices)
				spec.Mounts = append(spec.Mounts, specs.Mount{
					Destination: "/dev/others", Type: "bind", Source: d.caps[other][0].HostPath, Options: []string{"bind"},
				})
			}
			spec := testSpec(mine+"-"+starter, sandbox.Run, newDir(t))
			spec.Devices = []string{mine}
			boxes[mine] = create(t, r, spec)
			if d.rules != 4 { // nothing, the card, two capabilities
				t.Errorf("%s has %d rules", mine, d.rules)
			}
		}
		for mine, box := range boxes {
			t.Run(starter+"/"+mine, func(t *testing.T) { hasItsInstance(t, box, d.caps[mine]) })
		}
	}
}

func hasItsInstance(t *testing.T, box sandbox.Sandbox, caps []*cdispecs.DeviceNode) {
	t.Helper()
	var want []string
	for _, node := range caps {
		want = append(want, strings.TrimPrefix(node.Path, capabilities))
	}
	names := strings.Fields(output(t, box, "/bin/sh", "-c", "ls "+capabilities+" | sort; cd /dev; ls -d nvidia*"))
	if want := append(slices.Clone(want), "nvidia-caps", "nvidia0"); !slices.Equal(names, want) {
		t.Errorf("the nodes are %q, want %q", names, want)
	}
	const opens = "No such device"
	for what, c := range map[string]struct{ script, want string }{
		"the card can be read and written": {"exec 3<>/dev/nvidia0", opens},
		"its part can be read":             {"exec 3<" + caps[0].Path, opens},
		"its compute units can be read":    {"exec 3<" + caps[1].Path, opens},
		"a capability cannot be written":   {"exec 3>" + caps[0].Path, "denied"},
		"the other's opens nothing":        {"exec 3</dev/others", "not permitted"},
	} {
		if text := output(t, box, "/bin/sh", "-c", "("+c.script+") 2>&1 || true"); !strings.Contains(text, c.want) {
			t.Errorf("%s: %q, want %q", what, text, c.want)
		}
	}
}
