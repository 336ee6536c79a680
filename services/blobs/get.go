package blobs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/hermes-serverless/hermes/events"
)

// stallTimeout ends a download of which nothing arrives any more: somebody deleted the object.
const stallTimeout = 30 * time.Second

// The chunks that the server may send ahead, far below what makes the client drop a connection.
const (
	aheadChunks = 16
	aheadBytes  = 8 << 20
)

// Get writes the blob's content to w. Only when it returns without an error is what was written
// known to be that content.
//
// Errors: ErrNoBlob, a *MismatchError, w's own, the context's, the server's.
func (s *Store) Get(ctx context.Context, blob events.Blob, w io.Writer) error {
	if err := events.CheckDigest(blob.Digest); err != nil {
		return err
	}
	info, err := s.objects.GetInfo(ctx, objectName(blob.Digest))
	if err != nil {
		return fetchError(blob.Digest, err)
	}
	c := &chunks{ctx: ctx, left: int64(info.Size)}
	if c.left > 0 {
		// The object store's own Get does not heed its context between two chunks.
		if c.messages, err = s.chunks(ctx, info.NUID); err != nil {
			return fetchError(blob.Digest, err)
		}
		defer c.messages.Stop()
	}
	// io.Copy would hide which side failed behind the other's interfaces.
	r, buf := newVerifier(c, blob), make([]byte, 64<<10)
	for {
		n, err := r.Read(buf)
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

func (s *Store) chunks(ctx context.Context, id string) (jetstream.MessagesContext, error) {
	consumer, err := s.js.OrderedConsumer(ctx, "OBJ_"+s.bucket, jetstream.OrderedConsumerConfig{
		FilterSubjects: []string{"$O." + s.bucket + ".C." + id},
	})
	if err != nil {
		return nil, err
	}
	return consumer.Messages(jetstream.PullMaxMessagesWithBytesLimit(aheadChunks, aheadBytes))
}

// chunks reads an object's chunks, one behind the other.
type chunks struct {
	ctx      context.Context
	messages jetstream.MessagesContext
	// left is how many bytes of the object are still to come from the server.
	left int64
	data []byte
}

func (c *chunks) Read(p []byte) (int, error) {
	for len(c.data) == 0 {
		if c.left <= 0 {
			return 0, io.EOF
		}
		if err := c.next(); err != nil {
			return 0, err
		}
	}
	n := copy(p, c.data)
	c.data = c.data[n:]
	return n, nil
}

func (c *chunks) next() error {
	ctx, cancel := context.WithTimeout(c.ctx, stallTimeout)
	defer cancel()
	m, err := c.messages.Next(jetstream.NextContext(ctx))
	if err != nil && c.ctx.Err() == nil && ctx.Err() != nil {
		return fmt.Errorf("nothing arrived for %s, %d bytes are missing: was it deleted?", stallTimeout, c.left)
	}
	if err != nil {
		return err
	}
	c.data = m.Data()
	c.left -= int64(len(c.data))
	return nil
}
