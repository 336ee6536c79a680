package output

import (
	"context"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hermes-serverless/hermes/services/api"
	"github.com/hermes-serverless/hermes/services/watcher/gate"
)

// sent is a chunk under way.
type sent struct {
	part
	offset int64
	future jetstream.PubAckFuture
	err    error // set when there is no future
}

// sender publishes chunks and keeps each until it is acknowledged. It belongs to one goroutine,
// but for what says otherwise.
type sender struct {
	// transport is the one in use, bulk the one that is used when much was sent.
	transport, bulk transport
	isBulk          bool
	// held are parts that wait: for the change from one to the other, as what was sent must be stored
	// first, or at the gate.
	held []part
	// gate slows bulk down, as the owner's. passed tells it that the chunk under way is stored; nil: it
	// does not ask.
	gate   *gate.Gate
	owner  string
	passed func()

	subject string
	ref     api.AttemptRef
	// name begins the message ids.
	name    string
	release func(int64)
	sum     sum

	unacked []*sent
	offset  int64
	trouble trouble
	// series is part of the message ids. It is raised when chunks must stand in the stream once
	// more behind what stands there, which the server would otherwise drop as duplicates.
	series int
	why    atomic.Pointer[string] // why it gave up; any goroutine may look
}

// discards reports whether nothing will be stored any more.
func (s *sender) discards() bool { return s.why.Load() != nil }

func (s *sender) gaveUp() string {
	if why := s.why.Load(); why != nil {
		return *why
	}
	return ""
}

// giveUp forgets what is not stored and lets writers go on.
func (s *sender) giveUp(why string) {
	if s.why.CompareAndSwap(nil, &why) {
		for _, c := range s.unacked {
			s.release(c.cost())
		}
		for _, p := range s.held {
			s.release(p.cost())
		}
		s.unacked, s.held = nil, nil
		s.tellPassed()
	}
}

// pass asks the gate, where the machine is shared. While it is closed, wait is when to ask again, 0 when
// something was acknowledged.
func (s *sender) pass() (isOpen bool, wait time.Duration) {
	if !s.gate.IsShared(s.owner) {
		return true, 0
	}
	if len(s.unacked) > 0 {
		return false, 0
	}
	s.passed, wait = s.gate.Begin(s.owner)
	return s.passed != nil, wait
}

// tellPassed tells the gate that its chunk is no longer under way.
func (s *sender) tellPassed() {
	if s.passed != nil {
		s.passed()
		s.passed = nil
	}
}

// publish sends parts in order, behind those that are held. It is called again when something was
// acknowledged, or after wait if that is not 0.
func (s *sender) publish(parts []part) (wait time.Duration) {
	parts, s.held = append(s.held, parts...), nil
	for i, p := range parts {
		if s.discards() {
			s.release(p.cost())
			continue
		}
		if !s.isBulk && s.offset >= bulkAfter {
			if len(s.unacked) > 0 {
				s.held = parts[i:]
				return 0
			}
			s.transport, s.isBulk = s.bulk, true
		}
		if s.isBulk {
			if isOpen, wait := s.pass(); !isOpen {
				s.held = parts[i:]
				return wait
			}
		}
		c := &sent{part: p, offset: s.offset}
		s.offset += int64(len(p.data))
		s.unacked = append(s.unacked, c)
		// Behind one that failed at once nothing is sent: it would only have to be repeated.
		if n := len(s.unacked); n > 1 && s.unacked[n-2].err != nil {
			c.err = s.unacked[n-2].err
			continue
		}
		c.future, c.err = s.transport.send(s.message(c))
	}
	return 0
}

func (s *sender) message(c *sent) *nats.Msg {
	chunk := api.Chunk{Attempt: s.ref.Attempt, Stream: c.stream, Offset: c.offset, Time: c.at, Data: c.data}
	m := chunk.Message(s.subject, s.name)
	if s.series > 0 {
		m.Header.Set(nats.MsgIdHdr, m.Header.Get(nats.MsgIdHdr)+"."+strconv.Itoa(s.series))
	}
	return m
}

// head returns the channels on which the oldest chunk's fate arrives, nil when there is none; a
// chunk that failed at once is told by failed.
func (s *sender) head() (ok <-chan *jetstream.PubAck, bad <-chan error, failed error) {
	if len(s.unacked) == 0 {
		return nil, nil, nil
	}
	c := s.unacked[0]
	if c.future == nil {
		return nil, nil, c.err
	}
	return c.future.Ok(), c.future.Err(), nil
}

// acked counts the oldest chunk as stored.
func (s *sender) acked() {
	c := s.unacked[0]
	s.unacked[0] = nil
	s.unacked = s.unacked[1:]
	s.sum.add(c.stream, c.data)
	s.release(c.cost())
	s.tellPassed()
	s.trouble = trouble{}
}

// repair is called when the oldest chunk has failed. It learns what became of the others, waits,
// and sends again, in order, from the oldest on.
func (s *sender) repair(ctx context.Context, cause error) {
	if why := s.trouble.note(cause, time.Now()); why != "" {
		s.giveUp(why)
		return
	}
	later := false
	for _, c := range s.unacked[1:] {
		possible, alive := settled(ctx, c)
		later = later || possible
		if !alive {
			break
		}
	}
	if later {
		s.series++
	}
	if !pause(ctx, s.trouble.backoff()) {
		s.giveUp(stoppedEarly)
		return
	}
	var err error
	for _, c := range s.unacked {
		if c.future = nil; err == nil {
			c.future, err = s.transport.send(s.message(c))
		}
		c.err = err
	}
}

// settled waits for a chunk's fate: whether it may be stored, and whether the context still lives.
// A failure that no server has uttered leaves it open: what was sent while the connection was going
// down may be delivered when it is up again, long after the client has given up on its answer.
func settled(ctx context.Context, c *sent) (possiblyStored, alive bool) {
	if c.future == nil {
		return false, true
	}
	select {
	case <-c.future.Ok():
		return true, true
	case err := <-c.future.Err():
		return classify(err) == silence, true
	case <-ctx.Done():
		return false, false
	}
}
