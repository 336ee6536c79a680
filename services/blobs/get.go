package blobs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/events/streams"
	"github.com/hermes-serverless/hermes/events/streams/get"
)

const (
	// stallTimeout ends a download of which nothing comes any more: somebody deleted the object. It
	// is long enough for a replica that is behind.
	stallTimeout = 5 * time.Second
	stallPause   = 50 * time.Millisecond
	// batchChunks is how many chunks are asked for at once: 2 MiB, which a slow link brings in time.
	batchChunks = 4
)

// Get writes the blob's content to w. Only when it returns without an error is what was written
// known to be that content.
//
// Errors: ErrNoBlob, a *MismatchError, w's own, the context's, the server's.
func (s *Store) Get(ctx context.Context, blob events.Blob, w io.Writer) error {
	if err := events.CheckDigest(blob.Digest); err != nil {
		return err
	}
	info, err := s.info(ctx, objectName(blob.Digest))
	if err != nil {
		return fetchError(blob.Digest, err)
	}
	// The object store's own Get makes a consumer, which costs the server more than what is read.
	c := &chunks{ctx: ctx, store: s, subject: s.chunkSubject(info.NUID), left: int64(info.Size)}
	return copyBlob(w, c, blob)
}

// copyBlob writes what r yields to w, which without an error was the blob.
func copyBlob(w io.Writer, from io.Reader, blob events.Blob) error {
	// io.Copy would hide which side failed behind the other's interfaces.
	r, buf := newVerifier(from, blob), make([]byte, 64<<10)
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

// chunks reads an object's chunks, one behind the other.
type chunks struct {
	ctx     context.Context
	store   *Store
	subject string
	// last is the sequence of the last chunk that came.
	last uint64
	// left is how many bytes of the object are still to come from the server.
	left int64
	come [][]byte
}

func (c *chunks) Read(p []byte) (int, error) {
	for len(c.come) == 0 {
		if c.left <= 0 {
			return 0, io.EOF
		}
		if err := c.next(); err != nil {
			return 0, err
		}
	}
	n := copy(p, c.come[0])
	if c.come[0] = c.come[0][n:]; len(c.come[0]) == 0 {
		c.come = c.come[1:]
	}
	return n, nil
}

// next fetches more chunks.
func (c *chunks) next() error {
	for since := time.Now(); ; {
		messages, _, err := get.Next(c.ctx, c.store.js, streams.BlobsStream(c.store.bucket), c.subject, c.last+1, batchChunks)
		if err != nil {
			return err
		}
		for _, m := range messages {
			c.last = m.Sequence
			c.left -= int64(len(m.Data))
			c.come = append(c.come, m.Data)
		}
		switch {
		case len(messages) > 0:
			return nil
		case time.Since(since) > stallTimeout:
			return fmt.Errorf("%d bytes are missing in the store: were they deleted?", c.left)
		}
		select {
		case <-time.After(stallPause):
		case <-c.ctx.Done():
			return c.ctx.Err()
		}
	}
}
