//go:build linux && cgo

// Package nvml is the gpu.Inventory of NVIDIA's driver. It loads the driver's library, libnvidia-ml,
// when it is first asked, so that a machine without one loses nothing but the GPUs.
package nvml

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"

	"github.com/NVIDIA/go-nvml/pkg/nvml"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/services/watcher/gpu"
)

// Inventory asks the driver of this machine.
type Inventory struct {
	lib nvml.Interface
	log *slog.Logger
	// root is the folder with the driver's files; "/" but for tests.
	root string

	mu sync.Mutex
	// up: the library is loaded and has answered.
	up bool
	// loads counts how often it was loaded: what was registered with an earlier one is void.
	loads int
	set   nvml.EventSet
	// setOf is the load that set belongs to; 0: there is none.
	setOf int
	// listed is what was there last, and changes counts how often that was something else than before,
	// or the library was loaded.
	listed  gpu.Machine
	changes int
	common  common
}

var _ gpu.Inventory = (*Inventory)(nil)

// Open returns the inventory of this machine. It does not touch the driver yet.
func Open(log *slog.Logger) *Inventory { return newInventory(nvml.New(), "/", log) }

func newInventory(lib nvml.Interface, root string, log *slog.Logger) *Inventory {
	return &Inventory{lib: lib, root: root, log: log}
}

// ready loads the library, unless it is loaded.
func (i *Inventory) ready() error {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.up {
		return nil
	}
	if ret := i.lib.Init(); ret != nvml.SUCCESS {
		return fmt.Errorf("%w: %s", gpu.ErrNoDriver, words(ret))
	}
	i.up = true
	i.loads++
	i.changes++
	return nil
}

// words says why the driver does not answer, and what to do.
func words(ret nvml.Return) string {
	switch ret {
	case nvml.ERROR_LIBRARY_NOT_FOUND:
		return "libnvidia-ml.so.1 is not on this machine"
	case nvml.ERROR_DRIVER_NOT_LOADED:
		return "the kernel's part of the driver is not loaded"
	case nvml.ERROR_LIB_RM_VERSION_MISMATCH:
		return "the driver was replaced and the kernel runs the old one: reboot, or load it anew"
	case nvml.ERROR_NO_PERMISSION:
		return "hermesd may not open /dev/nvidiactl"
	}
	return text(ret)
}

func text(ret nvml.Return) string { return strings.ToLower(fmt.Sprintf("%v", ret)) }

// failure is what a call's return means for a device.
func (i *Inventory) failure(what string, ret nvml.Return) error {
	switch ret {
	case nvml.ERROR_UNINITIALIZED, nvml.ERROR_DRIVER_NOT_LOADED, nvml.ERROR_LIB_RM_VERSION_MISMATCH:
		i.mu.Lock()
		if i.up {
			i.up = false
			_ = i.lib.Shutdown()
		}
		i.mu.Unlock()
		return fmt.Errorf("%s: %w: %s", what, gpu.ErrNoDriver, words(ret))
	case nvml.ERROR_NOT_FOUND, nvml.ERROR_INVALID_ARGUMENT, nvml.ERROR_GPU_IS_LOST, nvml.ERROR_RESET_REQUIRED:
		return fmt.Errorf("%s: %w: %s", what, gpu.ErrLost, text(ret))
	}
	return fmt.Errorf("%s: %s", what, text(ret))
}

// has says that the driver knows a function: an older one may not, and a call would end this process.
func (i *Inventory) has(function string) bool {
	return i.lib.Extensions().LookupSymbol(function) == nil
}

// List implements gpu.Inventory.
func (i *Inventory) List() (gpu.Machine, error) {
	var m gpu.Machine
	if err := i.ready(); err != nil {
		return m, err
	}
	var ret nvml.Return
	if m.Driver, ret = i.lib.SystemGetDriverVersion(); ret != nvml.SUCCESS {
		return gpu.Machine{}, i.failure("ask for the driver's version", ret)
	}
	if cuda, ret := i.lib.SystemGetCudaDriverVersion(); ret == nvml.SUCCESS {
		m.CUDA = fmt.Sprintf("%d.%d", cuda/1000, cuda%1000/10)
	}
	count, ret := i.lib.DeviceGetCount()
	if ret != nvml.SUCCESS {
		return gpu.Machine{}, i.failure("count the GPUs", ret)
	}
	for n := range count {
		found, err := i.listOne(n)
		switch {
		case errors.Is(err, gpu.ErrNoDriver):
			return gpu.Machine{}, err
		case err != nil:
			i.log.Debug("a GPU does not tell what it is", "index", n, "err", err) // one that is lost is so not there
			continue
		}
		m.GPUs = append(m.GPUs, found...)
	}
	i.remember(m)
	return m, nil
}

