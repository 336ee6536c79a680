package usage

import (
	"context"
	"errors"
	"fmt"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/events/log"
	"github.com/hermes-serverless/hermes/projections/quotas"
	"github.com/hermes-serverless/hermes/projections/users"
)

const (
	executionsFilter = "hermes.execution.>"
	functionsFilter  = "hermes.function.>"
	usersFilter      = "hermes.user.*"
)

// follow takes the records of a log until the context ends. What cannot be decoded or folded is
// passed over, as the projections do, which tell the operator of it.
func (s *Service) follow(ctx context.Context, l log.Log, filter string, from uint64, take func(events.Record)) error {
	for record, err := range l.Follow(ctx, filter, from) {
		var undecodable *log.UndecodableError
		if err != nil && !errors.As(err, &undecodable) {
			return fmt.Errorf("follow %s: %w", filter, err)
		}
		s.mu.Lock()
		take(record)
		close(s.moved)
		s.moved = make(chan struct{})
		s.mu.Unlock()
	}
	return ctx.Err()
}

func (s *Service) followExecutions(ctx context.Context, from uint64) error {
	return s.follow(ctx, s.Executions, executionsFilter, from, func(r events.Record) {
		if r.Data != nil {
			_ = s.book.Execution(r)
		}
		s.book.Skip(r.Sequence)
		if owner, id, err := events.ParseExecutionSubject(r.Subject); err == nil {
			s.unreserve(owner, id)
		}
	})
}

func (s *Service) followFunctions(ctx context.Context) error {
	return s.follow(ctx, s.Functions, functionsFilter, 1, func(r events.Record) {
		if r.Data != nil {
			_ = s.book.Function(r)
		}
		s.functions = r.Sequence
	})
}

func (s *Service) followUsers(ctx context.Context) error {
	return s.follow(ctx, s.Users, usersFilter, 1, func(r events.Record) {
		s.people = r.Sequence
		name, err := events.ParseUserSubject(r.Subject)
		if err != nil || r.Data == nil {
			return
		}
		if next, err := users.Fold(s.users[name], r); err == nil {
			s.users[name] = next
		}
	})
}

// catchUp waits until what the logs hold now has been taken.
func (s *Service) catchUp(ctx context.Context) error {
	var heads [3]uint64
	for i, each := range []struct {
		log    log.Log
		filter string
	}{{s.Executions, executionsFilter}, {s.Functions, functionsFilter}, {s.Users, usersFilter}} {
		head, err := each.log.Head(ctx, each.filter)
		if err != nil {
			return fmt.Errorf("find the end of %s: %w", each.filter, err)
		}
		heads[i] = head
	}
	for {
		s.mu.Lock()
		behind := s.book.Executions() < heads[0] || s.functions < heads[1] || s.people < heads[2]
		moved := s.moved
		s.mu.Unlock()
		if !behind {
			return nil
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// sumUpToday adds what the day took before the service began: the executions that ended up to the
// sequence. Those that began on an earlier day are looked up one by one.
func (s *Service) sumUpToday(ctx context.Context, last uint64) error {
	day := quotas.Day(s.Now())
	from, err := s.Since(ctx, day)
	if err != nil {
		return fmt.Errorf("find the first event of today: %w", err)
	}
	past := quotas.NewBook()
	if from > 0 {
		if err := s.readPast(ctx, past, from, last); err != nil {
			return err
		}
	}
	s.mu.Lock()
	s.book.AddPast(past.Past(day))
	s.mu.Unlock()
	close(s.today)
	return nil
}

func (s *Service) readPast(ctx context.Context, past *quotas.Book, from, last uint64) error {
	if from > last {
		return nil
	}
	past.Skip(from - 1)
	for record, err := range s.Executions.Read(ctx, executionsFilter, from) {
		var undecodable *log.UndecodableError
		if errors.As(err, &undecodable) {
			continue
		}
		if err != nil {
			return fmt.Errorf("read today's events: %w", err)
		}
		if record.Sequence > last {
			return nil
		}
		owner, id, err := events.ParseExecutionSubject(record.Subject)
		if err != nil {
			continue
		}
		if _, first := record.Data.(events.ExecutionRequested); !first && !past.Knows(owner, id) {
			e, err := s.History(ctx, owner, id, record.Sequence)
			if err != nil {
				return err
			}
			if e.Status != "" && !e.Status.Final() {
				past.Load(e)
			}
		}
		_ = past.Execution(record)
	}
	return nil
}

// settled waits for a moment that a start closes.
func (s *Service) settled(ctx context.Context, moment <-chan struct{}) error {
	select {
	case <-moment:
		return nil
	default:
	}
	ctx, cancel := context.WithTimeout(ctx, readyWithin)
	defer cancel()
	select {
	case <-moment:
		return nil
	case <-ctx.Done():
		return unavailable()
	}
}
