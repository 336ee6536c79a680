package projector

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/hermes-serverless/hermes/events/streams/get"
	"github.com/hermes-serverless/hermes/projections"
)

// Difference is a key whose value is not what the log says.
type Difference struct {
	Key string `json:"key"`
	// Have is what the bucket holds, Want what it should; nil is nothing.
	Have []byte `json:"have,omitempty"`
	Want []byte `json:"want,omitempty"`
}

// Verify compares the bucket with a fresh fold of the whole log and returns the differences. It
// may run while a projector works: each key is compared at a checkpoint that it was read with, or
// that it was read behind. ErrAhead says that the checkpoint itself is wrong.
func (p *Projector) Verify(ctx context.Context) (all []Difference, err error) {
	err = p.VerifyEach(ctx, func(d Difference) { all = append(all, d) })
	return all, err
}

// VerifyEach is Verify that calls found with each difference, of which there may be very many. What
// it has in memory does not grow with the values in the bucket, and with their number by a few words.
func (p *Projector) VerifyEach(ctx context.Context, found func(Difference)) error {
	snap, err := p.store.snapshot(ctx, archivedKey)
	if err == nil && snap.bad != "" {
		err = fmt.Errorf("%w: checkpoint %q", ErrAhead, snap.bad)
	}
	if err == nil {
		err = p.reconcile(ctx, snap, false, found)
	}
	if err != nil {
		return fmt.Errorf("verify %s: %w", p.Bucket(), err)
	}
	return nil
}

// Rebuild makes the bucket what the log says, and returns what it corrected. Readers and
// projectors may go on: a key is never missing in between, and every correction moves the
// checkpoint's revision, so that a projector that was on its way reads again.
func (p *Projector) Rebuild(ctx context.Context) (all []Difference, err error) {
	err = p.RebuildEach(ctx, func(d Difference) { all = append(all, d) })
	return all, err
}

// RebuildEach is Rebuild that calls corrected with each difference, as VerifyEach does.
func (p *Projector) RebuildEach(ctx context.Context, corrected func(Difference)) error {
	snap, err := p.repairCheckpoint(ctx)
	if err == nil {
		err = p.reconcile(ctx, snap, true, corrected)
	}
	if err != nil {
		return fmt.Errorf("rebuild %s: %w", p.Bucket(), err)
	}
	return nil
}

// repairCheckpoint sets a checkpoint that cannot be true to the end of the log. The views are
// corrected right after, so until then nothing is lost that was not lost before. A mark in the archive that
// cannot be true goes: the views come back, and are let go of anew.
func (p *Projector) repairCheckpoint(ctx context.Context) (snapshot, error) {
	p.gate.Lock()
	defer p.gate.Unlock()
	for {
		snap, err := p.store.snapshot(ctx, archivedKey)
		if err != nil {
			return snap, err
		}
		head, err := p.o.Log.Head(ctx, allSubjects)
		if err != nil {
			return snap, err
		}
		marked, err := p.isMarked(ctx, snap)
		if err != nil {
			return snap, err
		}
		right := snap.bad == "" && (snap.checkpoint <= head || head == 0 && p.o.Whole != nil) // then the log has let go of everything; the whole one knows
		if right && marked {
			return snap, nil
		}
		if right {
			head = snap.checkpoint
		}
		writes := map[string][]byte{}
		if !marked {
			writes[projections.KeyArchived] = nil
		}
		if _, err := p.store.commit(ctx, writes, head, snap.revision); !errors.Is(err, errConflict) {
			if !marked {
				delete(snap.values, projections.KeyArchived)
			}
			snap.checkpoint, snap.bad = head, ""
			return snap, err
		}
	}
}

// isMarked reports whether the mark in the archive can be true.
func (p *Projector) isMarked(ctx context.Context, snap snapshot) (bool, error) {
	mark, bad := markOf(snap)
	if bad != nil {
		return false, nil
	}
	if mark.Sequence == 0 || !p.o.letsGo() {
		return true, nil
	}
	head, err := p.o.Archive.Head(ctx, allSubjects)
	return mark.Sequence <= head, err
}

// archivedKey is read with everything else: what a bucket should hold depends on it.
var archivedKey = []string{projections.KeyArchived}

// reconcileKeys is how many keys are looked at together.
const reconcileKeys = 400

