// Package jslog keeps a log of events in a JetStream stream.
package jslog

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/events/log"
	"github.com/hermes-serverless/hermes/events/streams/get"
)

// Log is one stream. The stream must exist, with direct get allowed.
type Log struct {
	js     jetstream.JetStream
	stream string
	decode decoder
}

// decoder makes a record of a stored message.
type decoder func(subject string, sequence uint64, header nats.Header, data []byte) (events.Record, error)

var _ log.Log = (*Log)(nil)

// New returns the log that the stream keeps. It does no I/O.
func New(js jetstream.JetStream, stream string) *Log {
	return &Log{js: js, stream: stream, decode: record}
}

// Head implements log.Log. It asks the stream's leader, never a replica.
func (l *Log) Head(ctx context.Context, subject string) (uint64, error) {
	last, err := get.LeaderLast(ctx, l.js, l.stream, subject)
	if errors.Is(err, get.ErrNone) {
		return 0, nil
	}
	if err != nil {
		return 0, l.failed(err)
	}
	return last.Sequence, nil
}

// failed names a closed connection; every other error passes.
func (l *Log) failed(err error) error {
	if l.js.Conn().IsClosed() {
		return fmt.Errorf("%w: %w", log.ErrClosed, err)
	}
	return err
}

func record(subject string, sequence uint64, header nats.Header, data []byte) (events.Record, error) {
	event, err := events.DecodeFrom(header, data)
	if err == nil {
		return events.Record{Event: event, Subject: subject, Sequence: sequence}, nil
	}
	m := events.Message{Header: make(map[string]string, len(header)), Data: data}
	for key := range header {
		m.Header[key] = header.Get(key)
	}
	return log.Decode(subject, sequence, m)
}
