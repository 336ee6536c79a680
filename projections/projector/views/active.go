package views

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/events/log"
	"github.com/hermes-serverless/hermes/events/streams"
	"github.com/hermes-serverless/hermes/events/streams/get"
	"github.com/hermes-serverless/hermes/projections/executions"
)

// Active returns every execution that has not ended, as of the returned sequence: whoever goes on
// with the log behind it misses nothing and sees nothing twice. They are ordered by their last
// event.
//
// The views are read while they change, so what the log says between the first and the last look
// is folded into them. Events that the projection would quarantine change nothing.
func (v *Views) Active(ctx context.Context) ([]executions.Execution, uint64, error) {
	s, err := v.readActive(ctx)
	if err == nil && s.newest > s.oldest {
		err = s.fold(ctx, v.executions)
	}
	if err != nil {
		return nil, 0, fmt.Errorf("active executions: %w", err)
	}
	live := make([]executions.Execution, 0, len(s.live))
	for _, e := range s.live {
		if e.Number == 0 {
			seen, err := v.ExecutionByID(ctx, e.Owner, e.ID)
			if err != nil {
				return nil, 0, fmt.Errorf("active executions: %w", err)
			}
			e.Number = seen.Number
		}
		live = append(live, e)
	}
	slices.SortFunc(live, func(a, b executions.Execution) int { return cmp.Compare(a.Sequence, b.Sequence) })
	return live, s.newest, nil
}

// activeSet is the executions that are known to live, and those that are known to have ended, by
// subject. Each is true at its own sequence.
type activeSet struct {
	live  map[string]executions.Execution
	ended map[string]bool
	// oldest and newest bound the sequences at which the views were read.
	oldest, newest uint64
}

func (s *activeSet) readAt(checkpoint uint64) {
	s.oldest, s.newest = min(s.oldest, checkpoint), max(s.newest, checkpoint)
}

// readActive reads what the active keys name. Each answer says at which checkpoint it is true, and
// a later answer of another replica may be older.
func (v *Views) readActive(ctx context.Context) (*activeSet, error) {
	s := &activeSet{live: map[string]executions.Execution{}, ended: map[string]bool{}, oldest: math.MaxUint64}
	refs, at, err := v.activeRefs(ctx)
	if err != nil {
		return nil, err
	}
	s.readAt(at)
	keys := make([]string, 0, len(refs))
	for _, ref := range refs {
		keys = append(keys, "view."+string(ref))
	}
	for some := range slices.Chunk(keys, page) {
		found, at, err := v.fetchExecutions(ctx, some)
		if err != nil {
			return nil, err
		}
		s.readAt(at)
		for _, e := range found {
			s.newest = max(s.newest, e.Sequence)
			s.put(events.ExecutionSubject(e.Owner, e.ID), e)
		}
	}
	return s, nil
}

// activeRefs returns the values of all active keys and a checkpoint that they are not older than.
// Up to a thousand come as one snapshot; more are scanned, which only a single replica makes exact.
func (v *Views) activeRefs(ctx context.Context) (map[string][]byte, uint64, error) {
	values, at, err := together(ctx, v.js, []string{executions.ActivePrefix + ">"})
	if !errors.Is(err, get.ErrTooMany) {
		return values, at, err
	}
	if at, err = v.Checkpoint(ctx, streams.BucketExecutions); err != nil {
		return nil, 0, err
	}
	values, err = scan(ctx, v.js, streams.BucketExecutions, executions.ActivePrefix+">")
	return values, at, err
}

func (s *activeSet) put(subject string, e executions.Execution) {
	if e.Status.Final() {
		delete(s.live, subject)
		s.ended[subject] = true
		return
	}
	s.live[subject] = e
}

// fold brings every execution to the newest sequence. One that is not known and was not just
// requested had ended when it was looked for.
func (s *activeSet) fold(ctx context.Context, l log.Log) error {
	to := s.newest
	for r, err := range l.Read(ctx, ">", s.oldest+1) {
		var undecodable *log.UndecodableError
		if errors.As(err, &undecodable) {
			continue
		}
		if err != nil {
			return err
		}
		if r.Sequence > to {
			return nil
		}
		e, known := s.live[r.Subject]
		if _, requested := r.Data.(events.ExecutionRequested); s.ended[r.Subject] || !known && !requested || known && r.Sequence <= e.Sequence {
			continue
		}
		if next, err := executions.Fold(e, r); err == nil {
			s.put(r.Subject, next)
		}
	}
	return nil
}
