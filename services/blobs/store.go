// Package blobs keeps content in a JetStream object store under the name of what it is, its
// SHA-256, and on a machine's disk what archives among it hold.
package blobs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/hermes-serverless/hermes/events"
)

// ErrNoBlob: the store does not have the content.
var ErrNoBlob = errors.New("no such blob")

// transferTimeout ends a transfer that never ends. The object store wants some deadline: without
// one it gives a whole object five seconds.
const transferTimeout = time.Hour

// stallTimeout ends a download of which nothing arrives any more: somebody deleted the object.
const stallTimeout = time.Minute

// dropTimeout bounds the cleaning up after an upload that failed.
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

// Get writes the blob's content to w. Only when it returns without an error is what was written
// known to be that content.
//
// Errors: ErrNoBlob, a *MismatchError, w's own, the context's, the server's.
func (s *Store) Get(ctx context.Context, blob events.Blob, w io.Writer) error {
	if err := events.CheckDigest(blob.Digest); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, transferTimeout)
	defer cancel()
	stalled := time.AfterFunc(stallTimeout, cancel)
	defer stalled.Stop()
	object, err := s.objects.Get(ctx, objectName(blob.Digest))
	if err != nil {
		return fetchError(blob.Digest, err)
	}
	defer object.Close()
	checked := newVerifier(object, blob)
	buf := make([]byte, 128<<10)
	for {
		stalled.Reset(stallTimeout)
		n, err := checked.Read(buf)
		stalled.Stop() // a slow w is not a stalled download
		if _, err := w.Write(buf[:n]); err != nil {
			return fmt.Errorf("fetch %s: %w", blob.Digest, err)
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fetchError(blob.Digest, err)
		}
	}
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
	info, err := s.objects.GetInfo(ctx, objectName(digest))
	if err != nil {
		return events.Blob{}, fetchError(digest, err)
	}
	return events.Blob{Digest: digest, SizeBytes: int64(info.Size)}, nil
}

func fetchError(digest string, err error) error {
	if errors.Is(err, jetstream.ErrObjectNotFound) {
		return fmt.Errorf("%w: %s", ErrNoBlob, digest)
	}
	return fmt.Errorf("fetch %s: %w", digest, err)
}

func objectName(digest string) string { return strings.TrimPrefix(digest, "sha256:") }
