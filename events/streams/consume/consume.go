// Package consume reads stored messages through consumers: many of them, in order, without a gap or a
// duplicate however often the connection is lost meanwhile.
package consume

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

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
	// lookAgain is how long a pull of a consumer in a cluster lasts, and half of it how often that
	// consumer says that it lives. The consumer may be on a server that lags behind the others and is
	// sent what it missed, which wakes no consumer: it sees that only when it is asked for more.
	lookAgain = 3 * time.Second
	// abandonedAfter is when the server removes the consumer of a reader that is gone.
	abandonedAfter = time.Minute
	// idleLook and followLook are how often it is looked whether anything is left when nothing comes, by
	// who reads to an end and by who follows, who waits most of the time.
	idleLook, followLook = 250 * time.Millisecond, 5 * time.Second
	// maxRetryWait bounds the wait between two tries to make a consumer.
	maxRetryWait = 2 * time.Second
)

// Stream is what is read.
type Stream struct {
	JS   jetstream.JetStream
	Name string
	// Filter is one subject or a wildcard; empty is the whole stream.
	Filter string
	// HeadersOnly leaves the data out.
	HeadersOnly bool
}

// Message is a stored message.
type Message struct {
	Subject  string
	Sequence uint64
	Header   nats.Header
	Data     []byte
}

// errEnded: nothing is left that was to be read. errStuck: something is, and does not come.
var (
	errEnded = errors.New("nothing is left")
	errStuck = errors.New("the consumer does not deliver what is there")
)

// cursor is how far a reader has come.
type cursor struct {
	// next is the first sequence that was not taken.
	next atomic.Uint64
	// taking is set while take is at work.
	taking atomic.Bool
	// until is the last sequence to read, 0 for no end.
	until uint64
	take  func(Message) error
}

// Each calls take with every message with a sequence in [from, until], for ever if until is 0, over as
// many consumers as it takes. It returns nil at the end, the error of take, the context's error or
// nats.ErrConnectionClosed; and where there is an end, what the server says that it will not do.
func (s Stream) Each(ctx context.Context, from, until uint64, take func(Message) error) error {
	reconnected := s.JS.Conn().StatusChanged(nats.CONNECTED, nats.CLOSED)
	defer s.JS.Conn().RemoveStatusListener(reconnected)

	c := &cursor{until: until, take: take}
	c.next.Store(max(from, 1))
	for wait := time.Millisecond; ; wait = min(2*wait, maxRetryWait) {
		before := c.next.Load()
		done, err := s.session(ctx, c)
		switch {
		case done:
			return err
		case ctx.Err() != nil:
			return ctx.Err()
		case s.JS.Conn().IsClosed():
			return nats.ErrConnectionClosed
		case errors.Is(err, jetstream.ErrStreamNotFound) || c.until != 0 && isAPIError(err):
			// Who reads to an end is told what the server will not do; who follows waits until it will.
			return err
		}
		if c.next.Load() > before {
			wait = time.Millisecond
		}
		select {
		case <-time.After(wait):
		case <-reconnected:
		case <-ctx.Done():
		}
	}
}

// watch looks what is left when nothing comes, and ends a session that waits in vain. What was to be read
// last may have been removed before it was delivered. And a client that had no room for what was delivered
// drops it: the consumer, which has delivered it, says for ever that it lives.
func (s Stream) watch(ctx context.Context, c *cursor, end context.CancelCauseFunc) {
	every := idleLook
	if c.until == 0 {
		every = followLook
	}
	look := time.NewTicker(every)
	defer look.Stop()
	idle := time.Duration(0)
	for before := c.next.Load(); ; {
		select {
		case <-look.C:
		case <-ctx.Done():
			return
		}
		if now := c.next.Load(); now > before || c.taking.Load() {
			before, idle = now, 0
			continue
		}
		switch left, err := s.left(ctx, c); {
		case err != nil: // perhaps the next time
		case left:
			// It may have come a moment ago: it is found twice.
			if idle += every; idle > followLook {
				end(errStuck)
			}
		case c.until != 0:
			end(errEnded)
		}
	}
}

func isAPIError(err error) bool {
	var api *jetstream.APIError
	return errors.As(err, &api)
}

