package blobs

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/hermes-serverless/hermes/events/streams"
	"github.com/hermes-serverless/hermes/events/streams/get"
)

// lagTimeout is how long a watcher looks for what a replica may not have heard of yet.
const lagTimeout = 2 * time.Second

// info returns what is stored under a name, or jetstream.ErrObjectNotFound. In a cluster a replica answers,
// and that may be behind: what somebody was told a moment ago to be stored must be found all the same. So
// that there is nothing is the leader's word, or, where that must not be asked, what the replicas still say
// after a while.
func (s *Store) info(ctx context.Context, name string) (*jetstream.ObjectInfo, error) {
	for since := time.Now(); ; {
		info, err := s.objects.GetInfo(ctx, name)
		switch {
		case !errors.Is(err, jetstream.ErrObjectNotFound):
			return info, err
		case !s.confined:
			return s.leaderInfo(ctx, name)
		case time.Since(since) > lagTimeout:
			return nil, err
		}
		select {
		case <-time.After(stallPause):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
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
