package containerd

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/hermes-serverless/hermes/services/watcher/sandbox"
)

var update = flag.Bool("update", false, "write the golden files anew")

func testPlan(kind sandbox.Kind) plan {
	spec := testSpec("golden", kind, "")
	if kind == sandbox.Run {
		spec.Dir = "/data/artifacts/f"
	}
	return plan{
		spec: spec, root: "/state/bases/host", base: []string{"/usr", "/etc/alternatives"},
		initBinary: "/libexec/hermes-init", socket: "/state/sandboxes/1/socket", cgroup: "/hermes/test/1",
		firstID: firstHostID, limits: rlimits{openFiles: 4096}, swap: true,
		heat: []string{"/sys/devices/system/cpu/cpu0/thermal_throttle"},
	}
}

// TestSpecGolden freezes the isolation: a change to it is seen in a review, not found in an incident.
func TestSpecGolden(t *testing.T) {
	if runtime.GOARCH != "amd64" {
		t.Skip("the golden profile is that of amd64")
	}
	for _, kind := range []sandbox.Kind{sandbox.Run, sandbox.Build} {
		got, err := json.MarshalIndent(ociSpec(testPlan(kind)), "", " ")
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, '\n')
		path := filepath.Join("testdata", string(kind)+".json")
		if *update {
			if err := os.WriteFile(path, got, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if string(got) != string(want) {
			t.Errorf("the %s spec is not %s; look at the difference after go test -run TestSpecGolden -update", kind, path)
		}
	}
}

// TestSpecRefuses: whatever containerd's default becomes, these stay out.
func TestSpecRefuses(t *testing.T) {
	profile := ociSpec(testPlan(sandbox.Run)).Linux.Seccomp
	if profile.DefaultAction != specs.ActErrno || len(profile.Architectures) != 1 {
		t.Errorf("default %s, architectures %v", profile.DefaultAction, profile.Architectures)
	}
	refused := append(refusedCalls(), "mount", "unshare", "setns", "init_module", "kexec_load", "fsopen", "move_mount", "pivot_root")
	for _, rule := range profile.Syscalls {
		for _, name := range rule.Names {
			if rule.Action == specs.ActAllow && slices.Contains(refused, name) {
				t.Errorf("%s is allowed", name)
			}
			if slices.Contains(socketCalls(), name) && len(rule.Args) == 0 {
				t.Errorf("%s is allowed for every family", name)
			}
		}
	}
}

func TestSpecNeverRaisesLimits(t *testing.T) {
	p := testPlan(sandbox.Run)
	p.limits.openFiles = 100
	p.spec.Limits.CPUs = 0.001
	spec := ociSpec(p)
	for _, limit := range spec.Process.Rlimits {
		if limit.Hard > 100 {
			t.Errorf("%s is raised to %d", limit.Type, limit.Hard)
		}
	}
	if quota := *spec.Linux.Resources.CPU.Quota; quota < minimumQuota {
		t.Errorf("CPU quota is %d µs, which the kernel refuses", quota)
	}
}

func TestSpecBindsNothingWritable(t *testing.T) {
	for _, kind := range []sandbox.Kind{sandbox.Run, sandbox.Build} {
		for _, mount := range ociSpec(testPlan(kind)).Mounts {
			if mount.Type != "bind" {
				continue
			}
			for _, option := range []string{"ro", "rro", "nosuid", "nodev"} {
				if !slices.Contains(mount.Options, option) {
					t.Errorf("%s is bound without %s: %s", mount.Source, option, strings.Join(mount.Options, ","))
				}
			}
		}
	}
}
