package jslog

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/events/log"
	"github.com/hermes-serverless/hermes/events/streams/get"
)

const (
	// pullBytes keeps a window of large messages under the client's 64 MiB pending limit.
	pullBytes = 8 << 20
	// pullMessages bounds them in number: the client reserves a slot for each message of a pull, and
	// without a bound, that is 8 MiB for each that follows.
	pullMessages = 4096
	// heartbeat is how often an idle consumer says that it lives; twice that without a sign and
	// it is made anew.
	heartbeat = 5 * time.Second
	// abandonedAfter is when the server removes the consumer of a reader that is gone.
	abandonedAfter = time.Minute
	// maxRetryWait bounds the wait between two tries to make a consumer.
	maxRetryWait = 2 * time.Second
)

// Follow implements log.Log.
func (l *Log) Follow(ctx context.Context, filter string, from uint64) iter.Seq2[events.Record, error] {
	return func(yield func(events.Record, error) bool) {
		err := l.consume(ctx, filter, max(from, 1), 0, yield)
		switch {
		case errors.Is(err, errStop):
		case ctx.Err() != nil || errors.Is(err, log.ErrClosed):
			yield(events.Record{}, err)
		default:
			yield(events.Record{}, fmt.Errorf("follow %s of %s: %w", filter, l.stream, err))
		}
	}
}

// cursor is how far a consume has come.
type cursor struct {
	next uint64
	// until is the last sequence to yield, 0 for no end.
	until uint64
	yield func(events.Record, error) bool
}

// consume yields [from, until], or for ever if until is 0, over as many consumers as it takes.
// It returns nil at the end, errStop, the context's error or log.ErrClosed.
func (l *Log) consume(ctx context.Context, filter string, from, until uint64, yield func(events.Record, error) bool) error {
	reconnected := l.js.Conn().StatusChanged(nats.CONNECTED, nats.CLOSED)
	defer l.js.Conn().RemoveStatusListener(reconnected)

	c := &cursor{next: from, until: until, yield: yield}
	for wait := time.Millisecond; ; wait = min(2*wait, maxRetryWait) {
		before := c.next
		done, err := l.session(ctx, filter, c)
		switch {
		case done || errors.Is(err, errStop):
			return err
		case ctx.Err() != nil:
			return ctx.Err()
		case l.js.Conn().IsClosed():
			return log.ErrClosed
		case errors.Is(err, jetstream.ErrStreamNotFound) || c.until != 0 && isAPIError(err):
			// A read says what the server will not do; who follows waits until it will.
			return err
		}
		if c.next > before {
			wait = time.Millisecond
		}
		select {
		case <-time.After(wait):
		case <-reconnected:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func isAPIError(err error) bool {
	var api *jetstream.APIError
	return errors.As(err, &api)
}

// session yields what one consumer delivers. It ends (not done) when the consumer may have
// missed something: the next one starts where this one got to.
func (l *Log) session(ctx context.Context, filter string, c *cursor) (done bool, err error) {
	messages, stop, err := l.open(ctx, filter, c.next)
	if err != nil {
		return false, err
	}
	defer stop()
	for delivered := uint64(1); ; delivered++ {
		msg, err := messages.Next(jetstream.NextContext(ctx))
		if errors.Is(err, jetstream.ErrNoHeartbeat) && c.until != 0 {
			if gone, err := l.ended(ctx, filter, c); gone || err != nil {
				return gone, err
			}
		}
		if err != nil {
			return false, err
		}
		meta, err := msg.Metadata()
		if err != nil {
			return false, err
		}
		if meta.Sequence.Consumer != delivered {
			return false, fmt.Errorf("delivery %d follows %d", meta.Sequence.Consumer, delivered-1)
		}
		if c.until != 0 && meta.Sequence.Stream > c.until {
			return true, nil
		}
		c.next = meta.Sequence.Stream + 1
		if !c.yield(l.decode(msg.Subject(), meta.Sequence.Stream, msg.Headers(), msg.Data())) {
			return true, errStop
		}
		if c.until != 0 && c.next > c.until {
			return true, nil
		}
	}
}

// ended reports whether nothing is left up to until: what stood there was removed meanwhile.
func (l *Log) ended(ctx context.Context, filter string, c *cursor) (bool, error) {
	next, err := get.LeaderNext(ctx, l.js, l.stream, filter, c.next)
	if errors.Is(err, get.ErrNone) {
		return true, nil
	}
	return err == nil && next.Sequence > c.until, err
}

// open makes a consumer that delivers from the sequence on. A reconnect ends its messages: it may
// be gone with the server that it was on.
func (l *Log) open(ctx context.Context, filter string, from uint64) (jetstream.MessagesContext, func(), error) {
	create, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	consumer, err := l.js.CreateConsumer(create, l.stream, jetstream.ConsumerConfig{
		DeliverPolicy:     jetstream.DeliverByStartSequencePolicy,
		OptStartSeq:       from,
		FilterSubject:     filter,
		AckPolicy:         jetstream.AckNonePolicy,
		InactiveThreshold: abandonedAfter,
		MemoryStorage:     true,
		Replicas:          1,
	})
	if err != nil {
		return nil, nil, err
	}
	name := consumer.CachedInfo().Name
	if err := l.reach(create, name); err != nil {
		l.forget(name)
		return nil, nil, err
	}
	messages, err := consumer.Messages(jetstream.PullMaxMessagesWithBytesLimit(pullMessages, pullBytes),
		jetstream.PullHeartbeat(heartbeat), jetstream.WithMessagesErrOnMissingHeartbeat(true))
	if err != nil {
		return nil, nil, err
	}
	nc := l.js.Conn()
	status := nc.StatusChanged(nats.CONNECTED, nats.CLOSED)
	ended := make(chan struct{})
	go func() {
		select {
		case <-status:
			messages.Stop()
		case <-ended:
		}
		nc.RemoveStatusListener(status)
	}()
	return messages, func() {
		close(ended)
		messages.Stop()
		l.forget(name)
	}, nil
}

// reach returns when the consumer hears what is sent from here. In a cluster it may be on another
// server, of whose interest this one is told on another way than of the consumer, and perhaps later: a
// pull that is too early finds no responders, which the iterator takes for silence until heartbeats are
// missed. What is sent is a pull that the consumer must refuse, so that nothing is delivered.
func (l *Log) reach(ctx context.Context, consumer string) error {
	const refused = `{"batch":1,"expires":1,"idle_heartbeat":1}`
	subject := get.APISubject(l.js, "CONSUMER.MSG.NEXT."+l.stream+"."+consumer)
	for wait := time.Millisecond; ; wait *= 2 {
		_, err := l.js.Conn().RequestWithContext(ctx, subject, []byte(refused))
		if !errors.Is(err, nats.ErrNoResponders) {
			return err
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// forget removes a consumer. Nobody waits for the answer: if this is lost, the server removes it itself.
func (l *Log) forget(consumer string) {
	_ = l.js.Conn().Publish(get.APISubject(l.js, "CONSUMER.DELETE."+l.stream+"."+consumer), nil)
}
