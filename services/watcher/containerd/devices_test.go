package containerd

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
	cdispecs "tags.cncf.io/container-device-interface/specs-go"

	"github.com/hermes-serverless/hermes/services/watcher/sandbox"
)

// fakeDriver is what the driver of a device that does not exist has installed: nodes of devices that do
// under names of its own, a library, a program, and a variable.
type fakeDriver struct {
	dir   string
	edits *cdispecs.ContainerEdits
}

const (
	fakeNode  = "/dev/nvidia77"                // the node of FUSE, which runc lets no container open by itself
	fakeZeros = "/dev/nvidia-caps/nvidia-cap7" // zeros
)

func newFakeDriver(t *testing.T) *fakeDriver {
	t.Helper()
	d := &fakeDriver{dir: newDir(t)}
	d.node(t, "fuse", 10, 229, 0o666)
	d.node(t, "zeros", 1, 5, 0o444)
	d.compile(t, "libfake.so.77.1", "int fake(void) { return 42; }", "-shared", "-fPIC", "-Wl,-soname,libfake.so.7")
	if err := os.WriteFile(d.path("fake-smi"), []byte("#!/bin/sh\necho driver 77.1\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	d.edits = &cdispecs.ContainerEdits{
		Env: []string{"NVIDIA_VISIBLE_DEVICES=void"},
		DeviceNodes: []*cdispecs.DeviceNode{
			{Path: fakeNode, HostPath: d.path("fuse")}, {Path: fakeZeros, HostPath: d.path("zeros")},
		},
		Mounts: []*cdispecs.Mount{
			{HostPath: d.path("libfake.so.77.1"), ContainerPath: "/usr/lib/x86_64-linux-gnu/libfake.so.77.1"},
			{HostPath: d.path("fake-smi"), ContainerPath: "/usr/bin/fake-smi"},
			{HostPath: "/usr/bin/env", ContainerPath: "/usr/bin/env"}, // on base host it is there already
		},
	}
	return d
}

func (d *fakeDriver) path(name string) string { return filepath.Join(d.dir, name) }

func (d *fakeDriver) node(t *testing.T, name string, major, minor uint32, mode os.FileMode) {
	t.Helper()
	err := unix.Mknod(d.path(name), unix.S_IFCHR|uint32(mode), int(unix.Mkdev(major, minor)))
	if err = errors.Join(err, os.Chmod(d.path(name), mode)); err != nil {
		t.Fatal(err)
	}
}

func (d *fakeDriver) compile(t *testing.T, name, source string, flags ...string) {
	t.Helper()
	args := append([]string{"-x", "c", "-o", d.path(name), "-"}, flags...)
	cmd := exec.Command("gcc", args...)
	cmd.Stdin = strings.NewReader(source)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Skipf("gcc: %v: %s", err, out)
	}
}

// give is the runtime's way to ask for the devices.
func (d *fakeDriver) give(ids []string) (*cdispecs.ContainerEdits, error) {
	if !slices.Equal(ids, []string{"GPU-77"}) {
		return nil, errors.New("there is no such device")
	}
	return d.edits, nil
}

// function is a folder with a program that calls the driver's library.
func (d *fakeDriver) function(t *testing.T) string {
	t.Helper()
	dir := newDir(t)
	if err := os.Symlink("libfake.so.77.1", d.path("libfake.so")); err != nil {
		t.Fatal(err)
	}
	d.compile(t, "handler", `#include <stdio.h>
int fake(void);
int main(void) { printf("%d\n", fake()); return 0; }`, "-L"+d.dir, "-lfake")
	if err := os.Rename(d.path("handler"), filepath.Join(dir, "handler")); err != nil {
		t.Fatal(err)
	}
	return dir
}

// TestDevices gives a sandbox a fake device, by hermes-launch and by runc, on base host and on an image.
func TestDevices(t *testing.T) {
	needContainers(t)
	driver := newFakeDriver(t)
	function := driver.function(t)
	root := smallRoot(t, "sh", "head", "ls", "cat", "od")
	for _, starter := range []string{LaunchName, RuncName} {
		r := newRuntimeWith(t, newDir(t), func(o *Options) {
			o.Devices = driver.give
			if starter == RuncName {
				o.Libexec.Launch = ""
			}
		})
		if starter == LaunchName && r.opts.Libexec.Launch == "" {
			t.Fatal("hermes-launch is not there")
		}
		for base, change := range map[string]func(sandbox.Spec) sandbox.Spec{
			"host":  func(s sandbox.Spec) sandbox.Spec { return s },
			"image": func(s sandbox.Spec) sandbox.Spec { return onRoot(root, s) },
		} {
			t.Run(starter+"/"+base, func(t *testing.T) {
				plain := create(t, r, change(testSpec("plain-"+base+"-"+starter, sandbox.Run, function)))
				spec := change(testSpec("gpu-"+base+"-"+starter, sandbox.Run, function))
				spec.Devices = []string{"GPU-77"}
				box := create(t, r, spec)
				sameBut(t, listOf(t, plain), listOf(t, box))
				hasDevice(t, box)
				lacksDevice(t, plain)
			})
		}
	}
}

