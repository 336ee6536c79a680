package events

// Machine is what a watcher offers.
type Machine struct {
	Host    string `json:"host"`
	Version string `json:"version"`
	// Runtime names the container runtime and its version.
	Runtime string `json:"runtime"`
	// Slots is how many executions may run at once.
	Slots       int   `json:"slots"`
	MemoryBytes int64 `json:"memoryBytes"`
	CPUMillis   int64 `json:"cpuMillis"`
	// CPUModel is the processor's name; empty where it is not known.
	CPUModel string `json:"cpuModel,omitempty"`
	// Bases that it can make a sandbox on.
	Bases []string `json:"bases"`
	// Languages that it can build.
	Languages []string `json:"languages"`
	GPUs      []GPU    `json:"gpus,omitempty"`
	// Network: it gives a network to functions that ask for one.
	Network bool `json:"network,omitempty"`
	// Driver is the version of the NVIDIA driver, and CUDA the newest version of CUDA that it runs;
	// both empty where there is none.
	Driver string `json:"driver,omitempty"`
	CUDA   string `json:"cuda,omitempty"`
}

// WatcherJoined: a watcher started and offers its machine. It holds no attempt of an earlier life.
type WatcherJoined struct {
	Machine Machine `json:"machine"`
}

// WatcherChanged: the machine is not what it was.
type WatcherChanged struct {
	Machine Machine `json:"machine"`
}

// WatcherDraining: it takes nothing new; what runs may end.
type WatcherDraining struct {
	Reason string `json:"reason"`
}

// WatcherCordoned: the operator takes it, or one GPU of it, out of placement. What runs there goes on;
// nothing new comes. It holds across restarts of the watcher.
type WatcherCordoned struct {
	// GPU is the UUID of a device, or of a GPU with all its MIG instances; empty: the whole watcher.
	GPU    string `json:"gpu,omitempty"`
	Reason string `json:"reason,omitempty"`
	By     string `json:"by"`
}

// WatcherUncordoned takes a WatcherCordoned back.
type WatcherUncordoned struct {
	GPU string `json:"gpu,omitempty"`
	By  string `json:"by"`
}

// WatcherLeft: it ended in order; nothing runs there.
type WatcherLeft struct{}

// WatcherLost: it fell silent past its lease.
type WatcherLost struct {
	// SilentMillis is how long it had not been heard of.
	SilentMillis int64 `json:"silentMillis"`
}

// Type implements Data.
func (WatcherJoined) Type() Type { return "io.hermes.watcher.v1.joined" }

// Type implements Data.
func (WatcherChanged) Type() Type { return "io.hermes.watcher.v1.changed" }

// Type implements Data.
func (WatcherDraining) Type() Type { return "io.hermes.watcher.v1.draining" }

// Type implements Data.
func (WatcherCordoned) Type() Type { return "io.hermes.watcher.v1.cordoned" }

// Type implements Data.
func (WatcherUncordoned) Type() Type { return "io.hermes.watcher.v1.uncordoned" }

// Type implements Data.
func (WatcherLeft) Type() Type { return "io.hermes.watcher.v1.left" }

// Type implements Data.
func (WatcherLost) Type() Type { return "io.hermes.watcher.v1.lost" }
