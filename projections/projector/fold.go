package projector

import (
	"context"
	"errors"
	"fmt"

	"github.com/hermes-serverless/hermes/events/log"
	"github.com/hermes-serverless/hermes/projections"
)

// fold is a projection in memory, made from the log alone: what the bucket should hold.
type fold struct {
	o      Options
	values map[string]any
	// at is the sequence that it is true for.
	at uint64
}

var _ projections.Tx = (*fold)(nil)

func newFold(o Options) *fold { return &fold{o: o, values: map[string]any{}} }

// Get implements projections.Tx.
func (f *fold) Get(key string) (any, error) { return f.values[key], nil }

// Put implements projections.Tx.
func (f *fold) Put(key string, value any) { f.values[key] = value }

// Delete implements projections.Tx.
func (f *fold) Delete(key string) { delete(f.values, key) }

// raw returns the key's value as it is stored, nil if there is none.
func (f *fold) raw(key string) ([]byte, error) {
	value, ok := f.values[key]
	if !ok {
		return nil, nil
	}
	return projections.Encode(value)
}

// advance applies what the log holds up to the sequence. A log that ends before it is ErrAhead.
func (f *fold) advance(ctx context.Context, to uint64) error {
	if f.at >= to {
		return nil
	}
	read := f.o.Log.Read(ctx, allSubjects, f.at+1)
	if f.at == 0 && f.o.Whole != nil {
		read = f.o.Whole(ctx, 1)
	}
	for r, err := range read {
		var undecodable *log.UndecodableError
		if err != nil && !errors.As(err, &undecodable) {
			return fmt.Errorf("fold %s at %d: %w", f.o.Projection.Name, f.at, err)
		}
		if r.Sequence > to {
			break
		}
		if err := f.o.Projection.Step(f, r, err); err != nil {
			return err
		}
		f.at = r.Sequence
	}
	if f.at < to {
		return fmt.Errorf("%w: checkpoint %d, log %d", ErrAhead, to, f.at)
	}
	return nil
}
