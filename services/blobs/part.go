package blobs

import (
	"context"
	"errors"
	"fmt"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/events/streams"
	"github.com/hermes-serverless/hermes/events/streams/get"
)

// Part returns the piece of the content behind a cursor, 0 for the first, and the cursor for what
// follows; no bytes are the end. Whoever has all of them compares them with the digest. A cursor that is
// not one of this content's leads to some piece of it, or to its end.
//
// Errors: ErrNoBlob, the context's, the server's.
func (s *Store) Part(ctx context.Context, digest string, after uint64) (data []byte, cursor uint64, err error) {
	if err := events.CheckDigest(digest); err != nil {
		return nil, 0, err
	}
	info, err := s.info(ctx, objectName(digest))
	if err != nil {
		return nil, 0, fetchError(digest, err)
	}
	found, _, err := get.Next(ctx, s.js, streams.BlobsStream(s.bucket), s.chunkSubject(info.NUID), after+1, 1)
	if err != nil {
		return nil, 0, fmt.Errorf("fetch %s: %w", digest, err)
	}
	if len(found) == 0 {
		// The end, or a replica that is behind.
		next, err := get.LeaderNext(ctx, s.js, streams.BlobsStream(s.bucket), s.chunkSubject(info.NUID), after+1)
		if errors.Is(err, get.ErrNone) {
			return nil, after, nil
		}
		if err != nil {
			return nil, 0, fmt.Errorf("fetch %s: %w", digest, err)
		}
		found = append(found, next)
	}
	return found[0].Data, found[0].Sequence, nil
}
