package projector

import (
	"context"
	"fmt"
	"time"

	"github.com/hermes-serverless/hermes/projections"
)

// tx gathers the writes of the records that become one commit. It reads through them, the cache
// and the bucket. After an error it is worth nothing, and neither is its cache.
type tx struct {
	ctx        context.Context
	store      store
	projection projections.Projection
	cache      *cache
	writes     map[string]any
	// checkpoint and revision are those of the last commit.
	checkpoint, revision uint64
}

var _ projections.Tx = (*tx)(nil)

// Put implements projections.Tx.
func (t *tx) Put(key string, value any) { t.writes[key] = value }

// Create implements projections.Tx. A key that is to be deleted is still in the bucket.
func (t *tx) Create(key string, value any) {
	if _, written := t.writes[key]; !written {
		t.cache.put(key, nil)
	}
	t.Put(key, value)
}

// Delete implements projections.Tx. What the bucket does not have needs no marker that says so.
func (t *tx) Delete(key string) {
	if value, known := t.cache.get(key); known && value == nil {
		delete(t.writes, key)
		return
	}
	t.writes[key] = nil
}

// Get implements projections.Tx.
func (t *tx) Get(key string) (any, error) {
	if value, written := t.writes[key]; written {
		return value, nil
	}
	if value, known := t.cache.get(key); known {
		return value, nil
	}
	if err := t.load([]string{key}); err != nil {
		return nil, err
	}
	value, _ := t.cache.get(key)
	return value, nil
}

// prefetch loads those of the keys that are not known.
func (t *tx) prefetch(keys []string) error {
	var missing []string
	asked := map[string]bool{}
	for _, key := range keys {
		if _, known := t.cache.get(key); !known && !asked[key] {
			asked[key] = true
			missing = append(missing, key)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	return t.load(missing)
}

// behindWithin is how long a replica may be behind. What is behind for longer is no replica: the bucket
// was emptied, or put back to an older state, and the next session begins where it stands.
const behindWithin = time.Second

// load brings the keys' values into the cache. The checkpoint that comes with them proves that
// they are those of this projector's last commit.
func (t *tx) load(keys []string) error {
	for began := time.Now(); ; {
		snap, err := t.store.snapshot(t.ctx, keys)
		switch {
		case err != nil:
			return err
		case snap.revision > t.revision, snap.revision < t.revision && time.Since(began) > behindWithin:
			return errConflict
		case snap.revision < t.revision: // a replica that is behind
			select {
			case <-time.After(time.Millisecond):
				continue
			case <-t.ctx.Done():
				return t.ctx.Err()
			}
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
}

// commit writes what was gathered together with the checkpoint.
func (t *tx) commit(checkpoint uint64) error {
	encoded := make(map[string][]byte, len(t.writes))
	for key, value := range t.writes {
		if value == nil {
			encoded[key] = nil
			continue
		}
		raw, err := projections.Encode(value)
		if err != nil {
			return fmt.Errorf("encode %s: %w", key, err)
		}
		encoded[key] = raw
	}
	revision, err := t.store.commit(t.ctx, encoded, checkpoint, t.revision)
	if err != nil {
		return err
	}
	t.checkpoint, t.revision = checkpoint, revision
	for key, value := range t.writes {
		t.cache.put(key, value)
	}
	clear(t.writes)
	return nil
}
