package orchestrator

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/hermes-serverless/hermes/services/api"
)

const (
	leaderKey      = "leader.orchestrator"
	leaderLeaseTTL = 6 * time.Second
)

// leadership is the right to be the leader, held in the leases bucket until it runs out.
type leadership struct {
	kv       jetstream.KeyValue
	js       jetstream.JetStream
	id       string
	revision uint64
	// until is when it runs out unless it is renewed, by this machine's monotonic clock.
	until time.Time
}

// acquire returns the leadership, or nil while somebody else holds it.
func acquire(ctx context.Context, js jetstream.JetStream, kv jetstream.KeyValue) (*leadership, error) {
	l := &leadership{kv: kv, js: js, id: api.NewID(), until: time.Now().Add(leaderLeaseTTL)}
	revision, err := kv.Create(ctx, leaderKey, []byte(l.id), jetstream.KeyTTL(leaderLeaseTTL))
	switch {
	case errors.Is(err, jetstream.ErrKeyExists):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("acquire the leader's lease: %w", err)
	}
	l.revision = revision
	return l, nil
}

// renew prolongs it. A KV update carries no TTL, so the message is published as the bucket keeps it.
func (l *leadership) renew(ctx context.Context) error {
	until := time.Now().Add(leaderLeaseTTL)
	ack, err := l.js.Publish(ctx, "$KV."+l.kv.Bucket()+"."+leaderKey, []byte(l.id),
		jetstream.WithExpectLastSequencePerSubject(l.revision), jetstream.WithMsgTTL(leaderLeaseTTL))
	if err != nil {
		return fmt.Errorf("renew the leader's lease: %w", err)
	}
	l.revision, l.until = ack.Sequence, until
	return nil
}

// keep renews until the context ends or the lease cannot be held, and then gives it up.
func (l *leadership) keep(ctx context.Context) error {
	tick := time.NewTicker(leaderLeaseTTL / 3)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			l.release(context.WithoutCancel(ctx))
			return ctx.Err()
		case <-tick.C:
		}
		try, cancel := context.WithTimeout(ctx, leaderLeaseTTL/3)
		err := l.renew(try)
		cancel()
		if err != nil && ctx.Err() == nil && time.Now().Add(leaderLeaseTTL/3).After(l.until) {
			return err
		}
	}
}

// release lets the next leader begin at once.
func (l *leadership) release(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	_ = l.kv.Delete(ctx, leaderKey, jetstream.LastRevision(l.revision))
}
