// Package blobs keeps content in a JetStream object store under the name of what it is, its
// SHA-256, and on a machine's disk what archives among it hold.
package blobs

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/hermes-serverless/hermes/events"
)

// ErrNoBlob: the store does not have the content.
var ErrNoBlob = errors.New("no such blob")

// transferTimeout ends an upload that never ends.
const transferTimeout = time.Hour

// nameTimeout bounds the one message that gives an upload its name: an answer that is not there by
// then was lost with a connection.
const nameTimeout = 10 * time.Second

// dropTimeout bounds what follows an upload that failed: looking what became of it, cleaning up.
const dropTimeout = 10 * time.Second

// Store is the instance's content.
type Store struct {
	js      jetstream.JetStream
	objects jetstream.ObjectStore
	bucket  string
}

// Open returns the store that the bucket keeps; the bucket must exist.
func Open(ctx context.Context, js jetstream.JetStream, bucket string) (*Store, error) {
	objects, err := js.ObjectStore(ctx, bucket)
	if err != nil {
		return nil, fmt.Errorf("open the object store %s: %w", bucket, err)
	}
	return &Store{js: js, objects: objects, bucket: bucket}, nil
}

// Has reports whether the store has the content.
func (s *Store) Has(ctx context.Context, digest string) (bool, error) {
	_, err := s.Stat(ctx, digest)
	if errors.Is(err, ErrNoBlob) {
		return false, nil
	}
	return err == nil, err
}

// Stat returns the blob with its size, or ErrNoBlob.
func (s *Store) Stat(ctx context.Context, digest string) (events.Blob, error) {
	if err := events.CheckDigest(digest); err != nil {
		return events.Blob{}, err
	}
	info, err := s.info(ctx, objectName(digest))
	if err != nil {
		return events.Blob{}, fetchError(digest, err)
	}
	return events.Blob{Digest: digest, SizeBytes: int64(info.Size)}, nil
}

// Delete forgets the content. What is not there is not an error.
func (s *Store) Delete(ctx context.Context, digest string) error {
	if err := events.CheckDigest(digest); err != nil {
		return err
	}
	err := s.objects.Delete(ctx, objectName(digest))
	if err != nil && !errors.Is(err, jetstream.ErrObjectNotFound) {
		return fmt.Errorf("delete %s: %w", digest, err)
	}
	return nil
}

func fetchError(digest string, err error) error {
	if errors.Is(err, jetstream.ErrObjectNotFound) {
		return fmt.Errorf("%w: %s", ErrNoBlob, digest)
	}
	return fmt.Errorf("fetch %s: %w", digest, err)
}

// chunkSubject is where the chunks of an object stand, by the id that its info names.
func (s *Store) chunkSubject(id string) string { return "$O." + s.bucket + ".C." + id }

func objectName(digest string) string { return strings.TrimPrefix(digest, "sha256:") }
