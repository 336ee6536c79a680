package blobs

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"

	"github.com/hermes-serverless/hermes/events"
)

// chunkBytes is how much of an object one message carries. Under sync_interval: always every
// message costs a sync of the disk, so they are large; max_payload is 1 MiB.
const chunkBytes = 512 << 10

// window is how many chunks of one object may wait for the server's disk. The object store's own
// Put sends without waiting, and a server that lets 128 MiB wait refuses the rest of a large object.
const window = 8

// Put stores what r yields, which must be the blob's content. When it returns without an error
// the content is on disk, as durably as the server was told to be. Also of content that is there
// already r is read and verified to its end: nil always means that r yielded the blob.
//
// Errors: a *MismatchError when r yields something else, r's own, the context's, the server's.
// After an error nothing of the content stays, unless the server could not be told to drop it or
// did not say whether the content has its name. Then it may appear later, whole.
func (s *Store) Put(ctx context.Context, blob events.Blob, r io.Reader) error {
	checked := newVerifier(&endingReader{ctx, r}, blob)
	have, err := s.Keep(ctx, blob.Digest)
	if err == nil && have {
		_, err = io.Copy(io.Discard, checked)
	}
	if err != nil || have {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, transferTimeout)
	defer cancel()
	u := &upload{store: s, id: nuid.Next(), whole: sha256.New()}
	if err := u.send(ctx, checked); err != nil {
		return errors.Join(fmt.Errorf("store %s: %w", blob.Digest, err), u.drop(ctx))
	}
	if have, err := s.Has(ctx, blob.Digest); err == nil && have { // somebody was faster
		return u.drop(ctx)
	}
	if err := u.name(ctx, blob); err != nil && !s.named(ctx, blob.Digest) {
		return fmt.Errorf("store %s: %w", blob.Digest, err)
	}
	return nil
}

// named reports whether the content has its name after all, also when the context of the upload
// is over: the answer may be lost, or nobody may have waited for it, when the server had stored
// the name. The same can happen after this has looked, so from the moment that a name was sent
// nobody may drop the chunks: a name without them would be believed and never read. Chunks that
// never get a name only take room.
func (s *Store) named(ctx context.Context, digest string) bool {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), dropTimeout)
	defer cancel()
	have, err := s.Has(ctx, digest)
	return err == nil && have
}

// upload is an object of which the chunks are on their way. It gets a name, and with that becomes
// one, when all of them are on disk.
type upload struct {
	store  *Store
	id     string
	whole  hash.Hash
	chunks uint32
	// acks are of the chunks that may not be on disk yet.
	acks [window]jetstream.PubAckFuture
}

func (u *upload) subject() string { return u.store.chunkSubject(u.id) }

func (u *upload) send(ctx context.Context, r io.Reader) error {
	var buffers [window][]byte
	for i := 0; ; i = (i + 1) % window {
		if err := u.wait(ctx, i); err != nil {
			return err
		}
		if buffers[i] == nil {
			buffers[i] = make([]byte, chunkBytes)
		}
		n, err := io.ReadFull(r, buffers[i])
		last := errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
		if err != nil && !last {
			return err
		}
		if n > 0 {
			u.whole.Write(buffers[i][:n])
			u.chunks++
			if u.acks[i], err = u.store.js.PublishMsgAsync(&nats.Msg{Subject: u.subject(), Data: buffers[i][:n]}); err != nil {
				return err
			}
		}
		if last {
			break
		}
	}
	return u.settle(ctx)
}

// settle waits until every chunk is on disk or refused.
func (u *upload) settle(ctx context.Context) (err error) {
	for i := range u.acks {
		err = errors.Join(err, u.wait(ctx, i))
	}
	return err
}

// wait waits until chunk i of the window is on disk or refused.
func (u *upload) wait(ctx context.Context, i int) error {
	if u.acks[i] == nil {
		return nil
	}
	select {
	case <-u.acks[i].Ok():
		u.acks[i] = nil
		return nil
	case err := <-u.acks[i].Err():
		u.acks[i] = nil
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// name makes the chunks an object of the bucket, as every client of object stores reads it. After
// an error it may be one, or become one.
func (u *upload) name(ctx context.Context, blob events.Blob) error {
	ctx, cancel := context.WithTimeout(ctx, nameTimeout)
	defer cancel()
	info, err := json.Marshal(jetstream.ObjectInfo{
		ObjectMeta: jetstream.ObjectMeta{
			Name: objectName(blob.Digest), Opts: &jetstream.ObjectMetaOptions{ChunkSize: chunkBytes},
		},
		Bucket: u.store.bucket, NUID: u.id, Size: uint64(blob.SizeBytes), Chunks: u.chunks,
		Digest: jetstream.GetObjectDigestValue(u.whole),
	})
	if err != nil {
		return err
	}
	m := nats.NewMsg(u.store.infoSubject(objectName(blob.Digest)))
	m.Header.Set(jetstream.MsgRollup, jetstream.MsgRollupSubject)
	m.Data = info
	_, err = u.store.js.PublishMsg(ctx, m)
	return err
}

// drop removes the chunks of an upload that was not named, also when its context is over.
func (u *upload) drop(ctx context.Context) error {
	if u.chunks == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), dropTimeout)
	defer cancel()
	_ = u.settle(ctx) // a chunk still on its way would be stored behind the purge
	stream, err := u.store.js.Stream(ctx, "OBJ_"+u.store.bucket)
	if err == nil {
		err = stream.Purge(ctx, jetstream.WithPurgeSubject(u.subject()))
	}
	if err != nil {
		return fmt.Errorf("drop an upload that failed: %w", err)
	}
	return nil
}