// session takes what one consumer delivers. It ends (not done) when the consumer may have
// missed something: the next one starts where this one got to.
func (s Stream) session(ctx context.Context, c *cursor) (done bool, err error) {
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	messages, stop, err := s.open(ctx, c.next.Load())
	if err != nil {
		return false, err
	}
	defer stop()
	go s.watch(ctx, c, end)
	for delivered := uint64(1); ; delivered++ {
		msg, err := messages.Next(jetstream.NextContext(ctx))
		if err != nil {
			return errors.Is(context.Cause(ctx), errEnded), nil
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
		c.next.Store(meta.Sequence.Stream + 1)
		c.taking.Store(true)
		err = c.take(Message{Subject: msg.Subject(), Sequence: meta.Sequence.Stream, Header: msg.Headers(), Data: msg.Data()})
		c.taking.Store(false)
		if err != nil {
			return true, err
		}
		if c.until == 0 || meta.Sequence.Stream < c.until && meta.NumPending > 0 {
			continue
		}
		// What stood between this one and the last may have been removed.
		if left, err := s.left(ctx, c); !left || err != nil {
			return err == nil, err
		}
	}
}

// left reports whether anything is stored that is still to be read.
func (s Stream) left(ctx context.Context, c *cursor) (bool, error) {
	from := c.next.Load()
	if c.until != 0 && from > c.until {
		return false, nil
	}
	next, err := get.LeaderNext(ctx, s.JS, s.Name, cmp.Or(s.Filter, ">"), from)
	if errors.Is(err, get.ErrNone) {
		return false, nil
	}
	return err == nil && (c.until == 0 || next.Sequence <= c.until), err
}

// open makes a consumer that delivers from the sequence on. A reconnect ends its messages: it may
// be gone with the server that it was on.
func (s Stream) open(ctx context.Context, from uint64) (jetstream.MessagesContext, func(), error) {
	// From here on: a consumer that is made on one connection may be gone on the next.
	nc := s.JS.Conn()
	status := nc.StatusChanged(nats.CONNECTED, nats.CLOSED)
	messages, name, err := s.make(ctx, from)
	if err != nil {
		nc.RemoveStatusListener(status)
		return nil, nil, err
	}
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
		s.forget(name)
	}, nil
}

// make makes a consumer and begins to pull from it.
func (s Stream) make(ctx context.Context, from uint64) (messages jetstream.MessagesContext, name string, err error) {
	create, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	consumer, err := s.JS.CreateConsumer(create, s.Name, jetstream.ConsumerConfig{
		DeliverPolicy:     jetstream.DeliverByStartSequencePolicy,
		OptStartSeq:       from,
		FilterSubject:     s.Filter,
		HeadersOnly:       s.HeadersOnly,
		AckPolicy:         jetstream.AckNonePolicy,
		InactiveThreshold: abandonedAfter,
		MemoryStorage:     true,
		Replicas:          1,
	})
	if err != nil {
		return nil, "", err
	}
	name = consumer.CachedInfo().Name
	defer func() {
		if err != nil {
			s.forget(name)
		}
	}()
	if err := s.reach(create, name); err != nil {
		return nil, "", err
	}
	options := []jetstream.PullMessagesOpt{
		jetstream.PullMaxMessagesWithBytesLimit(pullMessages, pullBytes),
		jetstream.PullHeartbeat(heartbeat), jetstream.WithMessagesErrOnMissingHeartbeat(true),
	}
	if consumer.CachedInfo().Cluster != nil {
		options = append(options, jetstream.PullExpiry(lookAgain), jetstream.PullHeartbeat(lookAgain/2))
	}
	messages, err = consumer.Messages(options...)
	return messages, name, err
}

// reach returns when the consumer hears what is sent from here. In a cluster it may be on another
// server, of whose interest this one is told on another way than of the consumer, and perhaps later: a
// pull that is too early finds no responders, which the iterator takes for silence until heartbeats are
// missed. What is sent is a pull that the consumer must refuse, so that nothing is delivered.
func (s Stream) reach(ctx context.Context, consumer string) error {
	const refused = `{"batch":1,"expires":1,"idle_heartbeat":1}`
	subject := get.APISubject(s.JS, "CONSUMER.MSG.NEXT."+s.Name+"."+consumer)
	for wait := time.Millisecond; ; wait *= 2 {
		_, err := s.JS.Conn().RequestWithContext(ctx, subject, []byte(refused))
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
func (s Stream) forget(consumer string) {
	_ = s.JS.Conn().Publish(get.APISubject(s.JS, "CONSUMER.DELETE."+s.Name+"."+consumer), nil)
}
