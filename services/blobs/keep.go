package blobs

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/events/streams"
	"github.com/hermes-serverless/hermes/events/streams/get"
)

// MinGrace is the shortest time that content stays after it was last asked for, though nothing refers
// to it yet. What is about to refer to it has that long.
const MinGrace = time.Hour

// touchAfter is how old a name may be before it is renewed: well below MinGrace.
const touchAfter = MinGrace / 4

// Keep reports whether the content is stored, and keeps it from being collected for MinGrace. Whoever
// is about to record a reference to content that was there before asks first.
func (s *Store) Keep(ctx context.Context, digest string) (bool, error) {
	if err := events.CheckDigest(digest); err != nil {
		return false, err
	}
	for {
		kept, err := s.touch(ctx, objectName(digest), touchAfter)
		switch {
		case streams.IsConflict(err):
			continue // somebody else renewed it, or took it away: look again
		case err != nil:
			return false, fmt.Errorf("keep %s: %w", digest, err)
		}
		return kept, nil
	}
}

// touch stores an object's info anew, unless that is younger or has been taken away.
func (s *Store) touch(ctx context.Context, name string, after time.Duration) (bool, error) {
	info, err := get.LeaderLast(ctx, s.js, streams.BlobsStream(s.bucket), s.infoSubject(name))
	if errors.Is(err, get.ErrNone) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if one, err := parseStored(info); err != nil || one.deleted {
		return false, err
	}
	if time.Since(info.Time) < after {
		return true, nil
	}
	m := nats.NewMsg(info.Subject)
	m.Header.Set(jetstream.MsgRollup, jetstream.MsgRollupSubject)
	m.Header.Set(jetstream.ExpectedLastSubjSeqHeader, strconv.FormatUint(info.Sequence, 10))
	m.Data = info.Data
	_, err = s.js.PublishMsg(ctx, m)
	return err == nil, err
}

// infoSubject is where an object's info stands, as every client of object stores has it.
func (s *Store) infoSubject(name string) string {
	return "$O." + s.bucket + ".M." + base64.URLEncoding.EncodeToString([]byte(name))
}
