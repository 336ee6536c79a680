package containerd

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	cdispecs "tags.cncf.io/container-device-interface/specs-go"

	"github.com/hermes-serverless/hermes/services/watcher/sandbox"
)

// wishes are what a function's config can say that other runtimes take for an order: NVIDIA's heeds such
// variables, and CDI's such annotations, under names that a variable can have too.
var wishes = []string{
	"PATH=/usr/bin:/bin",
	"NVIDIA_VISIBLE_DEVICES=all", "NVIDIA_DRIVER_CAPABILITIES=all", "NVIDIA_REQUIRE_CUDA=cuda>=1.0",
	"NVIDIA_MIG_CONFIG_DEVICES=all", "NVIDIA_MIG_MONITOR_DEVICES=all", "NVIDIA_IMEX_CHANNELS=0",
	"NVIDIA_GDS=enabled", "NVIDIA_MOFED=enabled", "CUDA_VISIBLE_DEVICES=0,1,2,3",
	"cdi.k8s.io/mine=nvidia.com/gpu=all", "nvidia.cdi.k8s.io/mine=all",
}

// TestNobodyChoosesDevices: whatever a function says in its environment, its sandbox has the nodes that it
// was given, and what says how the container is made holds neither its variables nor annotations nor hooks.
func TestNobodyChoosesDevices(t *testing.T) {
	needContainers(t)
	driver := newFakeDriver(t)
	second := &cdispecs.DeviceNode{Path: "/dev/nvidia78", HostPath: driver.path("fuse")}
	asked := [][]string{}
	for _, starter := range []string{LaunchName, RuncName} {
		r := newRuntimeWith(t, newDir(t), func(o *Options) {
			o.Devices = func(ids []string) (*cdispecs.ContainerEdits, error) {
				asked = append(asked, ids)
				if slices.Equal(ids, []string{"GPU-78"}) {
					return &cdispecs.ContainerEdits{DeviceNodes: []*cdispecs.DeviceNode{second}}, nil
				}
				return driver.give(ids)
			}
			if starter == RuncName {
				o.Libexec.Launch = ""
			}
		})
		var made *specs.Spec
		r.weaken = func(spec *specs.Spec) { made = spec }
		for name, devices := range map[string][]string{"without": nil, "with": {"GPU-77"}} {
			t.Run(starter+"/"+name, func(t *testing.T) {
				spec := testSpec(name+"-"+starter, sandbox.Run, newDir(t))
				spec.Devices = devices
				box := create(t, r, spec)
				saysNothing(t, made)
				saysNothing(t, storedSpec(t, r, box))
				const look = "cd /dev && ls -d * nvidia-caps/* 2>/dev/null; ls /.hermes; env | grep -c NVIDIA_ || true"
				plain, _, err := runWith(box, wishes[:1], "/bin/sh", "-c", look)
				if err != nil {
					t.Fatal(err)
				}
				wishing, _, err := runWith(box, wishes, "/bin/sh", "-c", look)
				before, after := strings.Fields(plain), strings.Fields(wishing)
				if err != nil || !slices.Equal(before[:len(before)-1], after[:len(after)-1]) || after[len(after)-1] == "0" {
					t.Errorf("%v; with wishes it finds\n%s\nwithout\n%s", err, wishing, plain)
				}
				if slices.Contains(after, "nvidia78") || slices.Contains(after, "nvidia77") != (devices != nil) {
					t.Errorf("given %q, it has %q", devices, after)
				}
			})
		}
	}
	for _, ids := range asked {
		if !slices.Equal(ids, []string{"GPU-77"}) {
			t.Errorf("the devices %q were asked for", ids)
		}
	}
}

// saysNothing: what makes the container has nothing that comes from the function.
func saysNothing(t *testing.T, spec *specs.Spec) {
	t.Helper()
	if len(spec.Annotations) > 0 || len(spec.Process.Env) > 0 || spec.Hooks != nil {
		t.Errorf("annotations %q, environment %q, hooks %+v", spec.Annotations, spec.Process.Env, spec.Hooks)
	}
}

// storedSpec is what containerd has of a sandbox.
func storedSpec(t *testing.T, r *Runtime, b sandbox.Sandbox) *specs.Spec {
	t.Helper()
	ctx, cancel := r.call(t.Context(), 30*time.Second)
	defer cancel()
	c, err := r.client.LoadContainer(ctx, b.(*box).container.id)
	if err != nil {
		t.Fatal(err)
	}
	spec, err := c.Spec(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return spec
}
