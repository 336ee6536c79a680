//go:build linux && cgo

package nvml

import (
	"fmt"
	"slices"
	"time"

	"github.com/NVIDIA/go-nvml/pkg/nvml"

	"github.com/hermes-serverless/hermes/services/watcher/gpu"
)

// troublesMillis is how long one wait for an event takes.
const troublesMillis = 1000

// harmless are the Xids that a program's own mistakes cause, and notes: they end the program at most.
// Were they a fault of the GPU, anybody could take every GPU out by a kernel that writes astray.
func harmless(xid uint64) bool {
	return slices.Contains([]uint64{
		13,  // an exception in a kernel
		31,  // a page fault of a kernel
		43,  // a kernel was stopped
		45,  // cleaned up behind a killed program
		63,  // a row of memory was replaced, or will be
		68,  // an exception in the video processor
		92,  // many memory errors, all corrected
		109, // a kernel did not yield
	}, xid)
}

// Troubles implements gpu.Inventory.
func (i *Inventory) Troubles() ([]gpu.Trouble, error) {
	set, err := i.events()
	if err != nil {
		return nil, err
	}
	event, ret := set.Wait(troublesMillis)
	switch ret {
	case nvml.SUCCESS:
	case nvml.ERROR_TIMEOUT:
		return nil, nil
	case nvml.ERROR_GPU_IS_LOST: // a reading tells which one; this comes at once, again and again
		time.Sleep(troublesMillis * time.Millisecond)
		return nil, nil
	default:
		return nil, i.failure("wait for events of the GPUs", ret)
	}
	what := ""
	switch event.EventType {
	case nvml.EventTypeXidCriticalError:
		if harmless(event.EventData) {
			i.log.Info("a program on a GPU failed", "xid", event.EventData)
			return nil, nil
		}
		what = fmt.Sprintf("Xid %d", event.EventData)
	case nvml.EventTypeDoubleBitEccError:
		what = "an error of its memory could not be corrected (ECC)"
	default:
		return nil, nil
	}
	uuids, err := i.uuidsOf(event)
	if err != nil {
		return nil, err
	}
	var troubles []gpu.Trouble
	for _, uuid := range uuids {
		troubles = append(troubles, gpu.Trouble{UUID: uuid, What: what + ": look at `dmesg`, and reset or replace the GPU"})
	}
	return troubles, nil
}

// events is the set in which the events of all GPUs come, made anew behind each load of the driver.
func (i *Inventory) events() (nvml.EventSet, error) {
	if err := i.ready(); err != nil {
		return nil, err
	}
	i.mu.Lock()
	set, isCurrent, load := i.set, i.setOf == i.loads, i.loads
	i.mu.Unlock()
	if isCurrent {
		return set, nil
	}
	set, ret := i.lib.EventSetCreate()
	if ret != nvml.SUCCESS {
		return nil, i.failure("make a set for events of the GPUs", ret)
	}
	count, ret := i.lib.DeviceGetCount()
	if ret != nvml.SUCCESS {
		return nil, i.failure("count the GPUs", ret)
	}
	for n := range count {
		device, ret := i.lib.DeviceGetHandleByIndex(n)
		if ret != nvml.SUCCESS {
			continue
		}
		if ret := device.RegisterEvents(nvml.EventTypeXidCriticalError|nvml.EventTypeDoubleBitEccError, set); ret != nvml.SUCCESS {
			i.log.Warn("a GPU does not tell of its faults", "index", n, "why", text(ret))
		}
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.set, i.setOf = set, load
	return set, nil
}

// uuidsOf are the instances that an event is of, which share a part of the hardware; or the GPU, if it is
// not of that part alone.
func (i *Inventory) uuidsOf(event nvml.EventData) ([]string, error) {
	whole, ret := event.Device.GetUUID()
	if ret != nvml.SUCCESS {
		return nil, i.failure("ask which GPU an event is of", ret)
	}
	var uuids []string
	if event.GpuInstanceId != nvml.GPU_INSTANCE_ID_ANY {
		_, instances := i.instances(event.Device)
		for _, instance := range instances {
			if uuid, ret := instance.GetUUID(); ret == nvml.SUCCESS && meets(event, instance) {
				uuids = append(uuids, uuid)
			}
		}
	}
	if len(uuids) == 0 {
		return []string{whole}, nil
	}
	return uuids, nil
}

// meets says whether an event of a part of a GPU is of this instance.
func meets(event nvml.EventData, instance nvml.Device) bool {
	part, ret := instance.GetGpuInstanceId()
	if ret != nvml.SUCCESS || uint32(part) != event.GpuInstanceId {
		return false
	}
	if event.ComputeInstanceId == nvml.COMPUTE_INSTANCE_ID_ANY {
		return true
	}
	compute, ret := instance.GetComputeInstanceId()
	return ret != nvml.SUCCESS || uint32(compute) == event.ComputeInstanceId
}
