package watcher

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/events/streams"
)

const (
	// ackWait is how long the server waits for a word about a request before it sends it again.
	ackWait = 30 * time.Second
	// pullMessages bounds what the client fetches ahead. A request is at most some kilobytes.
	pullMessages = 16
)

// pull takes run requests until the context ends, whatever happens to the server meanwhile.
func (w *Watcher) pull(ctx context.Context) {
	select {
	case <-w.greeted:
	case <-ctx.Done():
		return
	}
	for tries := 0; ctx.Err() == nil; tries++ {
		took, err := w.pullOnce(ctx)
		if took {
			tries = 0
		}
		if ctx.Err() == nil {
			w.Log.Warn("run requests cannot be taken; trying again", "err", err)
			pause(ctx, min(minAskBackoff<<min(tries, 10), maxAskBackoff))
		}
	}
}

// pullOnce takes requests until the consumer fails or the context ends.
func (w *Watcher) pullOnce(ctx context.Context) (took bool, err error) {
	js, err := jetstream.New(w.Conn)
	if err != nil {
		return false, err
	}
	consumer, err := js.CreateOrUpdateConsumer(ctx, streams.Runs, jetstream.ConsumerConfig{
		Durable:       "watcher-" + w.Name,
		FilterSubject: events.RunSubject(w.Name, ">"),
		AckPolicy:     jetstream.AckExplicitPolicy,
		AckWait:       ackWait,
		MaxDeliver:    -1,
		MaxAckPending: w.MaxHeld + pullMessages,
	})
	if err != nil {
		return false, fmt.Errorf("make the consumer of run requests: %w", err)
	}
	messages, err := consumer.Messages(jetstream.PullMaxMessages(pullMessages))
	if err != nil {
		return false, fmt.Errorf("pull run requests: %w", err)
	}
	defer giveBack(messages)
	for {
		if err := w.places.Acquire(ctx, 1); err != nil {
			return took, err
		}
		m, err := messages.Next(jetstream.NextContext(ctx))
		switch {
		case err == nil:
			took = true
			w.take(m)
			continue
		case errors.Is(err, jetstream.ErrNoHeartbeat):
			// The connection is down, or the server: the client pulls again by itself.
			w.places.Release(1)
			continue
		}
		w.places.Release(1)
		return took, err
	}
}

// giveBack hands what was fetched and not looked at to whoever comes next.
func giveBack(messages jetstream.MessagesContext) {
	messages.Drain()
	for {
		m, err := messages.Next(jetstream.NextMaxWait(time.Second))
		if err != nil {
			messages.Stop()
			return
		}
		_ = m.Nak() // without it the server waits for ackWait, no more
	}
}

// take starts to work on a request. The caller has taken a place for it.
func (w *Watcher) take(m jetstream.Msg) {
	request, err := parseRequest(m, w.Name)
	if err != nil {
		w.places.Release(1)
		w.Log.Error("a run request is of no use and was thrown away", "subject", m.Subject(), "err", err)
		_ = m.TermWithReason(err.Error())
		return
	}
	a := newAttempt(request, streamSequence(m), time.Now())
	if there, added := w.held.add(a); !added {
		w.places.Release(1)
		// The same message again, not yet claimed, is acknowledged when the first is.
		if there.isGranted() || there.message != a.message {
			w.ack(m)
		}
		return
	}
	w.serving.Go(func() {
		if stuck := w.serve(a, m); !stuck {
			w.places.Release(1)
		}
	})
}

func streamSequence(m jetstream.Msg) uint64 {
	meta, err := m.Metadata()
	if err != nil {
		return 0
	}
	return meta.Sequence.Stream
}
