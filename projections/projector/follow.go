package projector

import (
	"context"
	"errors"
	"iter"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/events/log"
)

// follow yields the log from a sequence on: what it has let go of from where all of it is. A bucket
// that is made anew needs that, and one whose projector was stopped for very long.
func (p *Projector) follow(ctx context.Context, from uint64) iter.Seq2[events.Record, error] {
	return func(yield func(events.Record, error) bool) {
		gone, err := hasLetGo(ctx, p.o, from)
		if err != nil {
			yield(events.Record{}, err)
			return
		}
		if gone {
			for r, err := range p.o.Whole(ctx, from) {
				if !yield(r, err) {
					return
				}
				from = r.Sequence + 1
			}
		}
		for r, err := range p.o.Log.Follow(ctx, allSubjects, from) {
			if !yield(r, err) {
				return
			}
		}
	}
}

// hasLetGo reports whether the log may have let go of the sequence, with all that was before. It has gaps
// only where somebody is forgotten.
func hasLetGo(ctx context.Context, o Options, sequence uint64) (bool, error) {
	if o.Whole == nil {
		return false, nil
	}
	first, err := firstBehind(ctx, o.Log, sequence)
	if err == nil && first > sequence {
		first, err = firstBehind(ctx, o.Log, 1)
	}
	return first > sequence || first == 0 && sequence == 1, err
}

// firstBehind is the first sequence that the log has from the given one on, 0 if it has none.
func firstBehind(ctx context.Context, l log.Log, sequence uint64) (uint64, error) {
	for r, err := range l.Read(ctx, allSubjects, sequence) {
		var undecodable *log.UndecodableError
		if err != nil && !errors.As(err, &undecodable) {
			return 0, err
		}
		return r.Sequence, nil
	}
	return 0, nil
}
