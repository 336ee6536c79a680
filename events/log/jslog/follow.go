package jslog

import (
	"context"
	"errors"
	"fmt"
	"iter"

	"github.com/nats-io/nats.go"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/events/log"
	"github.com/hermes-serverless/hermes/events/streams/consume"
)

// Follow implements log.Log.
func (l *Log) Follow(ctx context.Context, filter string, from uint64) iter.Seq2[events.Record, error] {
	return func(yield func(events.Record, error) bool) {
		err := l.consume(ctx, filter, from, 0, yield)
		switch {
		case errors.Is(err, errStop):
		case ctx.Err() != nil || errors.Is(err, log.ErrClosed):
			yield(events.Record{}, err)
		default:
			yield(events.Record{}, fmt.Errorf("follow %s of %s: %w", filter, l.stream, err))
		}
	}
}

// consume yields [from, until], or for ever if until is 0. It returns nil at the end, errStop, the
// context's error or log.ErrClosed.
func (l *Log) consume(ctx context.Context, filter string, from, until uint64, yield func(events.Record, error) bool) error {
	stream := consume.Stream{JS: l.js, Name: l.stream, Filter: filter}
	err := stream.Each(ctx, from, until, func(m consume.Message) error {
		if !yield(l.decode(m.Subject, m.Sequence, m.Header, m.Data)) {
			return errStop
		}
		return nil
	})
	if errors.Is(err, nats.ErrConnectionClosed) {
		return log.ErrClosed
	}
	return err
}