// remember notes whether there is something else than before.
func (i *Inventory) remember(m gpu.Machine) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if m.Driver != i.listed.Driver || m.CUDA != i.listed.CUDA || !slices.Equal(m.GPUs, i.listed.GPUs) {
		i.changes++
	}
	i.listed = m
	i.listed.GPUs = slices.Clone(m.GPUs)
}

// listOne is a GPU, or its instances.
func (i *Inventory) listOne(index int) ([]events.GPU, error) {
	device, ret := i.lib.DeviceGetHandleByIndex(index)
	if ret != nvml.SUCCESS {
		return nil, i.failure(fmt.Sprintf("open GPU %d", index), ret)
	}
	whole, err := i.describe(device)
	if err != nil {
		return nil, err
	}
	major, minor, ret := device.GetCudaComputeCapability()
	if ret == nvml.SUCCESS {
		whole.ComputeCapability = fmt.Sprintf("%d.%d", major, minor)
	}
	if i.has("nvmlDeviceGetRemappedRows") {
		if _, _, _, failed, ret := device.GetRemappedRows(); ret == nvml.SUCCESS && failed {
			whole.Fault = "rows of its memory failed and could not be replaced: it needs repair"
		}
	}
	isSplit, instances := i.instances(device)
	if !isSplit {
		return []events.GPU{whole}, nil
	}
	var found []events.GPU
	for _, instance := range instances {
		g, err := i.describe(instance)
		if err != nil {
			return nil, err
		}
		g.Parent, g.ComputeCapability, g.Fault = whole.UUID, whole.ComputeCapability, whole.Fault
		if _, profile, ok := strings.Cut(g.Model, " MIG "); ok {
			g.Profile = profile
		}
		found = append(found, g)
	}
	return found, nil
}

// describe is what a GPU and an instance have alike.
func (i *Inventory) describe(device nvml.Device) (g events.GPU, err error) {
	var ret nvml.Return
	if g.UUID, ret = device.GetUUID(); ret != nvml.SUCCESS {
		return g, i.failure("ask a GPU for its UUID", ret)
	}
	if g.Model, ret = device.GetName(); ret != nvml.SUCCESS {
		return g, i.failure("ask "+g.UUID+" for its model", ret)
	}
	memory, ret := device.GetMemoryInfo()
	if ret != nvml.SUCCESS {
		return g, i.failure("ask "+g.UUID+" for its memory", ret)
	}
	g.MemoryBytes = int64(memory.Total)
	return g, nil
}

// instances are the MIG instances of a GPU, and whether it is in that mode at all.
func (i *Inventory) instances(device nvml.Device) (isSplit bool, all []nvml.Device) {
	if !i.has("nvmlDeviceGetMigMode") {
		return false, nil
	}
	mode, _, ret := device.GetMigMode()
	if ret != nvml.SUCCESS || mode != nvml.DEVICE_MIG_ENABLE {
		return false, nil
	}
	most, ret := device.GetMaxMigDeviceCount()
	if ret != nvml.SUCCESS {
		return true, nil
	}
	for n := range most {
		if instance, ret := device.GetMigDeviceHandleByIndex(n); ret == nvml.SUCCESS {
			all = append(all, instance)
		}
	}
	return true, all
}

// open finds a device by its UUID.
func (i *Inventory) open(uuid string) (nvml.Device, error) {
	if err := i.ready(); err != nil {
		return nil, err
	}
	device, ret := i.lib.DeviceGetHandleByUUID(uuid)
	if ret != nvml.SUCCESS {
		return nil, i.failure("open "+uuid, ret)
	}
	return device, nil
}

// Close implements gpu.Inventory.
func (i *Inventory) Close() error {
	i.mu.Lock()
	defer i.mu.Unlock()
	if !i.up {
		return nil
	}
	i.up = false
	if ret := i.lib.Shutdown(); ret != nvml.SUCCESS {
		return fmt.Errorf("close the NVIDIA driver: %s", text(ret))
	}
	return nil
}
