//go:build linux && cgo

package nvml

import (
	"math"
	"strings"

	"github.com/NVIDIA/go-nvml/pkg/nvml"

	"github.com/hermes-serverless/hermes/services/watcher/gpu"
)

// Read implements gpu.Inventory. Of what a device does not tell it says so; only what tells whether it
// is there and clean must be had.
func (i *Inventory) Read(uuid string) (gpu.Reading, error) {
	r := gpu.Reading{UtilisationPercent: gpu.Unknown}
	device, err := i.open(uuid)
	if err != nil {
		return r, err
	}
	memory, ret := device.GetMemoryInfo()
	if ret != nvml.SUCCESS {
		return r, i.failure("ask "+uuid+" for its memory", ret)
	}
	r.MemoryBytes = int64(memory.Used)
	processes, ret := device.GetComputeRunningProcesses()
	if ret != nvml.SUCCESS {
		return r, i.failure("ask "+uuid+" for its processes", ret)
	}
	computing := map[uint32]bool{}
	for _, p := range processes {
		computing[p.Pid] = true
		known := gpu.Process{PID: int(p.Pid), MemoryBytes: gpu.Unknown}
		if p.UsedGpuMemory != math.MaxUint64 {
			known.MemoryBytes = int64(p.UsedGpuMemory)
		}
		r.Processes = append(r.Processes, known)
	}
	if drawing, ret := device.GetGraphicsRunningProcesses(); ret == nvml.SUCCESS {
		for _, p := range drawing {
			if p.UsedGpuMemory != math.MaxUint64 && !computing[p.Pid] {
				r.DrawnBytes += int64(p.UsedGpuMemory)
			}
		}
	}
	if !strings.HasPrefix(uuid, "MIG-") { // what follows is of whole GPUs
		i.readWhole(device, &r)
	}
	return r, nil
}

func (i *Inventory) readWhole(device nvml.Device, r *gpu.Reading) {
	if used, ret := device.GetUtilizationRates(); ret == nvml.SUCCESS {
		r.UtilisationPercent = int(min(used.Gpu, 100))
	}
	if power, ret := device.GetPowerUsage(); ret == nvml.SUCCESS {
		r.PowerMilliwatts = int64(power)
	}
	if i.has("nvmlDeviceGetTotalEnergyConsumption") {
		if energy, ret := device.GetTotalEnergyConsumption(); ret == nvml.SUCCESS {
			r.EnergyMillijoules = int64(energy)
		}
	}
	if errors, ret := device.GetTotalEccErrors(nvml.MEMORY_ERROR_TYPE_UNCORRECTED, nvml.VOLATILE_ECC); ret == nvml.SUCCESS {
		r.MemoryErrors = int64(errors)
	}
}
