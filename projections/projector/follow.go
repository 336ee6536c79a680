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

// hasLetGo reports whether the log does not have the sequence any more. It has no gaps.
func hasLetGo(ctx context.Context, o Options, sequence uint64) (bool, error) {
	if o.Whole == nil {
		return false, nil
	}
	for r, err := range o.Log.Read(ctx, allSubjects, sequence) {
		var undecodable *log.UndecodableError
		if err != nil && !errors.As(err, &undecodable) {
			return false, err
		}
		return r.Sequence > sequence, nil
	}
	return sequence == 1, nil
}
