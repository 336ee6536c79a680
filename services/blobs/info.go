package blobs

import (
	"context"
	"encoding/json"
	"errors"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/hermes-serverless/hermes/events/streams"
	"github.com/hermes-serverless/hermes/events/streams/get"
)

// info returns what is stored under a name, or jetstream.ErrObjectNotFound. In a cluster a replica answers,
// and that may be behind: what somebody was told a moment ago to be stored must be found all the same. So
// that there is nothing is the leader's word.
func (s *Store) info(ctx context.Context, name string) (*jetstream.ObjectInfo, error) {
	info, err := s.objects.GetInfo(ctx, name)
	if errors.Is(err, jetstream.ErrObjectNotFound) {
		return s.leaderInfo(ctx, name)
	}
	return info, err
}

func (s *Store) leaderInfo(ctx context.Context, name string) (*jetstream.ObjectInfo, error) {
	m, err := get.LeaderLast(ctx, s.js, streams.BlobsStream(s.bucket), s.infoSubject(name))
	if errors.Is(err, get.ErrNone) {
		return nil, jetstream.ErrObjectNotFound
	}
	if err != nil {
		return nil, err
	}
	info := &jetstream.ObjectInfo{}
	if err := json.Unmarshal(m.Data, info); err != nil {
		return nil, err
	}
	if info.Deleted {
		return nil, jetstream.ErrObjectNotFound
	}
	return info, nil
}
