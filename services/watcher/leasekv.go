package watcher

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hermes-serverless/hermes/events/streams"
	"github.com/hermes-serverless/hermes/events/streams/get"
	"github.com/hermes-serverless/hermes/services/api"
)

// kvLease is the leaseStore on JetStream. A watcher may read and write its own key and nothing else: a KV
// client would ask what the bucket is, and hear with it who else has a lease.
type kvLease struct {
	js   jetstream.JetStream
	name string
	ttl  time.Duration
}

// Codes of a refused expectation: a lone server's, a cluster's.
const (
	codeWrongLast         jetstream.ErrorCode = 10071
	codeWrongLastInFlight jetstream.ErrorCode = 10164
)

func (s *kvLease) get(ctx context.Context) (api.Lease, uint64, error) {
	var lease api.Lease
	m, err := s.stored(ctx)
	switch {
	case err != nil:
		return lease, 0, fmt.Errorf("read the lease: %w", err)
	case m == nil || isDeleted(m):
		return lease, 0, errNoLease
	}
	if err := json.Unmarshal(m.Data, &lease); err != nil {
		return lease, 0, fmt.Errorf("read the lease: %w", err)
	}
	return lease, m.Sequence, nil
}

// stored is what stands under the key; nil if nothing does.
func (s *kvLease) stored(ctx context.Context) (*jetstream.RawStreamMsg, error) {
	key := streams.BucketSubject(streams.BucketLeases, api.LeaseKey(s.name))
	m, err := get.One(ctx, s.js, streams.BucketStream(streams.BucketLeases), key)
	if errors.Is(err, get.ErrNone) {
		return nil, nil
	}
	return m, err
}

// A KV client says so that a key is deleted.
const (
	operationHeader  = "KV-Operation"
	operationDeleted = "DEL"
)

func isDeleted(m *jetstream.RawStreamMsg) bool { return m.Header.Get(operationHeader) != "" }

// create makes the lease where there is none, or where one was deleted.
func (s *kvLease) create(ctx context.Context, l api.Lease) (uint64, error) {
	revision, err := s.put(ctx, "create the lease", l, 0)
	if !errors.Is(err, errLeaseMoved) {
		return revision, err
	}
	m, getErr := s.stored(ctx)
	switch {
	case getErr != nil:
		return 0, fmt.Errorf("create the lease: %w", getErr)
	case m != nil && isDeleted(m):
		return s.put(ctx, "create the lease", l, m.Sequence)
	}
	return 0, err
}

func (s *kvLease) update(ctx context.Context, l api.Lease, revision uint64) (uint64, error) {
	return s.put(ctx, "renew the lease", l, revision)
}

// put writes the lease in the place of this revision.
func (s *kvLease) put(ctx context.Context, what string, l api.Lease, revision uint64) (uint64, error) {
	raw, err := json.Marshal(l)
	if err != nil {
		return 0, err
	}
	m := nats.NewMsg(s.subject())
	m.Data = raw
	ack, err := s.js.PublishMsg(ctx, m,
		jetstream.WithMsgTTL(s.ttl), jetstream.WithExpectLastSequencePerSubject(revision))
	if err != nil {
		return 0, moved(what, err)
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
	m := nats.NewMsg(s.subject())
	m.Header.Set(operationHeader, operationDeleted)
	_, err := s.js.PublishMsg(ctx, m, jetstream.WithExpectLastSequencePerSubject(revision))
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
