// Package functions folds the events of functions into what list and inspect show, and into the
// state that the registry decides on.
package functions

import (
	"time"

	"github.com/hermes-serverless/hermes/events"
)

// Function is the fold of one function's events: all its versions. Its zero value is a function
// that does not exist.
type Function struct {
	Owner string `json:"owner"`
	Name  string `json:"name"`
	// Versions are those that can run, by version.
	Versions map[string]Version `json:"versions,omitempty"`
	// Pending are the builds that have not ended, by version: one a version at a time.
	Pending map[string]Pending `json:"pending,omitempty"`
	// Failed are the last failed builds of versions, by version, until a build of it succeeds.
	Failed  map[string]FailedBuild `json:"failed,omitempty"`
	Aliases map[string]string      `json:"aliases,omitempty"`
	// Sequence is the last event's, and what the next append must expect.
	Sequence uint64 `json:"sequence"`
}

// Version is one that can run.
type Version struct {
	Config   events.FunctionConfig `json:"config"`
	Base     string                `json:"base"`
	Bundle   events.Blob           `json:"bundle"`
	Artifact events.Blob           `json:"artifact"`
	// Build is the execution that it was registered with, BuiltBy the one that made the artifact.
	Build        string    `json:"build"`
	BuiltBy      string    `json:"builtBy"`
	RegisteredAt time.Time `json:"registeredAt"`
	BuiltAt      time.Time `json:"builtAt"`
}

// Pending is a version whose build has not ended.
type Pending struct {
	Config       events.FunctionConfig `json:"config"`
	Base         string                `json:"base"`
	Bundle       events.Blob           `json:"bundle"`
	Build        string                `json:"build"`
	RegisteredAt time.Time             `json:"registeredAt"`
	// Reuses is the earlier execution whose artifact it takes; then no build is asked for.
	Reuses string `json:"reuses,omitempty"`
}

// FailedBuild says why a version is not there, and what it would have been.
type FailedBuild struct {
	Config       events.FunctionConfig `json:"config"`
	Base         string                `json:"base"`
	Bundle       events.Blob           `json:"bundle"`
	Build        string                `json:"build"`
	RegisteredAt time.Time             `json:"registeredAt"`
	// Reason is one of the events' Reason constants, or the status that the build ended with.
	Reason   string    `json:"reason"`
	Message  string    `json:"message"`
	FailedAt time.Time `json:"failedAt"`
}
