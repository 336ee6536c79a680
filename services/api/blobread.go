package api

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/nats-io/nats.go"

	"github.com/hermes-serverless/hermes/events"
)

// BlobStat asks how large content is that the watcher may read.
type BlobStat struct {
	Digest string `json:"digest"`
}

// BlobRead asks for a part of content that the watcher may read: of a base, or what an execution needs
// that is placed on it.
type BlobRead struct {
	Digest string `json:"digest"`
	// After is the cursor of the part before, 0 for the first. One that is not of this content leads to
	// some part of it, or to its end.
	After uint64 `json:"after,omitempty"`
}

// BlobPart describes a part, whose raw bytes, at most 512 KiB, are the payload; none are the end. It
// stands in HeaderPage as JSON.
type BlobPart struct {
	Cursor uint64 `json:"cursor"`
}

// StatBlob asks for a watcher how large content is.
//
// Errors: of kind NotFound, Unauthorized if the watcher may not read it, Unavailable.
func StatBlob(ctx context.Context, nc *nats.Conn, watcher, digest string) (events.Blob, error) {
	return Ask[events.Blob](ctx, nc, WatchSubject(watcher, OpBlobStat), BlobStat{Digest: digest})
}

// ReadBlob reads the part of content behind a cursor for a watcher, and returns the cursor for what
// follows. Whoever has all parts compares them with the digest.
//
// Errors: those of StatBlob.
func ReadBlob(ctx context.Context, nc *nats.Conn, watcher, digest string, after uint64) (data []byte, cursor uint64, err error) {
	raw, err := json.Marshal(BlobRead{Digest: digest, After: after})
	if err != nil {
		return nil, 0, fmt.Errorf("encode the request for %s: %w", digest, err)
	}
	m, err := Request(ctx, nc, WatchSubject(watcher, OpBlobRead), raw)
	if err != nil {
		return nil, 0, err
	}
	var part BlobPart
	if err := json.Unmarshal([]byte(m.Header.Get(HeaderPage)), &part); err != nil {
		return nil, 0, Errorf(Internal, InternalError, "the server's part of %s cannot be read: %v", digest, err)
	}
	return m.Data, part.Cursor, nil
}
