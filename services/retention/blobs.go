package retention

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"time"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/events/log"
	"github.com/hermes-serverless/hermes/projections/bases"
	"github.com/hermes-serverless/hermes/projections/functions"
	"github.com/hermes-serverless/hermes/services/blobs"
)

const (
	// DefaultGrace is how long content stays that nothing refers to.
	DefaultGrace = 24 * time.Hour
	// collectEvery is how often content is collected.
	collectEvery = 24 * time.Hour
)

// Blobs removes content that nothing refers to any more: no version of a function, no base, no
// execution that is live or was asked for within the time that the log keeps.
//
// Content is looked at before the references are, and goes only if its name has not been renewed
// since (blobs.Store.Keep): who refers to it anew renews that first, and does not find it when this
// was faster.
type Blobs struct {
	Store *blobs.Store
	// The logs.
	Functions, Bases, Users, Executions log.Log
	Views                               Views
	// Keep is how long executions refer to what they were given, ran and made.
	Keep time.Duration
	// Grace is how long content stays that nothing refers to, at least blobs.MinGrace.
	Grace time.Duration
	// DryRun removes nothing.
	DryRun bool
	Now    func() time.Time
	Log    *slog.Logger
}

// Collection is what a collection found.
type Collection struct {
	// Kept are the blobs that stay.
	Kept      int   `json:"kept"`
	KeptBytes int64 `json:"keptBytes"`
	// Removed are those that went, or would have.
	Removed      []events.Blob `json:"removed"`
	RemovedBytes int64         `json:"removedBytes"`
	// Unfinished counts uploads that never ended, Notes those of who has uploaded what is not there any
	// more, or who is no user any more.
	Unfinished      int   `json:"unfinished"`
	UnfinishedBytes int64 `json:"unfinishedBytes"`
	Notes           int   `json:"notes"`
}

// Run collects from time to time, until the context ends; it returns nil then.
func (b Blobs) Run(ctx context.Context) error {
	regularly(ctx, 2*firstAfter, collectEvery, func() {
		c, err := b.Collect(ctx)
		switch {
		case err != nil && ctx.Err() == nil:
			b.Log.Warn("cannot remove what nothing refers to yet", "err", err)
		case len(c.Removed)+c.Unfinished > 0:
			b.Log.Info("removed content that nothing refers to", "blobs", len(c.Removed), "bytes", c.RemovedBytes, "unfinished", c.Unfinished, "unfinishedBytes", c.UnfinishedBytes)
		}
	})
	return nil
}

// Collect removes what nothing refers to. After an error some may be removed, which is returned; the
// call can be repeated.
func (b Blobs) Collect(ctx context.Context) (c Collection, err error) {
	c.Removed = []events.Blob{}
	names, err := b.Store.Stored(ctx)
	if err != nil {
		return c, err
	}
	needed, err := b.needed(ctx, "")
	if err != nil {
		return c, err
	}
	old := b.Now().Add(-b.Grace)
	stays := map[string]bool{}
	for _, one := range names {
		if one.Holder != "" || one.IsGone() {
			continue
		}
		gone := !needed[one.Blob.Digest] && one.Since.Before(old)
		if gone && !b.DryRun {
			if gone, err = b.Store.Forget(ctx, one); err != nil {
				return c, err
			}
		}
		if !gone {
			stays[one.Blob.Digest] = true
			c.Kept, c.KeptBytes = c.Kept+1, c.KeptBytes+one.Blob.SizeBytes
			continue
		}
		c.Removed, c.RemovedBytes = append(c.Removed, one.Blob), c.RemovedBytes+one.Blob.SizeBytes
	}
	if err := b.notes(ctx, names, stays, old, &c); err != nil {
		return c, err
	}
	return c, b.unfinished(ctx, names, old, &c)
}

