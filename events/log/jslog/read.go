package jslog

import (
	"context"
	"errors"
	"fmt"
	"iter"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/events/log"
	"github.com/hermes-serverless/hermes/events/streams/get"
)

// readBatch is how many messages one direct get asks for: more than nearly every aggregate has.
const readBatch = 256

// Read implements log.Log. One subject is read by direct gets, two round trips for most; a
// wildcard by a consumer.
func (l *Log) Read(ctx context.Context, filter string, from uint64) iter.Seq2[events.Record, error] {
	return func(yield func(events.Record, error) bool) {
		head, err := l.Head(ctx, filter)
		if err != nil {
			yield(events.Record{}, fmt.Errorf("read %s of %s from %d: %w", filter, l.stream, from, err))
			return
		}
		from = max(from, 1)
		if head < from {
			return
		}
		if log.CheckLiteral(filter) == nil {
			err = l.readDirect(ctx, filter, from, head, yield)
		} else {
			err = l.consume(ctx, filter, from, head, yield)
		}
		if err != nil && !errors.Is(err, errStop) {
			yield(events.Record{}, l.failed(fmt.Errorf("read %s of %s from %d: %w", filter, l.stream, from, err)))
		}
	}
}

// errStop: the caller of the iterator wants no more.
var errStop = errors.New("stop")

// readDirect yields [from, head]. The head is the leader's; a replica that answers a batch may be
// behind it, and then the leader is asked for the next message.
func (l *Log) readDirect(ctx context.Context, subject string, from, head uint64, yield func(events.Record, error) bool) error {
	for from <= head {
		messages, _, err := get.Next(ctx, l.js, l.stream, subject, from, readBatch)
		if err != nil {
			return err
		}
		if len(messages) == 0 {
			next, err := get.LeaderNext(ctx, l.js, l.stream, subject, from)
			if errors.Is(err, get.ErrNone) {
				return nil // removed since the head was read
			}
			if err != nil {
				return err
			}
			messages = append(messages, next)
		}
		for _, m := range messages {
			if m.Sequence > head {
				return nil
			}
			if !yield(l.decode(m.Subject, m.Sequence, m.Header, m.Data)) {
				return errStop
			}
			from = m.Sequence + 1
		}
	}
	return nil
}
