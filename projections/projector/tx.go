package projector

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/events/streams/get"
	"github.com/hermes-serverless/hermes/projections"
)

// tx gathers the writes of the records that become one commit. It reads through them, those of the
// commit that is under way, the cache and the bucket. After an error it is worth nothing, and neither
// is its cache.
type tx struct {
	ctx        context.Context
	store      store
	projection projections.Projection
	cache      *cache
	// fresh is nil but for a bucket that is made anew.
	fresh  *fresh
	writes map[string]any
	// flight is the commit that is under way, nil if none is.
	flight *flight
	// checkpoint and revision are those of the last commit that is done.
	checkpoint, revision uint64
	// gate is held while a commit is made, and written is told how far each came.
	gate    sync.Locker
	written func(checkpoint uint64)
}

// flight is a commit under way.
type flight struct {
	writes     map[string]any
	checkpoint uint64
	done       chan landing
	// seen is the revision that a snapshot had which was read meanwhile, if it was a later one: the
	// flight's own, or somebody else has written.
	seen uint64
}

// landing is what became of a commit.
type landing struct {
	revision uint64
	err      error
}

var _ projections.Tx = (*tx)(nil)

// Put implements projections.Tx.
func (t *tx) Put(key string, value any) { t.writes[key] = value }

// Create implements projections.Tx. A key that is to be deleted is still in the bucket.
func (t *tx) Create(key string, value any) {
	_, written := t.writes[key]
	if _, flies := t.stored(key); !written && !flies {
		t.cache.put(key, nil)
	}
	t.Put(key, value)
}

// Delete implements projections.Tx. What the bucket does not have needs no marker that says so.
func (t *tx) Delete(key string) {
	if value, known := t.stored(key); known && value == nil {
		delete(t.writes, key)
		return
	}
	t.writes[key] = nil
}

// Get implements projections.Tx.
func (t *tx) Get(key string) (any, error) {
	if value, known := t.known(key); known {
		return value, nil
	}
	if err := t.load([]string{key}); err != nil {
		return nil, err
	}
	value, _ := t.cache.get(key)
	return value, nil
}

// Owned implements projections.Tx.
func (t *tx) Owned(owner string, most int) ([]string, error) {
	return t.list("*."+owner+".", most, func(key string, _ any) bool { return isOwned(key, owner) })
}

// isOwned reports whether the key has three tokens or more, of which the second is the owner.
func isOwned(key, owner string) bool {
	_, rest, _ := strings.Cut(key, ".")
	return len(rest) > len(owner) && rest[len(owner)] == '.' && strings.HasPrefix(rest, owner)
}

// Quarantined implements projections.Tx.
func (t *tx) Quarantined(owner string, most int) ([]string, error) {
	return t.list(projections.QuarantinePrefix, most, func(key string, value any) bool { return quarantinedOf(key, value) == owner })
}

// quarantinedOf is whose event is in quarantine under the key; empty if none is.
func quarantinedOf(key string, value any) string {
	if !strings.HasPrefix(key, projections.QuarantinePrefix) {
		return ""
	}
	switch q := value.(type) {
	case projections.Quarantined:
		return events.OwnerOf(q.Subject)
	case []byte:
		var of projections.Quarantined
		if json.Unmarshal(q, &of) == nil {
			return events.OwnerOf(of.Subject)
		}
	}
	return ""
}

// list returns at most so many keys with a value that are picked, of the stored ones those below the prefix.
// A value is as it was put, or as it is stored.
func (t *tx) list(prefix string, most int, picks func(key string, value any) bool) (keys []string, err error) {
	listed := map[string]bool{}
	add := func(key string, value any) bool {
		if !listed[key] && value != nil && picks(key, value) {
			listed[key] = true
			keys = append(keys, key)
		}
		return len(keys) < most
	}
	pending := []map[string]any{t.writes}
	if t.flight != nil {
		pending = append(pending, t.flight.writes)
	}
	for i, writes := range pending {
		for _, key := range slices.Sorted(maps.Keys(writes)) {
			if _, later := t.writes[key]; i > 0 && later {
				continue
			}
			if !add(key, writes[key]) {
				return keys, nil
			}
		}
	}
	err = t.store.oldest(t.ctx, prefix, func(_ uint64, key string, raw []byte) (bool, error) {
		for _, writes := range pending {
			if _, later := writes[key]; later {
				return true, nil
			}
		}
		return add(key, raw), nil
	})
	return keys, err
}

// known returns a key's value without reading, if that is known.
func (t *tx) known(key string) (value any, known bool) {
	if value, written := t.writes[key]; written {
		return value, true
	}
	return t.stored(key)
}

// stored is known but for what is not on its way yet: what the bucket has once the commit that is under
// way is done.
func (t *tx) stored(key string) (value any, known bool) {
	if t.flight != nil {
		if value, flies := t.flight.writes[key]; flies {
			return value, true
		}
	}
	if value, known = t.cache.get(key); !known && t.fresh.lacks(key) {
		return nil, true
	}
	return value, known
}