// notes removes notes of what is not there and of who is not there, and what deletions have left.
func (b Blobs) notes(ctx context.Context, names []blobs.Stored, stays map[string]bool, old time.Time, c *Collection) error {
	left, err := leavers(ctx, b.Users)
	if err != nil {
		return err
	}
	for _, one := range names {
		isNote := one.Holder != "" || one.IsGone()
		_, isLeft := left[one.Holder]
		if !isNote || !one.Since.Before(old) || !one.IsGone() && stays[one.Blob.Digest] && !isLeft {
			continue
		}
		if one.Holder != "" {
			c.Notes++
		}
		if b.DryRun {
			continue
		}
		if _, err := b.Store.Forget(ctx, one); err != nil {
			return err
		}
	}
	return nil
}

// unfinished removes content without a name.
func (b Blobs) unfinished(ctx context.Context, names []blobs.Stored, old time.Time, c *Collection) error {
	orphans, err := b.Store.Orphans(ctx, names, old)
	if err != nil {
		return err
	}
	for _, o := range orphans {
		if !b.DryRun {
			if err := b.Store.Drop(ctx, o); err != nil {
				return err
			}
		}
		c.Unfinished, c.UnfinishedBytes = c.Unfinished+1, c.UnfinishedBytes+o.SizeBytes
	}
	return nil
}

// references are digests, wherever they stand in what refers.
type references map[string]bool

var digest = regexp.MustCompile(`sha256:[0-9a-f]{64}`)

// add finds the digests in whatever a value holds: a field that comes to be later is seen too.
func (r references) add(value any) error {
	raw, err := json.Marshal(value)
	if err != nil {
		return err
	}
	r.addRaw(raw)
	return nil
}

func (r references) addRaw(raw []byte) {
	for _, found := range digest.FindAll(raw, -1) {
		r[string(found)] = true
	}
}

// needed is what functions, bases and executions refer to, but for those of one owner; of all, if that is empty.
func (b Blobs) needed(ctx context.Context, but string) (references, error) {
	r := references{}
	if err := addFolds(ctx, r, b.Functions, but, functions.Fold); err != nil {
		return nil, fmt.Errorf("find what functions need: %w", err)
	}
	if err := addFolds(ctx, r, b.Bases, but, bases.Fold); err != nil {
		return nil, fmt.Errorf("find what bases need: %w", err)
	}
	if err := b.addExecutions(ctx, r, but); err != nil {
		return nil, fmt.Errorf("find what executions need: %w", err)
	}
	return r, nil
}

// addFolds adds what the aggregates of a log refer to as they are now. Whatever cannot be folded
// refers to all that its events name.
func addFolds[State any](ctx context.Context, r references, from log.Log, but string, fold func(State, events.Record) (State, error)) error {
	states := map[string]State{}
	for record, err := range from.Read(ctx, ">", 0) {
		var undecodable *log.UndecodableError
		switch {
		case but != "" && events.OwnerOf(record.Subject) == but:
			continue
		case errors.As(err, &undecodable):
			r.addRaw(undecodable.Message.Data)
			continue
		case err != nil:
			return err
		}
		next, err := fold(states[record.Subject], record)
		if err != nil {
			if err := r.add(record.Data); err != nil {
				return err
			}
			continue
		}
		states[record.Subject] = next
	}
	for _, state := range states {
		if err := r.add(state); err != nil {
			return err
		}
	}
	return nil
}

// addExecutions adds what executions refer to that are live or young enough.
func (b Blobs) addExecutions(ctx context.Context, r references, but string) error {
	live, _, err := b.Views.Active(ctx)
	if err != nil {
		return err
	}
	for _, e := range live {
		if but != "" && e.Owner == but {
			continue
		}
		if err := r.add(e); err != nil {
			return err
		}
	}
	old := b.Now().Add(-b.Keep - skew)
	for record, err := range b.Executions.Read(ctx, ">", 0) {
		var undecodable *log.UndecodableError
		switch {
		case but != "" && events.OwnerOf(record.Subject) == but:
		case errors.As(err, &undecodable):
			r.addRaw(undecodable.Message.Data)
		case err != nil:
			return err
		case record.Time.After(old):
			if err := r.add(record.Data); err != nil {
				return err
			}
		}
	}
	return nil
}
