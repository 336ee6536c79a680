// Package fleet folds the events of watchers into what the fleet list shows and what placement
// decides on.
package fleet

import (
	"reflect"
	"slices"
	"time"

	"github.com/hermes-serverless/hermes/events"
)

// State is where a watcher is in its life.
type State string

// Joined takes work, Draining finishes what runs; Left and Lost hold nothing.
const (
	Joined   State = "joined"
	Draining State = "draining"
	Left     State = "left"
	Lost     State = "lost"
)

// Watcher is the fold of one watcher's events. Its zero value is one that was never seen.
type Watcher struct {
	Name    string         `json:"name"`
	State   State          `json:"state"`
	Machine events.Machine `json:"machine"`
	// Since is when it came into its state.
	Since time.Time `json:"since"`
	// JoinedAt is when its present or last life began.
	JoinedAt time.Time `json:"joinedAt"`
	// Reason is why it drains.
	Reason string `json:"reason,omitempty"`
	// Cordons are what the operator has taken out of placement, the one of the whole watcher first, then by
	// GPU. They outlast the watcher's lives.
	Cordons []Cordon `json:"cordons,omitempty"`
	// Sequence is the last event's, and what the next append must expect.
	Sequence uint64 `json:"sequence"`
}

// Cordon keeps new work from a watcher, or from a GPU of it.
type Cordon struct {
	// GPU is empty for the whole watcher.
	GPU    string    `json:"gpu,omitempty"`
	Reason string    `json:"reason,omitempty"`
	By     string    `json:"by"`
	Since  time.Time `json:"since"`
}

// Cordon is the one of a GPU, or with "" of the whole watcher; false: there is none.
func (w Watcher) Cordon(gpu string) (Cordon, bool) {
	for _, c := range w.Cordons {
		if c.GPU == gpu {
			return c, true
		}
	}
	return Cordon{}, false
}

// Present reports whether it may hold attempts.
func (w Watcher) Present() bool { return w.State == Joined || w.State == Draining }

// SameMachine reports whether the watcher offers exactly this machine.
func (w Watcher) SameMachine(m events.Machine) bool {
	a, b := w.Machine, m
	same := slices.Equal(a.Bases, b.Bases) && slices.Equal(a.Languages, b.Languages) && slices.Equal(a.GPUs, b.GPUs)
	a.Bases, a.Languages, a.GPUs = nil, nil, nil
	b.Bases, b.Languages, b.GPUs = nil, nil, nil
	return same && reflect.DeepEqual(a, b)
}