// listOf is what is in /dev of a sandbox.
func listOf(t *testing.T, box sandbox.Sandbox) []string {
	t.Helper()
	return strings.Fields(output(t, box, "/bin/sh", "-c", "cd /dev && ls -d * nvidia-caps/* 2>/dev/null || true"))
}

// sameBut: the device's nodes are all that one sandbox has and the other has not.
func sameBut(t *testing.T, plain, with []string) {
	t.Helper()
	var more []string
	for _, name := range with {
		if !slices.Contains(plain, name) {
			more = append(more, name)
		}
	}
	slices.Sort(more)
	if want := []string{"nvidia-caps", "nvidia-caps/nvidia-cap7", "nvidia77"}; !slices.Equal(more, want) {
		t.Errorf("nodes besides those of every sandbox: %q, want %q", more, want)
	}
}

func hasDevice(t *testing.T, box sandbox.Sandbox) {
	t.Helper()
	for what, c := range map[string]struct{ script, want string }{
		"the node can be opened":     {"exec 3<>" + fakeNode + " && echo open", "open"},
		"the node can be read":       {"head -c 3 " + fakeZeros + " | od -An -tx1", " 00 00 00"},
		"a program uses the library": {"/function/handler", "42"},
		"the program is found":       {"fake-smi", "driver 77.1"},
		"its variable stands":        {`echo "$NVIDIA_VISIBLE_DEVICES"`, "void"},
		"own folders come first":     {`echo "$LD_LIBRARY_PATH"`, "/mine:" + driverLibraries},
		"the library cannot be written": {
			"(echo x >" + driverLibraries + "/libfake.so.77.1) 2>/dev/null || echo no", "no"},
		"the folder cannot be written": {"(echo x >" + driverDir + "/new) 2>/dev/null || echo no", "no"},
		"the init cannot be replaced":  {"(echo x >" + initPath + ") 2>/dev/null || echo no", "no"},
		"no node can be made":          {"(mknod /tmp/n c 10 229 || false) 2>/dev/null || echo no", "no"},
	} {
		env := []string{"PATH=/usr/bin:/bin", "LD_LIBRARY_PATH=/mine", "NVIDIA_VISIBLE_DEVICES=all"}
		text, _, err := runWith(box, env, "/bin/sh", "-c", c.script)
		if err != nil || strings.TrimRight(text, "\n") != c.want {
			t.Errorf("%s: %q, %v; want %q", what, text, err, c.want)
		}
	}
}

// lacksDevice: a variable, which is all that a function's config can set, opens nothing.
func lacksDevice(t *testing.T, box sandbox.Sandbox) {
	t.Helper()
	env := []string{"PATH=/usr/bin:/bin", "NVIDIA_VISIBLE_DEVICES=all", "NVIDIA_DRIVER_CAPABILITIES=all"}
	text, _, err := runWith(box, env, "/bin/sh", "-c", "ls /dev/nvidia* "+driverDir+" 2>/dev/null; echo \"$LD_LIBRARY_PATH\"")
	if err != nil || strings.TrimSpace(text) != "" {
		t.Errorf("a sandbox without devices has %q, %v", text, err)
	}
}

// TestDeviceRules: a node alone opens nothing; the rule for it is what lets a sandbox in.
func TestDeviceRules(t *testing.T) {
	driver := newFakeDriver(t)
	r := newRuntimeWith(t, newDir(t), func(o *Options) { o.Devices = driver.give })
	r.weaken = func(spec *specs.Spec) {
		rules := spec.Linux.Resources.Devices
		if len(rules) != 3 || rules[0].Allow || rules[0].Type != "" {
			t.Errorf("the rules are %+v", rules)
		}
		for _, rule := range rules[1:] {
			if wantAccess := map[int64]string{10: "rw", 1: "r"}[*rule.Major]; rule.Access != wantAccess || rule.Minor == nil {
				t.Errorf("the rule %+v is not of one node", rule)
			}
		}
		spec.Linux.Resources.Devices = rules[:1]
	}
	spec := testSpec("no-rule", sandbox.Run, newDir(t))
	spec.Devices = []string{"GPU-77"}
	box := create(t, r, spec)
	if text := output(t, box, "/bin/sh", "-c", "(exec 3<>"+fakeNode+") 2>&1 || true"); !strings.Contains(text, "not permitted") {
		t.Errorf("opened without a rule: %q", text)
	}
}

// TestProcessesOfASandbox: what a GPU's memory is counted by.
func TestProcessesOfASandbox(t *testing.T) {
	r := newRuntime(t)
	box := create(t, r, testSpec("processes", sandbox.Run, newDir(t)))
	if pids, err := box.Processes(); err != nil || len(pids) != 0 {
		t.Errorf("before a command: %v, %v", pids, err)
	}
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	err = box.Start(ctx, sandbox.Command{Args: []string{"/bin/sh", "-c", "sleep 1000 & sleep 1000"}, Stdin: null, Stdout: null, Stderr: null})
	if err != nil {
		t.Fatal(err)
	}
	for pids := []int(nil); len(pids) != 3; time.Sleep(time.Millisecond) {
		if pids, err = box.Processes(); err != nil || ctx.Err() != nil {
			t.Fatalf("%v, %v; want a shell and two it started", pids, err)
		}
	}
	if err := box.Kill(ctx); err != nil {
		t.Error(err)
	}
}

