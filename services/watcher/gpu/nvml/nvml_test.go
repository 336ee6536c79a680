//go:build linux && cgo

package nvml

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/NVIDIA/go-nvml/pkg/nvml"
	"github.com/NVIDIA/go-nvml/pkg/nvml/mock"
	"github.com/NVIDIA/go-nvml/pkg/nvml/mock/dgxa100"
	"github.com/NVIDIA/go-nvml/pkg/nvml/mock/server"
	"golang.org/x/sys/unix"

	"github.com/hermes-serverless/hermes/services/watcher/gpu"
	"github.com/hermes-serverless/hermes/services/watcher/gpu/gputest"
)

// driver is a simulated DGX A100, of whose GPUs the last is partitioned.
type driver struct {
	*server.Server
	events chan nvml.EventData
}

const splitIndex = 7

func newDriver() *driver {
	d := &driver{Server: dgxa100.New(), events: make(chan nvml.EventData, 9)}
	for n := range d.Devices {
		d.fill(d.device(n))
	}
	split := d.device(splitIndex)
	split.MigMode = nvml.DEVICE_MIG_ENABLE
	split.GetGpuInstanceByIdFunc = func(n int) (nvml.GpuInstance, nvml.Return) { return instanceOf(split, n), nvml.SUCCESS }
	split.GetMaxMigDeviceCountFunc = func() (int, nvml.Return) { return 7, nvml.SUCCESS }
	parts := []*mock.Device{d.part(split, 1), d.part(split, 2)}
	split.GetMigDeviceHandleByIndexFunc = func(n int) (nvml.Device, nvml.Return) {
		if n >= len(parts) {
			return nil, nvml.ERROR_NOT_FOUND
		}
		return parts[n], nvml.SUCCESS
	}
	whole := d.DeviceGetHandleByUUIDFunc
	d.DeviceGetHandleByUUIDFunc = func(uuid string) (nvml.Device, nvml.Return) {
		for _, part := range parts {
			if of, _ := part.GetUUID(); of == uuid {
				return part, nvml.SUCCESS
			}
		}
		return whole(uuid)
	}
	d.EventSetCreateFunc = func() (nvml.EventSet, nvml.Return) {
		return &mock.EventSet{WaitFunc: func(uint32) (nvml.EventData, nvml.Return) {
			select {
			case e := <-d.events:
				return e, nvml.SUCCESS
			default:
				return nvml.EventData{}, nvml.ERROR_TIMEOUT
			}
		}}, nvml.SUCCESS
	}
	return d
}

func (d *driver) device(n int) *server.Device { return d.Devices[n].(*server.Device) }

// fill adds what the simulation leaves out.
func (d *driver) fill(device *server.Device) {
	device.IsMigDeviceHandleFunc = func() (bool, nvml.Return) { return false, nvml.SUCCESS }
	device.RegisterEventsFunc = func(uint64, nvml.EventSet) nvml.Return { return nvml.SUCCESS }
	device.GetRemappedRowsFunc = func() (int, int, bool, bool, nvml.Return) { return 0, 0, false, false, nvml.SUCCESS }
	device.GetComputeRunningProcessesFunc = func() ([]nvml.ProcessInfo, nvml.Return) { return nil, nvml.SUCCESS }
	device.GetGraphicsRunningProcessesFunc = func() ([]nvml.ProcessInfo, nvml.Return) {
		return []nvml.ProcessInfo{{Pid: 3, UsedGpuMemory: 4096}}, nvml.SUCCESS
	}
	device.GetUtilizationRatesFunc = func() (nvml.Utilization, nvml.Return) { return nvml.Utilization{Gpu: 40}, nvml.SUCCESS }
	device.GetPowerUsageFunc = func() (uint32, nvml.Return) { return 60_000, nvml.SUCCESS }
	device.GetTotalEnergyConsumptionFunc = func() (uint64, nvml.Return) { return 1_000_000, nvml.SUCCESS }
	device.GetTotalEccErrorsFunc = func(nvml.MemoryErrorType, nvml.EccCounterType) (uint64, nvml.Return) { return 0, nvml.SUCCESS }
}

