package instance

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/services/api"
	"github.com/hermes-serverless/hermes/services/blobs"
)

const (
	// partFor is how long a part is asked for again that nobody answers for: longer than it takes
	// until there is another leader. What came before it stays.
	partFor   = 20 * time.Second
	partPause = 100 * time.Millisecond
)

// watcherBlobs is the content that a watcher may read, and what it makes. It has no store: the
// orchestrator reads it, and the registry writes it.
type watcherBlobs struct {
	*blobs.Remote
	conn *nats.Conn
	name string
}

func newWatcherBlobs(conn *nats.Conn, name string) watcherBlobs {
	b := watcherBlobs{conn: conn, name: name}
	b.Remote = blobs.NewRemote(b.part)
	return b
}

// Stat returns the blob with its size. Errors: blobs.ErrNoBlob, and those of api.StatBlob.
func (b watcherBlobs) Stat(ctx context.Context, digest string) (events.Blob, error) {
	blob, err := api.StatBlob(ctx, b.conn, b.name, digest)
	return blob, asBlobError(digest, err)
}

// Put stores what r yields, which must be the blob.
func (b watcherBlobs) Put(ctx context.Context, blob events.Blob, r io.Reader) error {
	return api.UploadArtifact(ctx, b.conn, b.name, blob, r)
}

func (b watcherBlobs) part(ctx context.Context, digest string, after uint64) ([]byte, uint64, error) {
	for until := time.Now().Add(partFor); ; {
		data, cursor, err := api.ReadBlob(ctx, b.conn, b.name, digest, after)
		if err == nil || !api.IsKind(err, api.Unavailable) || time.Now().After(until) {
			return data, cursor, asBlobError(digest, err)
		}
		select {
		case <-time.After(partPause):
		case <-ctx.Done():
			return nil, 0, ctx.Err()
		}
	}
}

// asBlobError says as a store does that there is no such content.
func asBlobError(digest string, err error) error {
	if api.IsKind(err, api.NotFound) {
		return fmt.Errorf("%w: %s", blobs.ErrNoBlob, digest)
	}
	return err
}
