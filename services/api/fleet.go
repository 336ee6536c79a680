package api

// OpFleet asks what machines there are and how full they are.
const OpFleet = "fleet" // FleetRequest → Fleet

// FleetRequest asks for all of it.
type FleetRequest struct{}

// Fleet is what every user may know of the machines: what there is, and how much of it is in use. Of
// what others run there are counts only.
type Fleet struct {
	// Watchers are those that are heard of, by name.
	Watchers []FleetWatcher `json:"watchers"`
	// Running and Queued count everybody's executions, YourRunning and YourQueued the caller's.
	Running     int `json:"running"`
	Queued      int `json:"queued"`
	YourRunning int `json:"yourRunning"`
	YourQueued  int `json:"yourQueued"`
}

// States of a watcher in a fleet.
const (
	WatcherReady    = "ready"
	WatcherDraining = "draining" // it takes nothing new
	WatcherSilent   = "silent"   // its lease was not renewed in time
)

// FleetWatcher is a watcher and what of it is in use: set aside for what is placed or runs there.
type FleetWatcher struct {
	Name  string `json:"name"`
	State string `json:"state"`

	Slots     int `json:"slots"`
	UsedSlots int `json:"usedSlots"`
	// YourSlots are those that the caller's executions hold.
	YourSlots int `json:"yourSlots"`
	// CPU time is shared: more may be set aside than there is.
	CPUMillis       int64 `json:"cpuMillis"`
	UsedCPUMillis   int64 `json:"usedCPUMillis"`
	MemoryBytes     int64 `json:"memoryBytes"`
	UsedMemoryBytes int64 `json:"usedMemoryBytes"`
	// GPUs are the devices, UsedGPUs how many are asked for by what is there.
	GPUs     []FleetGPU `json:"gpus,omitempty"`
	UsedGPUs int        `json:"usedGPUs,omitempty"`
}

// FleetGPU is a device.
type FleetGPU struct {
	Model       string `json:"model"`
	MemoryBytes int64  `json:"memoryBytes"`
	// Profile is that of a part of a GPU.
	Profile string `json:"profile,omitempty"`
	// Fault says why it is given to nobody.
	Fault string `json:"fault,omitempty"`
}

// FleetSubject is where the leader says how full the fleet is.
const FleetSubject = "hermes.queue.leader.fleet"

// FleetUse asks for the fleet as this user may see it.
type FleetUse struct {
	User string `json:"user"`
}
