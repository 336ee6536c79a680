package projector

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/events/log"
	"github.com/hermes-serverless/hermes/projections"
)

// handSize is how many keys are young in a fold at most. As many again are old.
const handSize = 10_000

// fold is a projection made from the log alone: what the bucket should hold. Keys that the log has
// not come to for a while are on a shelf, so that the memory does not grow with all that is in it.
type fold struct {
	o Options
	// young and old are the keys at hand, in two generations as in a cache; the rest is on the shelf.
	// What is old stays as it is, for it is being encoded: one in use is young as well.
	young, old map[string]held
	// encoding is what becomes of the old.
	encoding chan encoded
	shelf    *shelf
	// at is the sequence that it is true for, archived how far the archive was applied.
	at, archived uint64
	// forgotten are the owners of whom nothing is to be found in it, as of the first mark that it was advanced
	// to; quarantined is whose each key in quarantine is.
	forgotten   map[string]bool
	quarantined map[string]string
	// mismatch hears of messages of the archive that are not what the log says.
	mismatch func(*projections.MismatchError)
}

// held is a value at hand; nil is none.
type held struct {
	value any
	// changed: the shelf has another value, or none.
	changed bool
}

// encoded is what is to be on the shelf; nil is nothing.
type encoded struct {
	values map[string][]byte
	err    error
}

var _ projections.Tx = (*fold)(nil)

func newFold(o Options) (*fold, error) {
	s, err := newShelf()
	return &fold{o: o, young: map[string]held{}, shelf: s, quarantined: map[string]string{}}, err
}

func (f *fold) close() error {
	if f.encoding != nil {
		<-f.encoding
	}
	return f.shelf.close()
}

// Get implements projections.Tx.
func (f *fold) Get(key string) (any, error) {
	if h, at := f.held(key); at {
		return h.value, nil
	}
	raw, err := f.shelf.get(key)
	if err != nil || raw == nil {
		return nil, err
	}
	value, err := f.o.Projection.Decode(key, raw)
	if err != nil {
		return nil, err
	}
	f.young[key] = held{value: value}
	return value, nil
}

// held finds a key at hand; one in use is young.
func (f *fold) held(key string) (held, bool) {
	h, at := f.young[key]
	if at {
		return h, true
	}
	if h, at = f.old[key]; at {
		f.young[key] = h
	}
	return h, at
}

// Put implements projections.Tx.
func (f *fold) Put(key string, value any) {
	f.young[key] = held{value: value, changed: true}
	if owner := quarantinedOf(key, value); owner != "" {
		f.quarantined[key] = owner
	}
}

// Create implements projections.Tx.
func (f *fold) Create(key string, value any) { f.Put(key, value) }

// Delete implements projections.Tx.
func (f *fold) Delete(key string) {
	f.Put(key, nil)
	delete(f.quarantined, key)
}

// Owned implements projections.Tx. It looks at everything: only who is forgotten after the fold began
// has anything in it.
func (f *fold) Owned(owner string, most int) (keys []string, err error) {
	if f.forgotten[owner] {
		return nil, nil
	}
	met := map[string]bool{}
	for _, hand := range []map[string]held{f.young, f.old} {
		for key, h := range hand {
			if met[key] || !isOwned(key, owner) {
				continue
			}
			if met[key] = true; h.value != nil && len(keys) < most {
				keys = append(keys, key)
			}
		}
	}
	err = f.shelf.each(func(key string) {
		if !met[key] && isOwned(key, owner) && len(keys) < most {
			keys = append(keys, key)
		}
	})
	return keys, err
}

// Quarantined implements projections.Tx.
func (f *fold) Quarantined(owner string, most int) (keys []string, err error) {
	for key, of := range f.quarantined {
		if of == owner && len(keys) < most {
			keys = append(keys, key)
		}
	}
	return keys, nil
}