func (d *driver) part(parent *server.Device, n int) *mock.Device {
	uuid := []string{"MIG-11111111-aaaa-bbbb-cccc-111111111111", "MIG-22222222-aaaa-bbbb-cccc-222222222222"}[n-1]
	return &mock.Device{
		GetUUIDFunc:              func() (string, nvml.Return) { return uuid, nvml.SUCCESS },
		GetNameFunc:              func() (string, nvml.Return) { return "NVIDIA A100-SXM4-40GB MIG 3g.20gb", nvml.SUCCESS },
		GetMemoryInfoFunc:        func() (nvml.Memory, nvml.Return) { return nvml.Memory{Total: 20 << 30, Used: 1 << 20}, nvml.SUCCESS },
		IsMigDeviceHandleFunc:    func() (bool, nvml.Return) { return true, nvml.SUCCESS },
		GetGpuInstanceIdFunc:     func() (int, nvml.Return) { return n, nvml.SUCCESS },
		GetComputeInstanceIdFunc: func() (int, nvml.Return) { return 0, nvml.SUCCESS },
		GetIndexFunc:             func() (int, nvml.Return) { return n - 1, nvml.SUCCESS },
		GetAttributesFunc: func() (nvml.DeviceAttributes, nvml.Return) {
			return nvml.DeviceAttributes{MemorySizeMB: 20 << 10}, nvml.SUCCESS
		},
		GetDeviceHandleFromMigDeviceHandleFunc: func() (nvml.Device, nvml.Return) {
			return parent, nvml.SUCCESS
		},
		GetGraphicsRunningProcessesFunc: func() ([]nvml.ProcessInfo, nvml.Return) { return nil, nvml.ERROR_NOT_SUPPORTED },
		GetComputeRunningProcessesFunc: func() ([]nvml.ProcessInfo, nvml.Return) {
			return []nvml.ProcessInfo{{Pid: 7, UsedGpuMemory: 5}, {Pid: 8, UsedGpuMemory: ^uint64(0)}}, nvml.SUCCESS
		},
	}
}

