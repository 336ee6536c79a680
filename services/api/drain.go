package api

import "strings"

// Operations of the operator on the fleet, answered by the leader.
const (
	OpWatcherDrain   = "watcher.drain"   // WatcherDrain → WatcherDrained
	OpWatcherUndrain = "watcher.undrain" // WatcherRef → WatcherDrained
)

// WatcherRef names a watcher, or a GPU of it.
type WatcherRef struct {
	Watcher string `json:"watcher"`
	// GPU is the UUID of a device, or of a GPU with all its MIG instances; empty: the whole watcher.
	GPU string `json:"gpu,omitempty"`
}

// String is for people.
func (r WatcherRef) String() string { return strings.TrimSpace(r.Watcher + " " + r.GPU) }

// WatcherDrain keeps new executions away; what runs goes on. It holds until it is taken back, also when
// the watcher, the services or the machine start again.
type WatcherDrain struct {
	WatcherRef
	// Reason is for people, in one line.
	Reason string `json:"reason,omitempty"`
}

// WatcherDrained answers both.
type WatcherDrained struct {
	Drained bool `json:"drained"`
	// Running is how many executions still have it.
	Running int `json:"running"`
}
