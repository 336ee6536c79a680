// Package projections is what the folds below it have in common: how a projection turns a record
// into changed keys, whoever keeps the keys.
package projections

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/hermes-serverless/hermes/events"
)

// Tx is the keys of a projection as one record's application sees them: its own writes and those
// of every record before. A value that was given or returned is never modified.
type Tx interface {
	// Get returns the key's value as Projection.Decode or an earlier Put made it, nil if there is
	// none. An error is the store's; the record was not applied and can be again.
	Get(key string) (any, error)
	// Put gives the key this value.
	Put(key string, value any)
	// Owned returns at most so many of the keys with a value whose second token of three or more is the
	// owner, and Quarantined of those in quarantine whose events are the owner's.
	Owned(owner string, most int) ([]string, error)
	Quarantined(owner string, most int) ([]string, error)
	// Create is Put of a key that is known to have no value: when it is deleted before it was stored,
	// nothing is.
	Create(key string, value any)
	// Delete takes the key's value away, if it has one.
	Delete(key string)
}

// Projection folds one stream into keys. Its functions are pure.
type Projection struct {
	// Name is the bucket's.
	Name string
	// Apply applies one record. An *events.ImpossibleError means that it cannot follow what came
	// before, and that nothing was written; another error comes from the Tx.
	Apply func(tx Tx, r events.Record) error
	// Reads returns keys that Apply will get for a record, as far as the record tells and what is known
	// of other keys: they are fetched together for many records, of which the first of each subject is
	// asked about. It may be nil.
	Reads func(r events.Record, known Known) []string
	// Decode is the inverse of Encode for one key.
	Decode func(key string, raw []byte) (any, error)
	// Forgets reports whether the record says that the log keeps nothing of an owner that is before it: then
	// nothing of theirs stays, in quarantine neither. It may be nil.
	Forgets func(r events.Record) (owner string, forgets bool)
	// Transient are the keys that Apply deletes again; nil: it deletes none.
	Transient *Transient
	// Letting is how it lets go of keys whose values an archive keeps; nil: it keeps them all.
	Letting *Letting
}

// Known returns the value of a key, nil if there is none, and whether it is known without fetching it.
type Known func(key string) (value any, known bool)

// Transient tells which stored keys may stand. A bucket keeps nothing of a value that a deletion
// replaced, nor of the deletion after a while, so that a server which crashed may find the value
// again: whoever keeps the keys then asks, and deletes it once more.
type Transient struct {
	// Prefix is what the keys begin with, up to a dot; more tokens follow.
	Prefix string
	// Witness is the key by whose value that is judged, given the transient key's own.
	Witness func(value any) string
	// Stands judges. The value is nil if the witness has none.
	Stands func(witness any) bool
}

// KeyCheckpoint holds the last applied sequence, in decimal.
const KeyCheckpoint = "checkpoint"

// QuarantinePrefix and a sequence are the key of an event that could not be applied.
const QuarantinePrefix = "quarantine."

// Quarantined says which event was passed over, and why.
type Quarantined struct {
	Subject string      `json:"subject"`
	Type    events.Type `json:"type"`
	Why     string      `json:"why"`
}

// Step applies what a log yielded: a record, or in place of one the reason why it cannot be
// decoded. What cannot be applied goes to quarantine, and the projection goes on. An error is
// the Tx's.
func (p Projection) Step(tx Tx, r events.Record, undecodable error) error {
	err := undecodable
	if err == nil {
		err = p.Apply(tx, r)
		var impossible *events.ImpossibleError
		if err != nil && !errors.As(err, &impossible) {
			return err
		}
	}
	if err == nil && p.Forgets != nil {
		return p.release(tx, r)
	}
	if err != nil {
		q := Quarantined{Subject: r.Subject, Why: err.Error()}
		var unknown *events.UnknownTypeError
		switch {
		case r.Data != nil:
			q.Type = r.Data.Type()
		case errors.As(err, &unknown):
			q.Type = unknown.Type
		}
		tx.Put(fmt.Sprint(QuarantinePrefix, r.Sequence), q)
	}
	return nil
}

// MaxReleased is how many keys a record that forgets an owner deletes.
const MaxReleased = 500

// release deletes what there is still of an owner whom the record forgets: what is in quarantine, and what was
// deleted by an event that the log does not have any more.
func (p Projection) release(tx Tx, r events.Record) error {
	owner, forgets := p.Forgets(r)
	if !forgets {
		return nil
	}
	keys, err := tx.Owned(owner, MaxReleased)
	if err != nil {
		return err
	}
	quarantined, err := tx.Quarantined(owner, MaxReleased-len(keys))
	for _, key := range append(keys, quarantined...) {
		tx.Delete(key)
	}
	return err
}

// Text is a value that is stored as it is, not as JSON.
type Text string

// Encode returns the stored form of a value: text as it is, everything else as JSON.
func Encode(value any) ([]byte, error) {
	if text, ok := value.(Text); ok {
		return []byte(text), nil
	}
	return json.Marshal(value)
}

// DecodeJSON is a Decode for keys that hold a T.
func DecodeJSON[T any](key string, raw []byte) (any, error) {
	var value T
	if err := json.Unmarshal(raw, &value); err != nil {
		return nil, fmt.Errorf("value of %s: %w", key, err)
	}
	return value, nil
}

// Get returns the key's value as a T, and whether there is one.
func Get[T any](tx Tx, key string) (value T, found bool, err error) {
	stored, err := tx.Get(key)
	if err != nil || stored == nil {
		return value, false, err
	}
	value, ok := stored.(T)
	if !ok {
		return value, false, fmt.Errorf("value of %s is a %T, not a %T", key, stored, value)
	}
	return value, true, nil
}

// Impossible returns the error of a record that cannot follow the state.
func Impossible(r events.Record, format string, args ...any) error {
	return &events.ImpossibleError{Type: r.Data.Type(), Why: fmt.Sprintf(format, args...)}
}
