package jslog

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strconv"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/events/log"
	"github.com/hermes-serverless/hermes/events/streams/consume"
)

// Whole reads a log from its very first event although its stream has let go of the oldest: they
// come from a history stream that sources it, the rest from the stream itself.
type Whole struct {
	history, live *Log
}

// NewWhole returns the whole log of the live stream. It does no I/O.
func NewWhole(js jetstream.JetStream, history, live string) *Whole {
	return &Whole{
		history: &Log{js: js, stream: history, decode: origin},
		live:    New(js, live),
	}
}

// Read yields every event from the given sequence on to the last one stored at about the time of
// the call, with the subjects and sequences of the live stream. Errors are those of Log.Read.
//
// The history runs a little behind the live stream, which is asked for what is missing at the
// end. A gap between the two, possible only if the history was stopped for as long as the live
// stream keeps events, is not an error here: nobody knows what was in it.
func (w *Whole) Read(ctx context.Context, from uint64) iter.Seq2[events.Record, error] {
	return func(yield func(events.Record, error) bool) {
		next := max(from, 1)
		for r, err := range w.history.Read(ctx, ">", 1) {
			var undecodable *log.UndecodableError
			if err != nil && !errors.As(err, &undecodable) {
				yield(r, err)
				return
			}
			if r.Sequence < next {
				continue
			}
			next = r.Sequence + 1
			if !yield(r, err) {
				return
			}
		}
		for r, err := range w.live.Read(ctx, ">", next) {
			if !yield(r, err) {
				return
			}
		}
	}
}

// Each calls f with the sequence of every event that the history has when it is called, and with the subject
// that the event had in the live stream. Errors are those of Log.Read, and f's.
func (w *Whole) Each(ctx context.Context, f func(sequence uint64, subject string) error) error {
	head, err := w.history.Head(ctx, ">")
	if err != nil || head == 0 {
		return err
	}
	all := consume.Stream{JS: w.history.js, Name: w.history.stream, HeadersOnly: true}
	return all.Each(ctx, 1, head, func(m consume.Message) error {
		subject := m.Subject
		if fields := strings.Fields(m.Header.Get(jetstreamSource)); len(fields) >= 5 {
			subject = fields[4]
		}
		return f(m.Sequence, subject)
	})
}

// origin decodes a sourced message under the subject and sequence that it had in its own stream.
func origin(subject string, sequence uint64, header nats.Header, data []byte) (events.Record, error) {
	// stream, sequence, filter, transform, subject
	fields := strings.Fields(header.Get(jetstreamSource))
	if len(fields) < 5 {
		return record(subject, sequence, header, data)
	}
	original, err := strconv.ParseUint(fields[1], 10, 64)
	if err != nil {
		return events.Record{}, fmt.Errorf("history at %d: %s: %w", sequence, jetstreamSource, err)
	}
	return record(fields[4], original, header, data)
}

// jetstreamSource is the header in which the server says where a sourced message comes from.
const jetstreamSource = "Nats-Stream-Source"
