package jslog

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/events/log"
	"github.com/hermes-serverless/hermes/events/streams/get"
)

// The codes by which the server refuses an expectation. A replicated stream answers the second
// and the third also while another append is on its way, so they prove nothing yet.
const (
	codeWrongLast         jetstream.ErrorCode = 10071
	codeWrongLastInFlight jetstream.ErrorCode = 10164
	codeDuplicateInFlight jetstream.ErrorCode = 10158
)

const (
	// settleTimeout bounds an append whose context has no deadline.
	settleTimeout = 10 * time.Second
	// ackTimeout bounds one try: an answer that a failing server took along never comes, and
	// trying again is safe.
	ackTimeout = 2 * time.Second
)

// Append implements log.Log. A refusal is believed only after the leader was asked what stands on
// the subject: the server refuses a repeated append just as it refuses a late one.
func (l *Log) Append(ctx context.Context, subject string, expected uint64, event events.Event) (uint64, error) {
	if err := log.CheckLiteral(subject); err != nil {
		return 0, err
	}
	stored, err := events.Encode(event)
	if err != nil {
		return 0, fmt.Errorf("append to %s: %w", subject, err)
	}
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, settleTimeout)
		defer cancel()
	}
	sequence, err := l.append(ctx, subject, expected, event.ID, stored)
	if err != nil && !errors.Is(err, log.ErrConflict) {
		return 0, l.failed(fmt.Errorf("append %s %s to %s of %s, expecting %d: %w",
			event.Data.Type(), event.ID, subject, l.stream, expected, err))
	}
	return sequence, err
}

func (l *Log) append(ctx context.Context, subject string, expected uint64, id string, m events.Message) (uint64, error) {
	for wait := time.Millisecond; ; wait = min(2*wait, 100*time.Millisecond) {
		ack, err := l.publish(ctx, subject, expected, m)
		if err == nil && !ack.Duplicate {
			return ack.Sequence, nil
		}
		if unanswered := errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil; unanswered {
			continue
		}
		if err != nil && !refused(err) {
			return 0, err
		}
		sequence, settled, err := l.settle(ctx, subject, expected, id)
		if settled || err != nil {
			return sequence, err
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
}

func (l *Log) publish(ctx context.Context, subject string, expected uint64, m events.Message) (*jetstream.PubAck, error) {
	ctx, cancel := context.WithTimeout(ctx, ackTimeout)
	defer cancel()
	msg := &nats.Msg{Subject: subject, Header: nats.Header{}, Data: m.Data}
	for key, value := range m.Header {
		msg.Header.Set(key, value)
	}
	return l.js.PublishMsg(ctx, msg,
		jetstream.WithExpectLastSequencePerSubject(expected), jetstream.WithExpectStream(l.stream))
}

func refused(err error) bool {
	var api *jetstream.APIError
	return errors.As(err, &api) && (api.ErrorCode == codeWrongLast ||
		api.ErrorCode == codeWrongLastInFlight || api.ErrorCode == codeDuplicateInFlight)
}

// settle asks the leader what became of a refused append: our event stands there (its sequence),
// another does (ErrConflict), or nothing has moved and the append can be repeated (not settled).
func (l *Log) settle(ctx context.Context, subject string, expected uint64, id string) (sequence uint64, settled bool, err error) {
	next, err := get.LeaderNext(ctx, l.js, l.stream, subject, expected+1)
	switch {
	case err == nil && next.Header.Get(events.HeaderMsgID) == id:
		return next.Sequence, true, nil
	case err != nil && !errors.Is(err, get.ErrNone):
		return 0, false, err
	}
	last, err := get.LeaderLast(ctx, l.js, l.stream, subject)
	switch {
	case errors.Is(err, get.ErrNone):
		if expected == 0 {
			return 0, false, nil
		}
		return 0, true, log.ErrConflict
	case err != nil:
		return 0, false, err
	case last.Header.Get(events.HeaderMsgID) == id:
		return last.Sequence, true, nil
	case last.Sequence == expected:
		return 0, false, nil
	}
	return 0, true, log.ErrConflict
}
