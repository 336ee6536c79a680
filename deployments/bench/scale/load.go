package main

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/events/streams"
	"github.com/hermes-serverless/hermes/events/streams/get"
	"github.com/hermes-serverless/hermes/projections"
)

const (
	// asyncPending is how many appends may wait for their acknowledgement.
	asyncPending = 4096
	// quiet is how long nothing may happen before a wait gives up.
	quiet = 2 * time.Minute
)

// load appends the whole history as fast as the stream takes it, and waits for what follows the log.
func (s *scale) load(ctx context.Context, in *running) error {
	began := time.Now()
	for said := time.Now(); s.events.made < s.executions && ctx.Err() == nil; {
		for _, r := range s.events.next() {
			msg, err := r.message()
			if err != nil {
				return err
			}
			// The server keeps ids for half a minute, of which there are more here in that time than
			// there ever are otherwise.
			msg.Header.Del(events.HeaderMsgID)
			if err := appendAsync(in, msg); err != nil {
				return err
			}
		}
		if time.Since(said) > 10*time.Second {
			say("%d executions are appended", s.events.made)
			said = time.Now()
		}
	}
	if err := appended(ctx, in); err != nil {
		return err
	}
	appendedIn := time.Since(began)
	head, err := in.count(ctx, streams.Executions)
	if err != nil {
		return err
	}
	say("wait for the views")
	if err := in.projected(ctx, head); err != nil {
		return err
	}
	s.report.loaded(head, appendedIn, time.Since(began))
	say("wait for the history")
	return untilMoved(ctx, "the history follows the log", head, func() (uint64, error) { return in.count(ctx, streams.History) })
}

func appendAsync(in *running, msg *nats.Msg) error {
	_, err := in.operator.PublishMsgAsync(msg, jetstream.WithStallWait(quiet), jetstream.WithRetryAttempts(0))
	return err
}

// appended returns when everything that was appended has been acknowledged.
func appended(ctx context.Context, in *running) error {
	select {
	case <-in.operator.PublishAsyncComplete():
		return nil
	case <-time.After(quiet):
		return fmt.Errorf("%d appends are not acknowledged", in.operator.PublishAsyncPending())
	case <-ctx.Done():
		return ctx.Err()
	}
}

// count is the last sequence of a stream.
func (in *running) count(ctx context.Context, stream string) (uint64, error) {
	s, err := in.operator.Stream(ctx, stream)
	if err != nil {
		return 0, err
	}
	return s.CachedInfo().State.LastSeq, nil
}

// checkpoint is how far the view of executions is; 0 where there is none.
func (in *running) checkpoint(ctx context.Context) (uint64, error) {
	m, err := get.One(ctx, in.operator, streams.BucketStream(streams.BucketExecutions), streams.BucketSubject(streams.BucketExecutions, projections.KeyCheckpoint))
	if err != nil {
		return 0, nil //nolint:nilerr // the bucket may be gone: then nothing moves, and that ends the wait
	}
	return strconv.ParseUint(string(m.Data), 10, 64)
}

// projected returns when the view has seen the sequence.
func (in *running) projected(ctx context.Context, sequence uint64) error {
	return untilMoved(ctx, "the view of executions follows the log", sequence, func() (uint64, error) { return in.checkpoint(ctx) })
}

// untilMoved polls until the place is reached. It gives up when nothing has moved for long.
func untilMoved(ctx context.Context, what string, to uint64, where func() (uint64, error)) error {
	moved, before := time.Now(), uint64(0)
	for {
		at, err := where()
		if err != nil {
			return err
		}
		if at >= to {
			return nil
		}
		if at != before {
			moved, before = time.Now(), at
		}
		if time.Since(moved) > quiet {
			return fmt.Errorf("%s: it stands at %d of %d", what, at, to)
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