func TestDevicesRefused(t *testing.T) {
	driver := newFakeDriver(t)
	driver.node(t, "closed", 10, 229, 0o660)
	driver.node(t, "readable", 10, 229, 0o644)
	for what, c := range map[string]struct {
		edits *cdispecs.ContainerEdits
		why   string
	}{
		"a hook":  {&cdispecs.ContainerEdits{Hooks: []*cdispecs.Hook{{HookName: "createContainer", Path: "/bin/true"}}}, "more than nodes"},
		"a group": {&cdispecs.ContainerEdits{AdditionalGIDs: []uint32{44}}, "more than nodes"},
		"a disk":  {&cdispecs.ContainerEdits{DeviceNodes: []*cdispecs.DeviceNode{{Path: "/dev/loop0"}}}, "no character device"},
		"nowhere": {&cdispecs.ContainerEdits{DeviceNodes: []*cdispecs.DeviceNode{{Path: "/dev/nvidia-none"}}}, "hermesd doctor"},
		"not below /dev": {&cdispecs.ContainerEdits{DeviceNodes: []*cdispecs.DeviceNode{
			{Path: "/dev/../etc/x", HostPath: driver.path("fuse")}}}, "not below /dev"},
		"closed": {&cdispecs.ContainerEdits{DeviceNodes: []*cdispecs.DeviceNode{
			{Path: "/dev/x", HostPath: driver.path("closed")}}}, "NVreg_DeviceFileMode"},
		"only to be read": {&cdispecs.ContainerEdits{DeviceNodes: []*cdispecs.DeviceNode{
			{Path: "/dev/nvidia0", HostPath: driver.path("readable")}}}, "NVreg_DeviceFileMode"},
		"a folder without a place": {&cdispecs.ContainerEdits{Mounts: []*cdispecs.Mount{
			{HostPath: driver.dir, ContainerPath: "/opt/driver"}}}, "no place for /opt/driver"},
	} {
		r := &Runtime{opts: Options{StateDir: t.TempDir(), Devices: func([]string) (*cdispecs.ContainerEdits, error) { return c.edits, nil }}}
		spec := testSpec("refused", sandbox.Run, "/f")
		spec.Devices = []string{"GPU-77"}
		if _, err := r.give(spec); !errors.Is(err, sandbox.ErrDevice) || !strings.Contains(err.Error(), c.why) {
			t.Errorf("%s: %v, want %q", what, err, c.why)
		}
	}
	r := &Runtime{opts: Options{StateDir: t.TempDir()}}
	spec := testSpec("none", sandbox.Run, "/f")
	spec.Devices = []string{"GPU-77"}
	if _, err := r.give(spec); !errors.Is(err, sandbox.ErrDevice) {
		t.Errorf("a runtime without devices: %v", err)
	}
	for _, bad := range []func(*sandbox.Spec){
		func(s *sandbox.Spec) { s.Devices = []string{"a", "a"} },
		func(s *sandbox.Spec) { s.Devices = []string{""} },
		func(s *sandbox.Spec) { s.Renewable = true },
		func(s *sandbox.Spec) { s.Kind, s.WorkBytes = sandbox.Build, 1 },
	} {
		s := spec
		if bad(&s); s.Validate() == nil {
			t.Errorf("%+v is taken", s)
		}
	}
}

// TestDriverFolderIsMadeOnce: the libraries are looked into for the first sandbox only, and again when
// they are others.
func TestDriverFolderIsMadeOnce(t *testing.T) {
	r := &Runtime{opts: Options{StateDir: t.TempDir()}}
	library := filepath.Join(t.TempDir(), "libfake.so.77")
	place := func(content string) []driverFile {
		t.Helper()
		if err := os.WriteFile(library, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
		file, err := placeOf(&cdispecs.Mount{HostPath: library, ContainerPath: "/usr/lib/libfake.so.77"}, "/")
		if err != nil {
			t.Fatal(err)
		}
		return []driverFile{file}
	}
	old := place("old")
	made, err := r.driverFolder(old)
	if target, linkErr := os.Readlink(filepath.Join(made, "driver/lib/libfake.so")); err != nil || linkErr != nil || target != "libfake.so.77" {
		t.Fatalf("%q, %v, %v", target, err, linkErr)
	}
	if changed, err := r.driverFolder(place("a newer one")); err != nil || changed == made {
		t.Errorf("of another library: %s as before, %v", changed, err)
	}
	if err := os.Remove(library); err != nil {
		t.Fatal(err)
	}
	if again, err := r.driverFolder(old); err != nil || again != made {
		t.Errorf("made once: %s, then %s, %v", made, again, err)
	}
}
