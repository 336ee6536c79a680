package events

import (
	"fmt"
	"time"
)

// Type names the meaning of an event, CloudEvents style: io.hermes.<area>.v<n>.<name>.
type Type string

// Data is the payload of an event: one of the structs of this package.
type Data interface {
	// Type is constant for each struct and its key in the registry.
	Type() Type
}

// Event is a fact. It never changes once it is stored.
type Event struct {
	// ID is unique for ever (a ULID) and is what makes a repeated append harmless.
	ID string
	// Source is the service that appended it: "registry", "orchestrator".
	Source string
	// By is who asked for it, where that is known: a user, or the operator. It says nothing of whether
	// they may.
	By string
	// Time is when the service decided it, UTC.
	Time time.Time
	Data Data
}

// Record is an event as a log keeps it.
type Record struct {
	Event
	// Subject is the aggregate's subject.
	Subject string
	// Sequence is the position in the stream, from 1.
	Sequence uint64
}

// UnknownTypeError is returned by Decode for a type that this build does not know.
type UnknownTypeError struct{ Type Type }

// Error implements error.
func (e *UnknownTypeError) Error() string {
	return fmt.Sprintf("unknown event type %q", string(e.Type))
}

// ImpossibleError is returned by a fold for an event that cannot follow what came before it.
type ImpossibleError struct {
	Type Type
	// Why says what the state was, in words.
	Why string
}

// Error implements error.
func (e *ImpossibleError) Error() string {
	return fmt.Sprintf("impossible event %s: %s", e.Type, e.Why)
}
