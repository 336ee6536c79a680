package main

import (
	"context"
	"errors"
	"time"

	"github.com/hermes-serverless/hermes/events/streams"
	"github.com/hermes-serverless/hermes/services/api"
)

// live appends at the asked rate for some time while the user looks on, and watches how far behind
// the log the view is.
func (s *scale) live(ctx context.Context, in *running) error {
	began := time.Now()
	until := began.Add(time.Duration(s.seconds) * time.Second)
	first, err := in.count(ctx, streams.Executions)
	if err != nil {
		return err
	}
	written, watched := make(chan error, 1), make(chan error, 1)
	var took time.Duration
	go func() {
		err := s.writeUntil(ctx, in, until)
		took = time.Since(began)
		written <- err
	}()
	var lags []uint64
	go func() {
		var err error
		lags, err = watchLag(ctx, in, until)
		watched <- err
	}()
	list, inspect, lookErr := s.lookUntil(ctx, in, until)
	if err := errors.Join(lookErr, <-written, <-watched); err != nil {
		return err
	}
	last, err := in.count(ctx, streams.Executions)
	if err != nil {
		return err
	}
	if err := in.projected(ctx, last); err != nil {
		return err
	}
	s.report.live(in.sync, last-first, took, lags, list, inspect)
	return nil
}

// writeUntil appends so many events each tick that the rate comes out, as long as the stream takes them.
func (s *scale) writeUntil(ctx context.Context, in *running, until time.Time) error {
	const tick = 10 * time.Millisecond
	began, written := time.Now(), 0
	for now := time.Now(); now.Before(until) && ctx.Err() == nil; now = time.Now() {
		for due := int(now.Sub(began).Seconds() * float64(s.rate)); written < due; {
			for _, r := range s.events.next() {
				msg, err := r.message()
				if err != nil {
					return err
				}
				if err := appendAsync(in, msg); err != nil {
					return err
				}
				written++
			}
		}
		time.Sleep(tick)
	}
	return appended(ctx, in)
}

// watchLag notes how many events of the log the view has not seen.
func watchLag(ctx context.Context, in *running, until time.Time) (lags []uint64, err error) {
	for time.Now().Before(until) && ctx.Err() == nil {
		head, err := in.count(ctx, streams.Executions)
		if err != nil {
			return lags, err
		}
		at, err := in.checkpoint(ctx)
		if err != nil {
			return lags, err
		}
		lags = append(lags, head-min(at, head))
		time.Sleep(100 * time.Millisecond)
	}
	return lags, nil
}

// lookUntil lists and inspects as one user does who has nothing else to do.
func (s *scale) lookUntil(ctx context.Context, in *running, until time.Time) (list, inspect []time.Duration, err error) {
	for time.Now().Before(until) && ctx.Err() == nil {
		began := time.Now()
		page, err := api.Call[api.Executions](ctx, in.user, api.OpExecutionList, api.ExecutionList{})
		if err != nil {
			return list, inspect, err
		}
		listed := time.Now()
		_, err = api.Call[api.Execution](ctx, in.user, api.OpExecutionInspect, api.ExecutionRef{Number: page.Executions[len(page.Executions)-1].Number})
		if err != nil {
			return list, inspect, err
		}
		list, inspect = append(list, listed.Sub(began)), append(inspect, time.Since(listed))
		time.Sleep(20 * time.Millisecond)
	}
	return list, inspect, nil
}
