package projector

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/synadia-io/orbit.go/jetstreamext"

	"github.com/hermes-serverless/hermes/events/streams"
	"github.com/hermes-serverless/hermes/events/streams/consume"
	"github.com/hermes-serverless/hermes/events/streams/get"
	"github.com/hermes-serverless/hermes/projections"
)

// errConflict: the checkpoint is not where this projector left it. Another one is at work.
var errConflict = errors.New("the checkpoint was moved by somebody else")

// errTooLarge: the server takes fewer keys in one commit. Nothing was written.
var errTooLarge = errors.New("the commit is too large")

// store is a bucket, as a projector uses it. A test puts a failing one in its place.
type store interface {
	// snapshot returns the values of the keys and the checkpoint as they stood together. A key
	// that has no value is left out. A replica may answer that is behind: the revision shows it.
	snapshot(ctx context.Context, keys []string) (snapshot, error)
	// commit writes the keys (nil deletes) and the checkpoint, all or nothing, if the checkpoint's
	// revision still is the given one, and returns its new revision. Else it is errConflict; errTooLarge if
	// it is of more keys than the bucket takes, which is maxKeys at least.
	commit(ctx context.Context, writes map[string][]byte, checkpoint, revision uint64) (uint64, error)
	// empty reports whether there is nothing in it, no marker either, as its leader knows it.
	empty(ctx context.Context) (bool, error)
	// keys returns every key below the prefix, which ends with a dot, that has a value, in no order.
	keys(ctx context.Context, prefix string) ([]string, error)
	// each calls f with every key that has a value and with that, the checkpoint left out, in no
	// order. A key that is written meanwhile may come with its old value, its new one or both.
	each(ctx context.Context, f func(key string, value []byte) error) error
	// oldest calls f with every key below the prefix that has a value, in the order in which the values
	// were written, until f says false. The sequence grows.
	oldest(ctx context.Context, prefix string, f func(sequence uint64, key string, value []byte) (bool, error)) error
}

type snapshot struct {
	values map[string][]byte
	// checkpoint is the last applied sequence, 0 before the first.
	checkpoint uint64
	// revision is what a commit must expect, 0 before the first.
	revision uint64
	// bad is what the checkpoint holds if that is no number.
	bad string
}

// bucketStore keeps the keys in a NATS KV bucket.
type bucketStore struct {
	js     jetstream.JetStream
	bucket string
	// passing are the prefixes of keys of whose deletion nothing is to stay.
	passing []string
}

// markerTTL is how long the marker of a deleted passing key stays: as short as the server allows,
// because every execution that ends leaves one, and a reader of all active keys has to pass them.
// Any other key's stays for ever: without it, a crash of the server could bring the value back.
const markerTTL = time.Second

// commitTimeout bounds a commit: an answer that a failing server took along never comes, and the
// next session reads whether it happened.
const commitTimeout = 10 * time.Second

func (s bucketStore) subject(key string) string { return streams.BucketSubject(s.bucket, key) }

func (s bucketStore) stream() string { return streams.BucketStream(s.bucket) }

func (s bucketStore) snapshot(ctx context.Context, keys []string) (snapshot, error) {
	filters := make([]string, 0, len(keys)+1)
	for _, key := range append(keys[:len(keys):len(keys)], projections.KeyCheckpoint) {
		filters = append(filters, s.subject(key))
	}
	messages, err := get.Snapshot(ctx, s.js, s.stream(), filters)
	if err != nil {
		return snapshot{}, err
	}
	snap := snapshot{values: make(map[string][]byte, len(messages))}
	prefix := s.subject("")
	for _, m := range messages {
		if IsMarker(m.Header) {
			continue
		}
		key := strings.TrimPrefix(m.Subject, prefix)
		if key != projections.KeyCheckpoint {
			snap.values[key] = m.Data
			continue
		}
		snap.revision = m.Sequence
		if snap.checkpoint, err = strconv.ParseUint(string(m.Data), 10, 64); err != nil {
			snap.bad = string(m.Data)
		}
	}
	return snap, nil
}

