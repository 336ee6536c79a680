package projector

import (
	"context"
	"errors"
	"fmt"
	"iter"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/projections"
)

// forgotten are the owners whom the archive says to be forgotten, up to the sequence.
func (o Options) forgotten(ctx context.Context, to uint64) (map[string]bool, error) {
	owners := map[string]bool{}
	if !o.letsGo() || to == 0 {
		return owners, nil
	}
	for a, err := range archived(o.Archive.Read(ctx, o.Projection.Letting.Forgotten, 1)) {
		if err != nil {
			return nil, fmt.Errorf("find who is forgotten in %s: %w", o.Projection.Name, err)
		}
		if a.Sequence > to {
			break
		}
		if o.Projection.Letting.Forgets(a) {
			owners[events.OwnerOf(a.Subject)] = true
		}
	}
	return owners, nil
}

// foldArchive is the part of the archive that a fold has not applied, up to a mark.
type foldArchive struct {
	next func() (projections.Archived, error, bool)
	stop func()
	to   uint64
	// waits is the first message that the log has not come to.
	waits *projections.Archived
}

// advanceTo is advance to where the bucket stood in a snapshot.
func (f *fold) advanceTo(ctx context.Context, s snapshot) error {
	mark, err := markOf(s)
	if err != nil {
		return err
	}
	if f.forgotten == nil {
		if f.forgotten, err = f.o.forgotten(ctx, mark.Sequence); err != nil {
			return err
		}
	}
	return f.advance(ctx, s.checkpoint, mark.Sequence)
}

// follow reads the archive behind what was applied, up to the sequence.
func (f *fold) follow(ctx context.Context, to uint64) *foldArchive {
	if !f.o.letsGo() || to <= f.archived {
		return &foldArchive{stop: func() {}}
	}
	a := &foldArchive{to: to}
	a.next, a.stop = iter.Pull2(archived(f.o.Archive.Read(ctx, allSubjects, f.archived+1)))
	return a
}

// apply applies what the log has come to.
func (a *foldArchive) apply(f *fold) error {
	for a.next != nil && f.archived < a.to {
		if a.waits == nil {
			message, err, more := a.next()
			if err != nil {
				return fmt.Errorf("apply the archive to %s: %w", f.o.Projection.Name, err)
			}
			if !more || message.Sequence > a.to {
				a.next = nil
				return nil
			}
			a.waits = &message
		}
		if a.waits.At > f.at {
			return nil
		}
		if err := f.applyArchived(*a.waits); err != nil {
			return err
		}
		a.waits = nil
	}
	return nil
}

func (f *fold) applyArchived(a projections.Archived) error {
	if f.forgotten[events.OwnerOf(a.Subject)] {
		f.archived = a.Sequence
		return f.o.Projection.SkipArchived(f, a)
	}
	for more := true; more; {
		var err error
		more, err = f.o.Projection.StepArchived(f, a)
		var mismatch *projections.MismatchError
		if errors.As(err, &mismatch) {
			f.mismatch(mismatch)
		} else if err != nil {
			return err
		}
	}
	f.archived = a.Sequence
	return nil
}

// ended is ErrAhead unless all up to the mark was applied: the message at the mark is never removed.
func (a *foldArchive) ended(f *fold) error {
	if f.archived < a.to {
		return fmt.Errorf("%w: %s %d, archive %d", ErrAhead, projections.KeyArchived, a.to, f.archived)
	}
	return nil
}
