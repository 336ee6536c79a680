package blobs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/events/streams"
	"github.com/hermes-serverless/hermes/events/streams/get"
)

// Stored is a name in the store: a blob's, or the note that somebody holds one.
type Stored struct {
	Blob events.Blob
	// Holder is whose a note is, a user's or a watcher's; empty for a blob.
	Holder string
	// Since is when the name was stored, or last renewed by Keep.
	Since time.Time

	// chunks is the id of the blob's chunks, and may be of none.
	chunks  string
	deleted bool
	// subject and sequence are of the message that it was read from.
	subject  string
	sequence uint64
}

// Orphan is content that never got a name, or has lost it.
type Orphan struct {
	SizeBytes int64
	subject   string
	// sequence is the last chunk's.
	sequence uint64
}

const listPage = 500

// Stored returns all names.
func (s *Store) Stored(ctx context.Context) ([]Stored, error) {
	var all []Stored
	for next, more := uint64(1), true; more; {
		var messages []*jetstream.RawStreamMsg
		var err error
		messages, more, err = get.Next(ctx, s.js, streams.BlobsStream(s.bucket), "$O."+s.bucket+".M.>", next, listPage)
		if err != nil {
			return nil, fmt.Errorf("list the store: %w", err)
		}
		for _, m := range messages {
			one, err := parseStored(m)
			if err != nil {
				return nil, fmt.Errorf("list the store: %w", err)
			}
			all, next = append(all, one), m.Sequence+1
		}
	}
	return all, nil
}

func parseStored(m *jetstream.RawStreamMsg) (Stored, error) {
	var info jetstream.ObjectInfo
	if err := json.Unmarshal(m.Data, &info); err != nil {
		return Stored{}, fmt.Errorf("info %d of an object: %w", m.Sequence, err)
	}
	holder, hex, isNote := strings.Cut(info.Name, "/")
	if !isNote {
		holder, hex = "", info.Name
	}
	return Stored{
		Blob: events.Blob{Digest: "sha256:" + hex, SizeBytes: int64(info.Size)}, Holder: holder, Since: m.Time,
		chunks: info.NUID, deleted: info.Deleted, subject: m.Subject, sequence: m.Sequence,
	}, nil
}

// IsGone reports whether it is what the deletion of an object leaves.
func (o Stored) IsGone() bool { return o.deleted }

// Forget takes the name away if it has not been renewed since it was listed, and then its content. It
// reports whether it has. A crash in between leaves an Orphan.
func (s *Store) Forget(ctx context.Context, one Stored) (bool, error) {
	purged, err := s.purge(ctx, one.subject, one.sequence)
	if err != nil || purged == 0 {
		return false, err
	}
	if one.chunks == "" {
		return true, nil
	}
	_, err = s.purge(ctx, s.chunkSubject(one.chunks), 0)
	return true, err
}

// Orphans returns content that is older than a moment and that none of the names names.
func (s *Store) Orphans(ctx context.Context, names []Stored, before time.Time) ([]Orphan, error) {
	stream, err := s.js.Stream(ctx, streams.BlobsStream(s.bucket))
	if err != nil {
		return nil, err
	}
	info, err := stream.Info(ctx, jetstream.WithSubjectFilter(s.chunkSubject(">")))
	if err != nil {
		return nil, fmt.Errorf("list the content of the store: %w", err)
	}
	for _, one := range names {
		delete(info.State.Subjects, s.chunkSubject(one.chunks))
	}
	var all []Orphan
	for subject, n := range info.State.Subjects {
		last, err := get.LeaderLast(ctx, s.js, streams.BlobsStream(s.bucket), subject)
		if errors.Is(err, get.ErrNone) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if last.Time.Before(before) {
			all = append(all, Orphan{SizeBytes: int64(n-1)*chunkBytes + int64(len(last.Data)), subject: subject, sequence: last.Sequence})
		}
	}
	return all, nil
}

// Drop takes away content without a name.
func (s *Store) Drop(ctx context.Context, o Orphan) error {
	_, err := s.purge(ctx, o.subject, o.sequence)
	return err
}

// purge removes the messages of a subject up to the sequence (0: all), and returns how many that were.
func (s *Store) purge(ctx context.Context, subject string, to uint64) (int, error) {
	ask := struct {
		Filter   string `json:"filter"`
		Sequence uint64 `json:"seq,omitempty"`
	}{Filter: subject}
	if to > 0 {
		ask.Sequence = to + 1
	}
	body, err := json.Marshal(ask)
	if err != nil {
		return 0, err
	}
	ctx, cancel := context.WithTimeout(ctx, dropTimeout)
	defer cancel()
	m, err := s.js.Conn().RequestWithContext(ctx, get.APISubject(s.js, "STREAM.PURGE."+streams.BlobsStream(s.bucket)), body)
	if err != nil {
		return 0, fmt.Errorf("purge %s: %w", subject, err)
	}
	var answer struct {
		Error  *jetstream.APIError `json:"error"`
		Purged int                 `json:"purged"`
	}
	if err := json.Unmarshal(m.Data, &answer); err != nil {
		return 0, fmt.Errorf("purge %s: %w", subject, err)
	}
	if answer.Error != nil {
		return 0, fmt.Errorf("purge %s: %w", subject, answer.Error)
	}
	return answer.Purged, nil
}
