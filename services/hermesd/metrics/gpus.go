package metrics

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/hermes-serverless/hermes/services/watcher"
	"github.com/hermes-serverless/hermes/services/watcher/gpu"
)

// gpuDescs describe what is told of each GPU. Who uses it is not.
type gpuDescs struct{ held, fault, used, memory, power *prometheus.Desc }

func gpuFigures() gpuDescs {
	of := func(name, help string) *prometheus.Desc { return desc(name, help, "gpu", "model") }
	return gpuDescs{
		held:   of("hermes_gpu_held", "1 if executions hold this GPU, or MIG instance."),
		fault:  of("hermes_gpu_fault", "1 if it is given to nobody, because of a fault or of what is left on it."),
		used:   of("hermes_gpu_utilisation_percent", "How much of the last moment a kernel ran on it, where it tells."),
		memory: of("hermes_gpu_memory_used_bytes", "Its memory in use, by whomever."),
		power:  of("hermes_gpu_power_milliwatts", "What it takes, where it tells."),
	}
}

func (d gpuDescs) all() []*prometheus.Desc {
	return []*prometheus.Desc{d.held, d.fault, d.used, d.memory, d.power}
}

func (d gpuDescs) collect(gpus []watcher.GPUStats, to chan<- prometheus.Metric) {
	yes := map[bool]int{true: 1}
	for _, g := range gpus {
		to <- gauge(d.held, yes[g.Held], g.UUID, g.Model)
		to <- gauge(d.fault, yes[g.Fault != ""], g.UUID, g.Model)
		to <- gauge(d.memory, int(g.Reading.MemoryBytes), g.UUID, g.Model)
		if g.UtilisationPercent != gpu.Unknown {
			to <- gauge(d.used, g.UtilisationPercent, g.UUID, g.Model)
		}
		if g.PowerMilliwatts > 0 {
			to <- gauge(d.power, int(g.PowerMilliwatts), g.UUID, g.Model)
		}
	}
}
