// Package views reads what projectors write: the typed side of the buckets, for services.
//
// A view may be a little behind its log, and behind on one replica more than on another; WaitFor
// is for who must read what was just written. A decision that must be certain folds the log.
package views

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/hermes-serverless/hermes/events/log"
	"github.com/hermes-serverless/hermes/events/streams"
	"github.com/hermes-serverless/hermes/events/streams/get"
	"github.com/hermes-serverless/hermes/projections"
	"github.com/hermes-serverless/hermes/projections/bases"
	"github.com/hermes-serverless/hermes/projections/fleet"
	"github.com/hermes-serverless/hermes/projections/functions"
	"github.com/hermes-serverless/hermes/projections/projector"
	"github.com/hermes-serverless/hermes/projections/users"
)

// Views reads all buckets. Its methods may be called from many goroutines. What does not exist is
// the zero value and no error; every error is the store's, and the call can be repeated.
type Views struct {
	js         jetstream.JetStream
	executions log.Log
	local      map[string]*projector.Projector
	blocks     *blockCache
}

// New returns the views behind the connection. The log of executions makes Active exact.
// Projectors that run in the same process tell WaitFor at once. It does no I/O.
func New(js jetstream.JetStream, executions log.Log, local ...*projector.Projector) *Views {
	v := &Views{js: js, executions: executions, local: map[string]*projector.Projector{}, blocks: newBlockCache(time.Now, maxBlockBytes)}
	for _, p := range local {
		v.local[p.Bucket()] = p
	}
	return v
}

// Function returns one function with all its versions.
func (v *Views) Function(ctx context.Context, owner, name string) (functions.Function, error) {
	return one[functions.Function](ctx, v, functions.Projection, functions.ViewKey(owner, name))
}

// ListFunctions returns the owner's functions by name; those of all owners, by owner and name, if
// the owner is empty.
func (v *Views) ListFunctions(ctx context.Context, owner string) ([]functions.Function, error) {
	if owner == "" {
		owner = "*"
	}
	return list[functions.Function](ctx, v, functions.Projection, functions.ViewKey(owner, "*"))
}

// Watcher returns one watcher.
func (v *Views) Watcher(ctx context.Context, name string) (fleet.Watcher, error) {
	return one[fleet.Watcher](ctx, v, fleet.Projection, fleet.ViewKey(name))
}

// Watchers returns the fleet by name, those that left or were lost included.
func (v *Views) Watchers(ctx context.Context) ([]fleet.Watcher, error) {
	return list[fleet.Watcher](ctx, v, fleet.Projection, fleet.ViewKey("*"))
}

// User returns one user.
func (v *Views) User(ctx context.Context, name string) (users.User, error) {
	return one[users.User](ctx, v, users.Projection, users.ViewKey(name))
}

// Users returns the registered users by name.
func (v *Views) Users(ctx context.Context) ([]users.User, error) {
	return list[users.User](ctx, v, users.Projection, users.ViewKey("*"))
}

// Bases returns the bases that have an image, by name.
func (v *Views) Bases(ctx context.Context) ([]bases.Base, error) {
	return list[bases.Base](ctx, v, bases.Projection, bases.ViewKey("*"))
}

// Languages returns the languages that a base was ever chosen for, by name.
func (v *Views) Languages(ctx context.Context) ([]bases.Language, error) {
	return list[bases.Language](ctx, v, bases.Projection, bases.LanguageKey("*"))
}

// Quarantined is an event that a projection passed over.
type Quarantined struct {
	Sequence uint64 `json:"sequence"`
	projections.Quarantined
}

// Quarantined returns what the bucket's projection passed over, in order of the log.
func (v *Views) Quarantined(ctx context.Context, bucket string) ([]Quarantined, error) {
	return quarantined(ctx, v.js, bucket)
}

// WaitForExecutions is WaitFor of the executions' view.
func (v *Views) WaitForExecutions(ctx context.Context, sequence uint64) error {
	return v.WaitFor(ctx, streams.BucketExecutions, sequence)
}

// WaitForFunctions is WaitFor of the functions' view.
func (v *Views) WaitForFunctions(ctx context.Context, sequence uint64) error {
	return v.WaitFor(ctx, streams.BucketFunctions, sequence)
}

// maxPoll bounds the wait between two looks at a checkpoint.
const maxPoll = 20 * time.Millisecond

// WaitFor returns when the bucket's view has seen the sequence of its stream, or with the
// context's error.
func (v *Views) WaitFor(ctx context.Context, bucket string, sequence uint64) error {
	wait, local := time.Millisecond, v.local[bucket]
	if local != nil {
		local.Want(sequence)
		wait = maxPoll // it tells; only what another process projects must be looked for
	}
	for look := local == nil; ; {
		var told <-chan struct{}
		if local != nil {
			var at uint64
			if at, told = local.Progress(); at >= sequence {
				return nil
			}
		}
		if look {
			if at, err := v.Checkpoint(ctx, bucket); err == nil && at >= sequence {
				return nil
			}
		}
		select {
		case <-told:
			look = false
		case <-time.After(wait):
			look, wait = true, min(2*wait, maxPoll)
		case <-ctx.Done():
			return fmt.Errorf("view %s has not seen %d yet: %w", bucket, sequence, ctx.Err())
		}
	}
}

// Checkpoint returns the last sequence that the bucket's view has seen, 0 before the first.
func (v *Views) Checkpoint(ctx context.Context, bucket string) (uint64, error) {
	raw, err := fetch(ctx, v.js, bucket, projections.KeyCheckpoint)
	if err != nil || raw == nil {
		return 0, err
	}
	return strconv.ParseUint(string(raw), 10, 64)
}

// fetch returns a key's value, nil if there is none.
func fetch(ctx context.Context, js jetstream.JetStream, bucket, key string) ([]byte, error) {
	m, err := get.One(ctx, js, streams.BucketStream(bucket), streams.BucketSubject(bucket, key))
	if errors.Is(err, get.ErrNone) || err == nil && projector.IsMarker(m.Header) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return m.Data, nil
}

func one[T any](ctx context.Context, v *Views, p projections.Projection, key string) (T, error) {
	var none T
	raw, err := fetch(ctx, v.js, p.Name, key)
	if err != nil || raw == nil {
		return none, err
	}
	return decode[T](p, key, raw)
}

func decode[T any](p projections.Projection, key string, raw []byte) (T, error) {
	value, err := p.Decode(key, raw)
	if err != nil {
		var none T
		return none, fmt.Errorf("bucket %s: %w", p.Name, err)
	}
	return value.(T), nil
}
