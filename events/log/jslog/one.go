package jslog

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/events/log"
	"github.com/hermes-serverless/hermes/events/streams/get"
)

// sourcedEarly is how far the clock by which the history dates what it copies may be behind the
// one that dated the event.
const sourcedEarly = time.Minute

// ReadOne yields the events of one subject of the live stream from its first on, which the caller
// knows to be not older than since; archive is its subject in the history, and last the sequence
// where it ends. Errors are those of Log.Read.
//
// The history has no subject for each execution: it is searched, on the archive's subject, from
// since to what the live stream still has.
func (w *Whole) ReadOne(ctx context.Context, subject, archive string, since time.Time, last uint64) iter.Seq2[events.Record, error] {
	return func(yield func(events.Record, error) bool) {
		type read struct {
			record events.Record
			err    error
		}
		var live []read
		until := last + 1
		for r, err := range w.live.Read(ctx, subject, 1) {
			var undecodable *log.UndecodableError
			if err != nil && !errors.As(err, &undecodable) {
				yield(r, err)
				return
			}
			if len(live) == 0 {
				until = r.Sequence
			}
			live = append(live, read{r, err})
		}
		if err := w.archived(ctx, subject, archive, since, until, yield); err != nil {
			if !errors.Is(err, errStop) {
				yield(events.Record{}, w.history.failed(fmt.Errorf("read %s in %s: %w", subject, w.history.stream, err)))
			}
			return
		}
		for _, each := range live {
			if !yield(each.record, each.err) {
				return
			}
		}
	}
}

// archived yields what the history has of the subject before the sequence until.
func (w *Whole) archived(ctx context.Context, subject, archive string, since time.Time, until uint64, yield func(events.Record, error) bool) error {
	messages, more, err := get.Since(ctx, w.history.js, w.history.stream, archive, since.Add(-sourcedEarly), readBatch)
	for {
		if err != nil {
			return err
		}
		for _, m := range messages {
			r, err := w.history.decode(m.Subject, m.Sequence, m.Header, m.Data)
			if r.Sequence >= until {
				return nil
			}
			if r.Subject == subject && !yield(r, err) {
				return errStop
			}
		}
		if !more || len(messages) == 0 {
			return nil
		}
		messages, more, err = w.next(ctx, archive, messages[len(messages)-1])
	}
}

func (w *Whole) next(ctx context.Context, archive string, last *jetstream.RawStreamMsg) ([]*jetstream.RawStreamMsg, bool, error) {
	return get.Next(ctx, w.history.js, w.history.stream, archive, last.Sequence+1, readBatch)
}
