package watcher

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hermes-serverless/hermes/events/streams"
	"github.com/hermes-serverless/hermes/services/api"
)

// kvLease is the leaseStore on JetStream. A KV client's Update carries no TTL, so a renewal is
// published to the bucket's subject.
type kvLease struct {
	js   jetstream.JetStream
	kv   jetstream.KeyValue
	name string
	ttl  time.Duration
}

// Codes of a refused expectation: a lone server's, a cluster's.
const (
	codeWrongLast         jetstream.ErrorCode = 10071
	codeWrongLastInFlight jetstream.ErrorCode = 10164
)

// openLease finds the bucket. It waits for a server that does not answer yet, or is not set up
// yet, until the context ends.
func openLease(ctx context.Context, js jetstream.JetStream, name string, ttl time.Duration, log *slog.Logger) (*kvLease, error) {
	for tries := 0; ; tries++ {
		kv, err := js.KeyValue(ctx, streams.BucketLeases)
		if err == nil {
			return &kvLease{js: js, kv: kv, name: name, ttl: ttl}, nil
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if tries%8 == 3 {
			log.Warn("the bucket of leases cannot be opened yet", "err", err)
		}
		if !pause(ctx, askBackoff(tries, err)) {
			return nil, ctx.Err()
		}
	}
}

func (s *kvLease) get(ctx context.Context) (api.Lease, uint64, error) {
	var lease api.Lease
	entry, err := s.kv.Get(ctx, api.LeaseKey(s.name))
	switch {
	case errors.Is(err, jetstream.ErrKeyNotFound):
		return lease, 0, errNoLease
	case err != nil:
		return lease, 0, fmt.Errorf("read the lease: %w", err)
	}
	if err := json.Unmarshal(entry.Value(), &lease); err != nil {
		return lease, 0, fmt.Errorf("read the lease: %w", err)
	}
	return lease, entry.Revision(), nil
}

func (s *kvLease) create(ctx context.Context, l api.Lease) (uint64, error) {
	raw, err := json.Marshal(l)
	if err != nil {
		return 0, err
	}
	revision, err := s.kv.Create(ctx, api.LeaseKey(s.name), raw, jetstream.KeyTTL(s.ttl))
	if errors.Is(err, jetstream.ErrKeyExists) {
		return 0, errLeaseMoved
	}
	return revision, moved("create the lease", err)
}

func (s *kvLease) update(ctx context.Context, l api.Lease, revision uint64) (uint64, error) {
	raw, err := json.Marshal(l)
	if err != nil {
		return 0, err
	}
	m := nats.NewMsg(s.subject())
	m.Data = raw
	ack, err := s.js.PublishMsg(ctx, m,
		jetstream.WithMsgTTL(s.ttl), jetstream.WithExpectLastSequencePerSubject(revision))
	if err != nil {
		return 0, moved("renew the lease", err)
	}
	return ack.Sequence, nil
}

// subject is where a KV client puts the key: behind the API's prefix if there is one.
func (s *kvLease) subject() string {
	subject := streams.BucketSubject(streams.BucketLeases, api.LeaseKey(s.name))
	if prefix := s.js.Options().APIPrefix; prefix != "" {
		return prefix + "." + subject
	}
	return subject
}

func (s *kvLease) remove(ctx context.Context, revision uint64) error {
	err := s.kv.Delete(ctx, api.LeaseKey(s.name), jetstream.LastRevision(revision))
	return moved("remove the lease", err)
}

func moved(what string, err error) error {
	var refused *jetstream.APIError
	if errors.As(err, &refused) && (refused.ErrorCode == codeWrongLast || refused.ErrorCode == codeWrongLastInFlight) {
		return errLeaseMoved
	}
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}