// prefetchFor loads what the projection says that it will get for the items: for the first of each
// subject, as the others find what that has read. What is known of some keys may tell of others.
func (t *tx) prefetchFor(items []item) error {
	var firsts []events.Record
	met := make(map[string]bool, len(items))
	for _, i := range items {
		if i.err == nil && !met[i.record.Subject] {
			met[i.record.Subject] = true
			firsts = append(firsts, i.record)
		}
	}
	const turns = 3
	for range turns {
		var keys []string
		for _, r := range firsts {
			keys = append(keys, t.projection.Reads(r, t.known)...)
		}
		if loaded, err := t.prefetch(keys); err != nil || !loaded {
			return err
		}
	}
	return nil
}

// prefetch loads those of the keys that are not known, and reports whether there were any.
func (t *tx) prefetch(keys []string) (loaded bool, err error) {
	var missing []string
	asked := map[string]bool{}
	for _, key := range keys {
		if _, known := t.known(key); !known && !asked[key] {
			asked[key] = true
			missing = append(missing, key)
		}
	}
	for some := range slices.Chunk(missing, get.MaxSubjects/2) {
		if err := t.load(some); err != nil {
			return true, err
		}
	}
	return len(missing) > 0, nil
}

// behindWithin is how long a replica may be behind. What is behind for longer is no replica: the bucket
// was emptied, or put back to an older state, and the next session begins where it stands.
const behindWithin = time.Second

// load brings the keys' values into the cache. Keys whose values do not fit into one snapshot are
// read in parts.
func (t *tx) load(keys []string) error {
	snap, err := t.snapshot(keys)
	if errors.Is(err, get.ErrTooMany) && len(keys) > 1 {
		half := len(keys) / 2
		if err := t.load(keys[:half]); err != nil {
			return err
		}
		return t.load(keys[half:])
	}
	if err != nil {
		return err
	}
	for _, key := range keys {
		raw, found := snap.values[key]
		if !found {
			t.cache.put(key, nil)
			continue
		}
		value, err := t.projection.Decode(key, raw)
		if err != nil {
			return fmt.Errorf("bucket %s: %w", t.projection.Name, err)
		}
		t.cache.put(key, value)
	}
	return nil
}

// snapshot reads keys that the commit under way does not write. The checkpoint that comes with them
// proves that they are those of this projector's last commit, or of the one that is under way, which
// has left them as they were.
func (t *tx) snapshot(keys []string) (snapshot, error) {
	for began := time.Now(); ; {
		snap, err := t.store.snapshot(t.ctx, keys)
		switch {
		case err != nil || snap.revision == t.revision:
			return snap, err
		case snap.revision > t.revision:
			return snap, t.see(snap.revision)
		case time.Since(began) > behindWithin:
			return snap, errConflict
		}
		select { // a replica that is behind
		case <-time.After(time.Millisecond):
		case <-t.ctx.Done():
			return snap, t.ctx.Err()
		}
	}
}

// see takes note of a revision that is not the last commit's: settle compares it.
func (t *tx) see(revision uint64) error {
	if t.flight == nil || t.flight.seen != 0 && t.flight.seen != revision {
		return errConflict
	}
	t.flight.seen = revision
	return nil
}

// commit writes what was gathered together with the checkpoint.
func (t *tx) commit(checkpoint uint64) error {
	encoded, err := t.encode()
	if err != nil {
		return err
	}
	t.start(encoded, checkpoint)
	return t.land()
}

// encode returns what was gathered as it is stored. It may be called while a commit is under way.
func (t *tx) encode() (map[string][]byte, error) {
	encoded := make(map[string][]byte, len(t.writes))
	for key, value := range t.writes {
		if value == nil {
			encoded[key] = nil
			continue
		}
		raw, err := projections.Encode(value)
		if err != nil {
			return nil, fmt.Errorf("encode %s: %w", key, err)
		}
		encoded[key] = raw
	}
	return encoded, nil
}

// start begins to write what was gathered, as it was encoded, together with the checkpoint. No other commit may
// be under way.
func (t *tx) start(encoded map[string][]byte, checkpoint uint64) {
	f := &flight{writes: t.writes, checkpoint: checkpoint, done: make(chan landing, 1)}
	t.flight, t.writes = f, make(map[string]any, maxKeys)
	revision := t.revision
	go func() {
		revision, err := t.write(encoded, checkpoint, revision)
		f.done <- landing{revision, err}
	}()
}

// write is the part of a commit that is done beside everything else.
func (t *tx) write(encoded map[string][]byte, checkpoint, revision uint64) (uint64, error) {
	t.gate.Lock()
	defer t.gate.Unlock()
	revision, err := t.store.commit(t.ctx, encoded, checkpoint, revision)
	if err == nil {
		t.written(checkpoint)
	}
	return revision, err
}

// landing is ready when the commit that is under way is done, never if none is.
func (t *tx) landing() <-chan landing {
	if t.flight == nil {
		return nil
	}
	return t.flight.done
}

// land waits for the commit that is under way, if one is.
func (t *tx) land() error {
	if t.flight == nil {
		return nil
	}
	return t.settle(<-t.flight.done)
}

// settle takes what became of the commit that was under way.
func (t *tx) settle(l landing) error {
	f := t.flight
	t.flight = nil
	if l.err != nil {
		return l.err
	}
	if f.seen != 0 && f.seen != l.revision {
		return errConflict
	}
	t.checkpoint, t.revision = f.checkpoint, l.revision
	for key, value := range f.writes {
		t.cache.put(key, value)
	}
	t.fresh = t.fresh.wrote(f.writes, f.checkpoint)
	return nil
}
