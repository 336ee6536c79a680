package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/events/streams"
	"github.com/hermes-serverless/hermes/events/streams/get"
	"github.com/hermes-serverless/hermes/projections/executions"
	"github.com/hermes-serverless/hermes/services/api"
)

const pageSize = 50

// The looks that are judged.
const (
	lookList    = "list, the newest 50"
	lookMiddle  = "list, 50 from the middle"
	lookStatus  = "list, 50 that failed (1 in 100)"
	lookName    = "list, 50 of one function (1 in 20)"
	lookBoth    = "list, 50 of one function that failed (1 in 2000)"
	lookRare    = "list, 50 of a rare function (1 in 10,000), or all"
	lookNone    = "list, none is so"
	lookNumber  = "inspect, by number"
	lookID      = "inspect, by id"
	lookRawKey  = "the store alone: one key"
	lookRawPage = "the store alone: 50 keys"
)

// look is something that a user sees of an instance.
type look struct {
	name string
	// prepare, if there is one, comes before each once and is not timed.
	prepare, once func(context.Context) error
}

// enoughLooking is when a look that takes long has been taken often enough.
const enoughLooking = 20 * time.Second

// looks takes each look in each round, in random order, so that what else the machine does hits all.
func (s *scale) looks(ctx context.Context, in *running) error {
	mine := s.mine()
	all := s.userLooks(in, mine)
	all = append(all, s.rawLooks(in, mine)...)
	defer s.report.addLooks()
	for round := range s.rounds + 1 {
		for _, i := range s.events.random.Perm(len(all)) {
			if s.report.spent(all[i].name) > enoughLooking {
				continue
			}
			took, err := all[i].take(ctx)
			if err != nil {
				return fmt.Errorf("%s: %w", all[i].name, err)
			}
			if round > 0 { // the first one does not count
				s.report.look(all[i].name, took)
			}
		}
	}
	return nil
}

func (l look) take(ctx context.Context) (time.Duration, error) {
	if l.prepare != nil {
		if err := l.prepare(ctx); err != nil {
			return 0, err
		}
	}
	began := time.Now()
	err := l.once(ctx)
	return time.Since(began), err
}

// mine is how many executions of the history are the first user's.
func (s *scale) mine() int64 { return int64((s.executions + s.users - 1) / s.users) }

func (s *scale) userLooks(in *running, mine int64) []look {
	list := func(name string, least int, f api.ExecutionFilter, before int64) look {
		return look{name: name, once: func(ctx context.Context) error { return in.page(ctx, f, before, least) }}
	}
	failed := []executions.Status{executions.Error}
	function, rare := events.FunctionRef{Name: "function-3"}, events.FunctionRef{Name: rareFunction}
	return []look{
		list(lookList, pageSize, api.ExecutionFilter{}, 0),
		list(lookMiddle, pageSize/2, api.ExecutionFilter{}, mine/2),
		list(lookStatus, 0, api.ExecutionFilter{Status: failed}, 0),
		list(lookName, 1, api.ExecutionFilter{Function: function}, 0),
		list(lookBoth, 0, api.ExecutionFilter{Function: function, Status: failed}, 0),
		list(lookRare, 1, api.ExecutionFilter{Function: rare}, 0),
		list(lookNone, 0, api.ExecutionFilter{Watcher: "nowhere"}, 0),
		{name: lookNumber, once: func(ctx context.Context) error {
			n := 1 + rand.Int64N(mine)
			e, err := api.Call[api.Execution](ctx, in.user, api.OpExecutionInspect, api.ExecutionRef{Number: n})
			if err == nil && e.Number != n {
				err = fmt.Errorf("asked for %d, got %d", n, e.Number)
			}
			return err
		}},
		s.inspectByID(in, mine),
	}
}

// inspectByID learns an id first: only the look itself is timed.
func (s *scale) inspectByID(in *running, mine int64) look {
	var id string
	return look{name: lookID, prepare: func(ctx context.Context) error {
		page, err := api.Call[api.Executions](ctx, in.user, api.OpExecutionList, api.ExecutionList{Before: 2 + rand.Int64N(mine), Limit: 1})
		if err == nil {
			id = page.Executions[0].ID
		}
		return err
	}, once: func(ctx context.Context) error {
		e, err := api.Call[api.Execution](ctx, in.user, api.OpExecutionInspect, api.ExecutionRef{ID: id})
		if err == nil && e.ID != id {
			err = fmt.Errorf("asked for %s, got %s", id, e.ID)
		}
		return err
	}}
}

// page reads as hermes execution list does: until the page is full, or nothing is left.
func (in *running) page(ctx context.Context, f api.ExecutionFilter, before int64, least int) error {
	ask, found, last := api.ExecutionList{ExecutionFilter: f, Before: before, Limit: pageSize}, 0, int64(0)
	for {
		page, err := api.Call[api.Executions](ctx, in.user, api.OpExecutionList, ask)
		if err != nil {
			return err
		}
		for _, e := range page.Executions {
			if last > 0 && e.Number >= last {
				return fmt.Errorf("number %d follows %d", e.Number, last)
			}
			last = e.Number
		}
		found += len(page.Executions)
		if !page.More || found >= pageSize {
			break
		}
		ask.Before, ask.Limit = page.Next, pageSize-found
	}
	if found < least {
		return fmt.Errorf("%d found, at least %d are there", found, least)
	}
	return nil
}

// rawLooks are what the store itself takes for the same keys, over a connection of the same kind.
func (s *scale) rawLooks(in *running, mine int64) []look {
	bucket := streams.BucketExecutions
	subject := func(n int64) string { return streams.BucketSubject(bucket, executions.ViewKey(userName(0), n)) }
	return []look{
		{name: lookRawKey, once: func(ctx context.Context) error {
			_, err := get.One(ctx, in.operator, streams.BucketStream(bucket), subject(1+rand.Int64N(mine)))
			return err
		}},
		{name: lookRawPage, once: func(ctx context.Context) error {
			first := 1 + rand.Int64N(mine-pageSize)
			var subjects []string
			for n := range int64(pageSize) {
				subjects = append(subjects, subject(first+n))
			}
			found, err := get.Snapshot(ctx, in.operator, streams.BucketStream(bucket), subjects)
			if err == nil && len(found) != pageSize {
				err = fmt.Errorf("%d of %d keys", len(found), pageSize)
			}
			return err
		}},
	}
}