// reconcile folds the log, reads the whole bucket in passing, and looks closely at what is not as
// the fold has it: that may have changed meanwhile.
func (p *Projector) reconcile(ctx context.Context, at snapshot, repair bool, found func(Difference)) (err error) {
	f, err := newFold(p.o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.close()) }()
	var wrong error // the first that no rebuild corrects
	f.mismatch = func(m *projections.MismatchError) {
		if repair {
			wrong = cmp.Or[error](wrong, m)
			return
		}
		found(Difference{Key: fmt.Sprintf("message %d of the archive, %s", m.Sequence, m.Subject), Have: m.Have, Want: m.Want})
	}
	if err := f.advanceTo(ctx, at); err != nil {
		return err
	}
	if err := f.settle(); err != nil {
		return err
	}
	look := &closeLook{ctx: ctx, p: p, fold: f, repair: repair, found: found}
	if err := p.store.each(ctx, look.compare); err != nil {
		return err
	}
	if err := f.shelf.unticked(look.take); err != nil {
		return err
	}
	return cmp.Or(look.flush(), wrong)
}

// closeLook gathers keys that may not be as they should, and looks at many together.
type closeLook struct {
	ctx    context.Context
	p      *Projector
	fold   *fold
	repair bool
	found  func(Difference)
	keys   []string
}

// compare ticks off what the bucket holds as the fold has it.
func (c *closeLook) compare(key string, value []byte) error {
	if c.fold.shelf.tick(key, value) {
		return nil
	}
	return c.take(key)
}

func (c *closeLook) take(key string) error {
	if c.keys = append(c.keys, key); len(c.keys) < reconcileKeys {
		return nil
	}
	return c.flush()
}

func (c *closeLook) flush() error {
	slices.Sort(c.keys)
	found, err := c.p.reconcileSome(c.ctx, c.fold, slices.Compact(c.keys), c.repair)
	for _, d := range found {
		c.found(d)
	}
	c.keys = c.keys[:0]
	return err
}

// reconcileSome looks at keys that may not fit into one snapshot.
func (p *Projector) reconcileSome(ctx context.Context, f *fold, keys []string, repair bool) ([]Difference, error) {
	found, err := p.reconcileTogether(ctx, f, keys, repair)
	if !errors.Is(err, get.ErrTooMany) || len(keys) == 1 {
		return found, err
	}
	half := len(keys) / 2
	found, err = p.reconcileSome(ctx, f, keys[:half], repair)
	if err != nil {
		return found, err
	}
	more, err := p.reconcileSome(ctx, f, keys[half:], repair)
	return append(found, more...), err
}

// reconcileTogether compares keys that were read with one checkpoint, and corrects them if that
// checkpoint still stands.
func (p *Projector) reconcileTogether(ctx context.Context, f *fold, keys []string, repair bool) ([]Difference, error) {
	if repair {
		p.gate.Lock()
		defer p.gate.Unlock()
	}
	for wait := time.Millisecond; ; wait = min(2*wait, 100*time.Millisecond) {
		snap, err := p.store.snapshot(ctx, append(keys[:len(keys):len(keys)], archivedKey...))
		if err != nil {
			return nil, err
		}
		if snap.checkpoint >= f.at && snap.bad == "" {
			if err := f.advanceTo(ctx, snap); err != nil {
				return nil, err
			}
			found, err := differences(f, keys, snap.values)
			if err != nil || len(found) == 0 || !repair {
				return found, err
			}
			if _, err = p.store.commit(ctx, corrections(found), snap.checkpoint, snap.revision); !errors.Is(err, errConflict) {
				return found, err
			}
			if err := p.claim(ctx); err != nil {
				return nil, err
			}
			continue
		}
		// A replica was behind.
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// claim writes the checkpoint as it is. That makes the projector that was first stand by for a
// while, and the next correction gets its turn however busy the log is.
func (p *Projector) claim(ctx context.Context) error {
	for {
		snap, err := p.store.snapshot(ctx, nil)
		if err != nil {
			return err
		}
		if _, err = p.store.commit(ctx, nil, snap.checkpoint, snap.revision); !errors.Is(err, errConflict) {
			return err
		}
	}
}

func differences(f *fold, keys []string, values map[string][]byte) ([]Difference, error) {
	var found []Difference
	for _, key := range keys {
		want, err := f.raw(key)
		if err != nil {
			return nil, err
		}
		have, ok := values[key]
		if ok == (want != nil) && bytes.Equal(have, want) {
			continue
		}
		found = append(found, Difference{Key: key, Have: have, Want: want})
	}
	return found, nil
}

func corrections(found []Difference) map[string][]byte {
	writes := make(map[string][]byte, len(found))
	for _, d := range found {
		writes[d.Key] = d.Want
	}
	return writes
}