// raw returns the key's value as it is stored, nil if there is none.
func (f *fold) raw(key string) ([]byte, error) {
	h, at := f.held(key)
	switch {
	case !at:
		raw, err := f.shelf.get(key)
		return bytes.Clone(raw), err
	case h.value == nil:
		return nil, nil
	}
	return projections.Encode(h.value)
}

// age shelves the old, and lets the young grow old.
func (f *fold) age() error {
	if f.encoding != nil {
		old := <-f.encoding
		f.encoding = nil
		if old.err != nil {
			return old.err
		}
		for key, raw := range old.values {
			if _, young := f.young[key]; young {
				continue // it is shelved when it is old again
			}
			if err := f.put(key, raw); err != nil {
				return err
			}
		}
	}
	f.old, f.young = f.young, make(map[string]held, handSize)
	f.encoding = make(chan encoded, 1)
	go func(old map[string]held, done chan<- encoded) {
		values, err := encode(old)
		done <- encoded{values, err}
	}(f.old, f.encoding)
	return nil
}

func (f *fold) put(key string, raw []byte) error {
	if raw == nil {
		return f.shelf.delete(key)
	}
	return f.shelf.put(key, raw)
}

func encode(all map[string]held) (map[string][]byte, error) {
	values := make(map[string][]byte, len(all))
	for key, h := range all {
		switch {
		case !h.changed:
		case h.value == nil:
			values[key] = nil
		default:
			raw, err := projections.Encode(h.value)
			if err != nil {
				return nil, fmt.Errorf("encode %s: %w", key, err)
			}
			values[key] = raw
		}
	}
	return values, nil
}

// settle shelves everything.
func (f *fold) settle() error { return errors.Join(f.age(), f.age()) }

// advance applies what the log holds up to the sequence, and what the archive holds up to its own, each
// message as soon as the log has come to it. A log or an archive that ends before is ErrAhead.
func (f *fold) advance(ctx context.Context, to, archived uint64) error {
	a := f.follow(ctx, archived)
	defer a.stop()
	if err := a.apply(f); err != nil {
		return err
	}
	if err := f.advanceLog(ctx, to, a); err != nil {
		return err
	}
	if err := a.apply(f); err != nil {
		return err
	}
	return a.ended(f)
}

func (f *fold) advanceLog(ctx context.Context, to uint64, a *foldArchive) error {
	if f.at >= to {
		return nil
	}
	gone, err := hasLetGo(ctx, f.o, f.at+1)
	if err != nil {
		return fmt.Errorf("fold %s at %d: %w", f.o.Projection.Name, f.at, err)
	}
	began, gaps := f.at+1, false
	read := f.o.Log.Read(ctx, allSubjects, f.at+1)
	if gone {
		read = f.o.Whole(ctx, f.at+1)
	}
	for r, err := range ahead(read) {
		var undecodable *log.UndecodableError
		if err != nil && !errors.As(err, &undecodable) {
			return fmt.Errorf("fold %s at %d: %w", f.o.Projection.Name, f.at, err)
		}
		gaps = gaps || r.Sequence > f.at+1
		if r.Sequence > to {
			f.at = to // what is between was an owner's who is forgotten
			break
		}
		if !f.forgotten[events.OwnerOf(r.Subject)] {
			if err := f.o.Projection.Step(f, r, err); err != nil {
				return err
			}
		}
		f.at = r.Sequence
		if err := a.apply(f); err != nil {
			return err
		}
		if len(f.young) >= handSize {
			if err := f.age(); err != nil {
				return err
			}
		}
	}
	if !gone && gaps {
		if gone, err := hasLetGo(ctx, f.o, began); err != nil || gone {
			return cmp.Or(err, fmt.Errorf("fold %s: the log let go of what follows %d meanwhile: try again", f.o.Projection.Name, began))
		}
	}
	if f.at < to {
		return fmt.Errorf("%w: checkpoint %d, log %d", ErrAhead, to, f.at)
	}
	return nil
}