func (s bucketStore) commit(ctx context.Context, writes map[string][]byte, checkpoint, revision uint64) (uint64, error) {
	messages := make([]*nats.Msg, 0, len(writes)+1)
	for key, value := range writes {
		m := &nats.Msg{Subject: s.subject(key), Header: nats.Header{}, Data: value}
		if value == nil {
			m.Header.Set(kvOperation, "DEL")
			if s.passes(key) {
				m.Header.Set(jetstream.MsgTTLHeader, markerTTL.String())
			}
		}
		messages = append(messages, m)
	}
	last := &nats.Msg{
		Subject: s.subject(projections.KeyCheckpoint), Header: nats.Header{},
		Data: strconv.AppendUint(nil, checkpoint, 10),
	}
	last.Header.Set(jetstream.ExpectedLastSubjSeqHeader, strconv.FormatUint(revision, 10))
	sequence, err := s.publish(ctx, append(messages, last))
	switch {
	case streams.IsConflict(err):
		return 0, errConflict
	case streams.IsTooLarge(err):
		return 0, fmt.Errorf("%w: %d keys of %s", errTooLarge, len(writes), s.bucket)
	}
	if err != nil {
		return 0, fmt.Errorf("write %d keys of %s at checkpoint %d: %w", len(writes), s.bucket, checkpoint, err)
	}
	return sequence, nil
}

func (s bucketStore) passes(key string) bool {
	return slices.ContainsFunc(s.passing, func(prefix string) bool { return strings.HasPrefix(key, prefix) })
}

// publish stores all messages or none, and returns the last one's sequence.
func (s bucketStore) publish(ctx context.Context, messages []*nats.Msg) (uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, commitTimeout)
	defer cancel()
	if len(messages) == 1 {
		ack, err := s.js.PublishMsg(ctx, messages[0])
		if err != nil {
			return 0, err
		}
		return ack.Sequence, nil
	}
	// To wait for the first one's own answer would cost a round trip, and tell nothing that the last's does not.
	ack, err := jetstreamext.PublishMsgBatch(ctx, s.js, messages, jetstreamext.BatchFlowControl{})
	if err != nil {
		return 0, err
	}
	return ack.Sequence, nil
}

func (s bucketStore) empty(ctx context.Context) (bool, error) {
	_, err := get.LeaderLast(ctx, s.js, s.stream(), ">")
	if errors.Is(err, get.ErrNone) {
		return true, nil
	}
	return false, err
}

func (s bucketStore) keys(ctx context.Context, under string) ([]string, error) {
	seen := map[string]bool{}
	err := s.messages(ctx, s.subject(under+">"), func(key string, m consume.Message) error {
		seen[key] = !IsMarker(m.Header)
		return nil
	})
	keys := make([]string, 0, len(seen))
	for key, present := range seen {
		if present {
			keys = append(keys, key)
		}
	}
	return keys, err
}

func (s bucketStore) each(ctx context.Context, f func(key string, value []byte) error) error {
	return s.messages(ctx, "", func(key string, m consume.Message) error {
		if IsMarker(m.Header) {
			return nil
		}
		return f(key, m.Data)
	})
}

// errEnough ends a look at messages.
var errEnough = errors.New("enough")

func (s bucketStore) oldest(ctx context.Context, prefix string, f func(sequence uint64, key string, value []byte) (bool, error)) error {
	err := s.messages(ctx, s.subject(prefix+">"), func(key string, m consume.Message) error {
		if IsMarker(m.Header) {
			return nil
		}
		more, err := f(m.Sequence, key, m.Data)
		if err == nil && !more {
			err = errEnough
		}
		return err
	})
	if errors.Is(err, errEnough) {
		return nil
	}
	return err
}

// messages calls f with what is stored below the filter (empty: all), the checkpoint left out.
func (s bucketStore) messages(ctx context.Context, filter string, f func(key string, m consume.Message) error) error {
	last, err := get.LeaderLast(ctx, s.js, s.stream(), cmp.Or(filter, ">"))
	if errors.Is(err, get.ErrNone) {
		return nil
	}
	if err != nil {
		return err
	}
	prefix := s.subject("")
	stream := consume.Stream{JS: s.js, Name: s.stream(), Filter: filter}
	return stream.Each(ctx, 1, last.Sequence, func(m consume.Message) error {
		if key := strings.TrimPrefix(m.Subject, prefix); key != projections.KeyCheckpoint {
			return f(key, m)
		}
		return nil
	})
}

const kvOperation = "KV-Operation"

// IsMarker reports whether a stored message says that its key has no value any more.
func IsMarker(h nats.Header) bool {
	return h.Get(kvOperation) != "" || h.Get("Nats-Marker-Reason") != ""
}
