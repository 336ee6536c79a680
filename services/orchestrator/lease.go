package orchestrator

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/hermes-serverless/hermes/events/streams"
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

// errLost: somebody else has it, or nobody.
var errLost = errors.New("it is no longer ours")

// renew prolongs it. A try of which no answer came may have prolonged it all the same: what stands there
// tells.
func (l *leadership) renew(ctx context.Context) error {
	err := l.publish(ctx)
	if streams.IsConflict(err) {
		if err = l.find(ctx); err == nil {
			err = l.publish(ctx)
		}
	}
	if err != nil {
		return fmt.Errorf("renew the leader's lease: %w", err)
	}
	return nil
}

// publish stores the lease anew. A KV update carries no TTL, so the message is published as the bucket
// keeps it.
func (l *leadership) publish(ctx context.Context) error {
	until := time.Now().Add(leaderLeaseTTL)
	ack, err := l.js.Publish(ctx, "$KV."+l.kv.Bucket()+"."+leaderKey, []byte(l.id),
		jetstream.WithExpectLastSequencePerSubject(l.revision), jetstream.WithMsgTTL(leaderLeaseTTL))
	if err == nil {
		l.revision, l.until = ack.Sequence, until
	}
	return err
}

// find looks the revision of the lease up; errLost if it is not this leader's.
func (l *leadership) find(ctx context.Context) error {
	entry, err := l.kv.Get(ctx, leaderKey)
	switch {
	case errors.Is(err, jetstream.ErrKeyNotFound):
		return errLost
	case err != nil:
		return err
	case string(entry.Value()) != l.id:
		return errLost
	}
	l.revision = entry.Revision()
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
		late := time.Now().Add(leaderLeaseTTL / 3).After(l.until)
		if err != nil && ctx.Err() == nil && (late || errors.Is(err, errLost)) {
			return err
		}
	}
}

// release lets the next leader begin at once. Without a connection there is nothing to wait for: the lease ends
// by itself.
func (l *leadership) release(ctx context.Context) {
	if !l.js.Conn().IsConnected() {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	_ = l.kv.Delete(ctx, leaderKey, jetstream.LastRevision(l.revision))
}
