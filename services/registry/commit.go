package registry

import (
	"context"
	"errors"
	"fmt"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/events/log"
	"github.com/hermes-serverless/hermes/projections/functions"
)

// fold reads one function from the log.
func (s *Service) fold(ctx context.Context, owner, name string) (functions.Function, error) {
	f := functions.Function{Owner: owner, Name: name}
	for record, err := range s.Functions.Read(ctx, events.FunctionSubject(owner, name), 0) {
		if err != nil {
			return f, fmt.Errorf("read function %s/%s: %w", owner, name, err)
		}
		if f, err = functions.Fold(f, record); err != nil {
			return f, fmt.Errorf("fold function %s/%s at sequence %d: %w", owner, name, record.Sequence, err)
		}
	}
	return f, nil
}

// commit decides on the function as the log has it and appends, one event after the other. When
// somebody else was faster it reads and decides again. It returns the sequence of the first event
// that it appended, or the function's last one if there was nothing to append.
//
// The events of one decision are not appended as one: each state between them must be one that
// finishing later makes whole (see decideReuse). A decision that does not fold is an error, an
// *events.ImpossibleError, and nothing of it is appended.
func (s *Service) commit(ctx context.Context, owner, name string, decide func(functions.Function) ([]events.Data, error)) (uint64, error) {
	for {
		f, err := s.fold(ctx, owner, name)
		if err != nil {
			return 0, err
		}
		decided, err := decide(f)
		if err != nil || len(decided) == 0 {
			return f.Sequence, err
		}
		if _, err := foldDecided(f, decided...); err != nil {
			return 0, err
		}
		first, expected := uint64(0), f.Sequence
		for _, data := range decided {
			if expected, err = s.append(ctx, owner, name, expected, data); err != nil {
				break
			}
			if first == 0 {
				first = expected
			}
		}
		switch {
		case err == nil:
			return first, nil
		case !errors.Is(err, log.ErrConflict):
			return 0, fmt.Errorf("append to function %s/%s: %w", owner, name, err)
		}
	}
}

func (s *Service) append(ctx context.Context, owner, name string, expected uint64, data events.Data) (uint64, error) {
	event := events.Event{ID: s.NewID(), Source: source, Time: s.Now().UTC(), Data: data}
	sequence, err := s.Functions.Append(ctx, events.FunctionSubject(owner, name), expected, event)
	for err == nil {
		last := s.appended.Load()
		if last >= sequence || s.appended.CompareAndSwap(last, sequence) {
			break
		}
	}
	return sequence, err
}
