package orchestrator

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/events/log"
	"github.com/hermes-serverless/hermes/events/streams"
	"github.com/hermes-serverless/hermes/projections/executions"
	"github.com/hermes-serverless/hermes/services/api"
)

// Archive reads what the log of executions has let go.
type Archive interface {
	// ReadOne yields the events of one subject of the log, all of them: its first is not older than
	// since, its last has the sequence last, and archive is where the archive keeps it. Errors are
	// those of log.Log's Read.
	ReadOne(ctx context.Context, subject, archive string, since time.Time, last uint64) iter.Seq2[events.Record, error]
}

// history answers with the events of one execution. To fold them up to a moment is left to who
// asks: the fold is pure, and they have to have the events anyway to see why.
func (s *Service) history(ctx context.Context, user string, ref api.ExecutionRef) (api.History, error) {
	found, err := s.find(ctx, user, ref)
	if err != nil {
		return api.History{}, err
	}
	reply := api.History{Number: found.Number, ID: found.ID, Events: []api.Event{}}
	for record, err := range s.eventsOf(ctx, user, found) {
		e, err := shownEvent(user, record, err)
		if err != nil {
			return api.History{}, fmt.Errorf("read the history of execution %s: %w", found.ID, err)
		}
		reply.Events = append(reply.Events, e)
	}
	return reply, nil
}

// eventsOf reads the log, and the archive if the log does not have the beginning any more.
func (s *Service) eventsOf(ctx context.Context, user string, e executions.Execution) iter.Seq2[events.Record, error] {
	subject := events.ExecutionSubject(user, e.ID)
	for record := range s.Executions.Read(ctx, subject, 0) {
		if begins(record) {
			return s.Executions.Read(ctx, subject, 0)
		}
		break
	}
	archive := fmt.Sprint(streams.HistorySubjectPrefix, events.ExecutionPartition(e.ID))
	return s.Archive.ReadOne(ctx, subject, archive, e.RequestedAt, e.Sequence)
}

// shownEvent is an event as the user may see it: how somebody else's function is configured is not
// their business. The error is the reader's, unless it stands in place of an event that cannot be
// decoded.
func shownEvent(user string, r events.Record, err error) (api.Event, error) {
	e := api.Event{Sequence: r.Sequence, ID: r.ID, Source: r.Source, Time: r.Time, Subject: r.Subject}
	var undecodable *log.UndecodableError
	if errors.As(err, &undecodable) {
		h := undecodable.Message.Header
		e.ID, e.Source, e.Type = h[events.HeaderID], h[events.HeaderSource], events.Type(h[events.HeaderType])
		e.Undecodable = undecodable.Error()
		return e, nil
	}
	if err != nil {
		return e, err
	}
	if requested, ok := r.Data.(events.ExecutionRequested); ok && requested.Function.Owner != user {
		requested.Args, requested.Env = nil, nil
		r.Data = requested
	}
	m, err := events.Encode(r.Event)
	if err != nil {
		return e, fmt.Errorf("encode the event %d of %s: %w", r.Sequence, r.Subject, err)
	}
	e.Type, e.Data = r.Data.Type(), m.Data
	return e, nil
}