// instanceOf is the part of a GPU that a MIG instance is on, all of whose compute units it has.
func instanceOf(parent *server.Device, n int) nvml.GpuInstance {
	profile, _ := parent.GetGpuInstanceProfileInfo(nvml.GPU_INSTANCE_PROFILE_3_SLICE)
	part := server.NewGpuInstanceFromInfo(nvml.GpuInstanceInfo{Device: parent, Id: uint32(n), ProfileId: profile.Id}, parent.Config.MIGProfiles)
	part.GetComputeInstanceByIdFunc = func(int) (nvml.ComputeInstance, nvml.Return) {
		all, _ := part.GetComputeInstanceProfileInfo(nvml.COMPUTE_INSTANCE_PROFILE_3_SLICE, nvml.COMPUTE_INSTANCE_ENGINE_PROFILE_SHARED)
		return server.NewComputeInstanceFromInfo(nvml.ComputeInstanceInfo{Device: parent, GpuInstance: part, ProfileId: all.Id}), nvml.SUCCESS
	}
	return part
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// splitEnv makes the test binary a process of its own: its /proc has what a kernel says of MIG instances.
const splitEnv = "HERMES_TEST_MIG"

// TestConformanceOnASimulatedDriver runs in a mount namespace of its own: where the capabilities of MIG
// instances are is told by a file of the kernel's, at a fixed place.
func TestConformanceOnASimulatedDriver(t *testing.T) {
	if os.Getenv(splitEnv) == "" {
		cmd := exec.Command(os.Args[0], "-test.run=^TestConformanceOnASimulatedDriver$", "-test.v")
		cmd.Env = append(os.Environ(), splitEnv+"=1")
		cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
		out, err := cmd.CombinedOutput()
		switch {
		case errors.Is(err, os.ErrPermission):
			t.Skipf("NOT RUN: a mount namespace cannot be made here: %v", err)
		case err != nil || !strings.Contains(string(out), "PASS: TestConformanceOnASimulatedDriver/Edits"):
			t.Errorf("%v\n%s", err, out)
		}
		return
	}
	const told = "/proc/driver/nvidia-caps"
	err := errors.Join(unix.Mount("none", "/proc/driver", "tmpfs", 0, ""), os.Mkdir(told, 0o755),
		os.WriteFile(told+"/mig-minors", []byte("config 1\nmonitor 2\n"+
			"gpu7/gi1/access 12\ngpu7/gi1/ci0/access 13\ngpu7/gi2/access 21\ngpu7/gi2/ci0/access 22\n"), 0o644))
	if err != nil {
		t.Fatal(err)
	}
	inventory := newInventory(newDriver(), driverRoot(t), quiet())
	defer inventory.Close() //nolint:errcheck // simulated
	gputest.Run(t, inventory, gputest.Options{Nodes: true})
}

// TestConformanceOnTheRealDriver is the one that needs a GPU. Where there is none it says so by name.
func TestConformanceOnTheRealDriver(t *testing.T) {
	inventory := Open(quiet())
	defer inventory.Close() //nolint:errcheck // only looked at
	if _, err := inventory.List(); errors.Is(err, gpu.ErrNoDriver) {
		if os.Getenv("HERMES_REQUIRE_GPU") != "" {
			t.Fatal(err)
		}
		t.Skipf("NOT RUN: the conformance of the real inventory needs an NVIDIA GPU: %v", err)
	}
	gputest.Run(t, inventory, gputest.Options{Nodes: true})
}

// TestWithoutDriver: such a machine is no failure, and says why.
func TestWithoutDriver(t *testing.T) {
	for ret, why := range map[nvml.Return]string{
		nvml.ERROR_LIBRARY_NOT_FOUND: "libnvidia-ml", nvml.ERROR_DRIVER_NOT_LOADED: "kernel",
		nvml.ERROR_LIB_RM_VERSION_MISMATCH: "reboot", nvml.ERROR_UNKNOWN: "unknown",
	} {
		d := newDriver()
		d.InitFunc = func() nvml.Return { return ret }
		inventory := newInventory(d, "/", quiet())
		if _, err := inventory.List(); !errors.Is(err, gpu.ErrNoDriver) || !strings.Contains(err.Error(), why) {
			t.Errorf("%v: %v", ret, err)
		}
		if _, err := inventory.Troubles(); !errors.Is(err, gpu.ErrNoDriver) {
			t.Errorf("%v: troubles: %v", ret, err)
		}
		if err := inventory.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestList(t *testing.T) {
	d := newDriver()
	d.device(0).GetRemappedRowsFunc = func() (int, int, bool, bool, nvml.Return) { return 0, 1, false, true, nvml.SUCCESS }
	d.device(1).GetNameFunc = func() (string, nvml.Return) { return "", nvml.ERROR_GPU_IS_LOST }
	m, err := newInventory(d, "/", quiet()).List()
	if err != nil || m.Driver != "550.54.15" || m.CUDA != "12.4" || len(m.GPUs) != 8 {
		t.Fatalf("%+v, %v", m, err)
	}
	if m.GPUs[0].Fault == "" || m.GPUs[1].Fault != "" || m.GPUs[1].ComputeCapability != "8.0" {
		t.Errorf("%+v", m.GPUs[:2])
	}
	part := m.GPUs[7]
	if part.Parent != d.device(splitIndex).UUID || part.Profile != "3g.20gb" || part.MemoryBytes != 20<<30 || part.ComputeCapability != "8.0" {
		t.Errorf("%+v", part)
	}
}

func TestRead(t *testing.T) {
	d := newDriver()
	inventory := newInventory(d, "/", quiet())
	r, err := inventory.Read(d.device(0).UUID)
	if err != nil || r.UtilisationPercent != 40 || r.PowerMilliwatts != 60_000 || r.EnergyMillijoules != 1_000_000 || r.DrawnBytes != 4096 {
		t.Errorf("%+v, %v", r, err)
	}
	r, err = inventory.Read("MIG-11111111-aaaa-bbbb-cccc-111111111111")
	want := []gpu.Process{{PID: 7, MemoryBytes: 5}, {PID: 8, MemoryBytes: gpu.Unknown}}
	if err != nil || r.UtilisationPercent != gpu.Unknown || r.MemoryBytes != 1<<20 || !slices.Equal(r.Processes, want) {
		t.Errorf("%+v, %v", r, err)
	}
	d.device(0).GetMemoryInfoFunc = func() (nvml.Memory, nvml.Return) { return nvml.Memory{}, nvml.ERROR_GPU_IS_LOST }
	if _, err := inventory.Read(d.device(0).UUID); !errors.Is(err, gpu.ErrLost) {
		t.Errorf("lost: %v", err)
	}
}

// TestOldDriver: what it does not know is not asked, which would end the process.
func TestOldDriver(t *testing.T) {
	d := newDriver()
	d.ExtensionsFunc = func() nvml.ExtendedInterface {
		return &mock.ExtendedInterface{LookupSymbolFunc: func(name string) error { return errors.New("no " + name) }}
	}
	device := d.device(0)
	device.GetMigModeFunc, device.GetTotalEnergyConsumptionFunc, device.GetRemappedRowsFunc = nil, nil, nil // a call panics
	inventory := newInventory(d, "/", quiet())
	if _, err := inventory.List(); err != nil {
		t.Error(err)
	}
	if _, err := inventory.Read(device.UUID); err != nil {
		t.Error(err)
	}
}

func TestTroubles(t *testing.T) {
	d := newDriver()
	inventory := newInventory(d, "/", quiet())
	const whole = ^uint32(0)
	for _, c := range []struct {
		event nvml.EventData
		uuid  string
		what  string
	}{
		{nvml.EventData{Device: d.device(0), EventType: nvml.EventTypeXidCriticalError, EventData: 79, GpuInstanceId: whole}, d.device(0).UUID, "Xid 79"},
		{nvml.EventData{Device: d.device(1), EventType: nvml.EventTypeDoubleBitEccError, GpuInstanceId: whole}, d.device(1).UUID, "ECC"},
		{nvml.EventData{Device: d.device(splitIndex), EventType: nvml.EventTypeXidCriticalError, EventData: 94, GpuInstanceId: 2},
			"MIG-22222222-aaaa-bbbb-cccc-222222222222", "Xid 94"},
		{nvml.EventData{Device: d.device(0), EventType: nvml.EventTypeXidCriticalError, EventData: 31, GpuInstanceId: whole}, "", ""},
	} {
		d.events <- c.event
		got, err := inventory.Troubles()
		switch {
		case err != nil:
			t.Error(err)
		case c.uuid == "" && len(got) > 0:
			t.Errorf("a program's own mistake takes a GPU out: %+v", got)
		case c.uuid != "" && (len(got) != 1 || got[0].UUID != c.uuid || !strings.Contains(got[0].What, c.what)):
			t.Errorf("%+v, want %s, %s", got, c.uuid, c.what)
		}
	}
}

// TestTroublesOfAPart: who has another part of the GPU, or of that part, goes on.
func TestTroublesOfAPart(t *testing.T) {
	d := newDriver()
	split := d.device(splitIndex)
	part := func(uuid string, number, compute int) *mock.Device {
		p := d.part(split, 1)
		p.GetUUIDFunc = func() (string, nvml.Return) { return uuid, nvml.SUCCESS }
		p.GetGpuInstanceIdFunc = func() (int, nvml.Return) { return number, nvml.SUCCESS }
		p.GetComputeInstanceIdFunc = func() (int, nvml.Return) { return compute, nvml.SUCCESS }
		return p
	}
	parts := []*mock.Device{part("MIG-a", 1, 0), part("MIG-b", 2, 0), part("MIG-c", 2, 1)}
	split.GetMigDeviceHandleByIndexFunc = func(n int) (nvml.Device, nvml.Return) {
		if n >= len(parts) {
			return nil, nvml.ERROR_NOT_FOUND
		}
		return parts[n], nvml.SUCCESS
	}
	inventory := newInventory(d, "/", quiet())
	for _, c := range []struct {
		part, compute uint32
		want          []string
	}{
		{2, 1, []string{"MIG-c"}},
		{2, nvml.COMPUTE_INSTANCE_ID_ANY, []string{"MIG-b", "MIG-c"}},
		{3, 0, []string{split.UUID}}, // none that is known
		{nvml.GPU_INSTANCE_ID_ANY, nvml.COMPUTE_INSTANCE_ID_ANY, []string{split.UUID}},
	} {
		d.events <- nvml.EventData{
			Device: split, EventType: nvml.EventTypeXidCriticalError, EventData: 94, GpuInstanceId: c.part, ComputeInstanceId: c.compute,
		}
		troubles, err := inventory.Troubles()
		var got []string
		for _, trouble := range troubles {
			got = append(got, trouble.UUID)
		}
		if err != nil || !slices.Equal(got, c.want) {
			t.Errorf("an event of part %d, %d takes out %q, %v; want %q", c.part, c.compute, got, err, c.want)
		}
	}
}

// TestTroublesOfALostGPU: the driver tells of it at once and for ever, which must not keep a CPU busy.
func TestTroublesOfALostGPU(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDriver()
		d.EventSetCreateFunc = func() (nvml.EventSet, nvml.Return) {
			return &mock.EventSet{WaitFunc: func(uint32) (nvml.EventData, nvml.Return) {
				return nvml.EventData{}, nvml.ERROR_GPU_IS_LOST
			}}, nvml.SUCCESS
		}
		began := time.Now()
		if troubles, err := newInventory(d, "/", quiet()).Troubles(); len(troubles) > 0 || err != nil {
			t.Errorf("%+v, %v", troubles, err)
		}
		if waited := time.Since(began); waited < troublesMillis*time.Millisecond {
			t.Errorf("it returns after %s", waited)
		}
	})
}

// driverRoot is a folder with what a driver installs, the nodes of its devices included.
func driverRoot(t *testing.T) string {
	t.Helper()
	root := t.TempDir()
	libs := filepath.Join(root, "usr/lib/x86_64-linux-gnu")
	for _, dir := range []string{libs, filepath.Join(root, "usr/bin"), filepath.Join(root, "dev/nvidia-caps")} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	files := []string{filepath.Join(root, "usr/bin/nvidia-smi"), filepath.Join(root, "usr/bin/nvidia-persistenced")}
	for _, name := range []string{"libcuda", "libnvidia-ml", "libnvidia-ptxjitcompiler"} {
		files = append(files, filepath.Join(libs, name+".so.550.54.15"))
	}
	for _, file := range files {
		if err := os.WriteFile(file, nil, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	nodes := []string{"nvidiactl", "nvidia-uvm", "nvidia-uvm-tools", "nvidia-modeset"}
	for _, minor := range []string{"1", "2", "12", "13", "21", "22"} {
		nodes = append(nodes, "nvidia-caps/nvidia-cap"+minor)
	}
	for _, n := range []string{"0", "1", "2", "3", "4", "5", "6", "7"} {
		nodes = append(nodes, "nvidia"+n)
	}
	for i, node := range nodes {
		if err := unix.Mknod(filepath.Join(root, "dev", node), unix.S_IFCHR|0o666, int(unix.Mkdev(195, uint32(200+i)))); err != nil {
			t.Skipf("NOT RUN: nodes of devices cannot be made here: %v", err)
		}
	}
	return root
}

// TestEdits: no more than what computing takes.
func TestEdits(t *testing.T) {
	d := newDriver()
	nodes, files := editsOf(t, newInventory(d, driverRoot(t), quiet()), d.device(2).UUID)
	if want := []string{"/dev/nvidia-uvm", "/dev/nvidia2", "/dev/nvidiactl"}; !slices.Equal(nodes, want) {
		t.Errorf("nodes %q, want %q", nodes, want)
	}
	want := []string{"libcuda.so.550.54.15", "libnvidia-ml.so.550.54.15", "libnvidia-ptxjitcompiler.so.550.54.15", "nvidia-smi"}
	if !slices.Equal(files, want) {
		t.Errorf("files %q, want %q", files, want)
	}
}

// editsOf are the nodes and the names of the files that a device takes.
func editsOf(t *testing.T, inventory *Inventory, uuid string) (nodes, files []string) {
	t.Helper()
	edits, err := inventory.Edits([]string{uuid})
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range edits.DeviceNodes {
		nodes = append(nodes, n.Path)
	}
	for _, m := range edits.Mounts {
		files = append(files, filepath.Base(m.ContainerPath))
	}
	slices.Sort(nodes)
	slices.Sort(files)
	return nodes, files
}

// TestFilesAreLookedForOnce: until the inventory is another one, or a minute is over.
func TestFilesAreLookedForOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDriver()
		root := driverRoot(t)
		inventory := newInventory(d, root, quiet())
		list := func() {
			if _, err := inventory.List(); err != nil {
				t.Fatal(err)
			}
		}
		list()
		installed := 0
		install := func() {
			installed++
			name := fmt.Sprintf("usr/lib/x86_64-linux-gnu/libnvidia-new%d.so.550.54.15", installed)
			if err := os.WriteFile(filepath.Join(root, name), nil, 0o755); err != nil {
				t.Fatal(err)
			}
		}
		finds := func(what string, want int) {
			t.Helper()
			_, files := editsOf(t, inventory, d.device(0).UUID)
			if got := len(files) - 4; got != want {
				t.Errorf("%s: %d of %d files that were installed later are found, want %d: %q", what, got, installed, want, files)
			}
		}
		finds("at first", 0)
		install()
		list()
		finds("nothing else changed", 0)
		time.Sleep(commonFor)
		finds("a minute later", 1)
		install()
		finds("at once", 1)
		d.device(3).GetRemappedRowsFunc = func() (int, int, bool, bool, nvml.Return) { return 0, 1, false, true, nvml.SUCCESS }
		list()
		finds("another inventory", 2)
		install()
		d.device(0).GetMemoryInfoFunc = func() (nvml.Memory, nvml.Return) { return nvml.Memory{}, nvml.ERROR_UNINITIALIZED }
		if _, err := inventory.Read(d.device(0).UUID); !errors.Is(err, gpu.ErrNoDriver) {
			t.Fatal(err)
		}
		finds("the library was loaded anew", 3)
	})
}
