package events

// GPU describes one device of a watcher that placement can give away: a whole GPU that is not
// partitioned, or a MIG instance.
type GPU struct {
	// UUID as the driver gives it: "GPU-…", or "MIG-…" for an instance.
	UUID        string `json:"uuid"`
	Model       string `json:"model"`
	MemoryBytes int64  `json:"memoryBytes"`
	// Parent is the UUID of the GPU that a MIG instance is a part of; empty for a whole one.
	Parent string `json:"parent,omitempty"`
	// Profile names the size of a MIG instance: "1g.10gb".
	Profile string `json:"profile,omitempty"`
	// ComputeCapability is what CUDA code is compiled for: "9.0".
	ComputeCapability string `json:"computeCapability,omitempty"`
	// Fault says why it is given to nobody; empty for one in order.
	Fault string `json:"fault,omitempty"`
}

// Physical is the UUID of the piece of hardware that it is or is a part of.
func (g GPU) Physical() string {
	if g.Parent != "" {
		return g.Parent
	}
	return g.UUID
}

// GPURequest is what a function asks of GPUs. `"gpuCapable": true` alone asks for {Count: 1}.
type GPURequest struct {
	// Count is how many devices, at least 1; all on one watcher.
	Count int `json:"count"`
	// MemoryBytes is the least that each of them has, or, when shared, what is set aside on each; 0
	// for any, which is a whole device's.
	MemoryBytes int64 `json:"memoryBytes,omitempty"`
	// Models are parts of the names of models, the ones that are liked best first, without regard to
	// case; empty for any. No other is taken.
	Models []string `json:"models,omitempty"`
	// Shared: others that asked for the same may use the device at the same time. It is no isolation.
	Shared bool `json:"shared,omitempty"`
	// Driver is a constraint on the version of the driver: ">=550".
	Driver string `json:"driver,omitempty"`
	// Idle ends a run that does not use what it holds.
	Idle *GPUIdle `json:"idle,omitempty"`
}

// GPUIdle is when a run counts as idle on its GPUs: all of them are used less than BelowPercent of the
// time for ForMillis on end.
type GPUIdle struct {
	BelowPercent int   `json:"belowPercent"`
	ForMillis    int64 `json:"forMillis"`
}

// GPUUsage is what an attempt took of its GPUs, sampled by its watcher while it ran.
type GPUUsage struct {
	// Micros is the time for which it held them, summed over its devices.
	Micros int64 `json:"micros"`
	// PeakMemoryBytes is the most that was in use at once, summed over its devices.
	PeakMemoryBytes int64 `json:"peakMemoryBytes"`
	// MeanUtilisationPercent is the share of the time in which a kernel ran, the mean over its devices.
	MeanUtilisationPercent int `json:"meanUtilisationPercent"`
	// EnergyMillijoules is what the devices took; 0 where they cannot tell it.
	EnergyMillijoules int64 `json:"energyMillijoules,omitempty"`
}
