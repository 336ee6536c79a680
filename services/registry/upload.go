package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/services/api"
	"github.com/hermes-serverless/hermes/services/blobs"
)

// storing keeps what r yields, if it is the blob, as uploaded by the caller.
type storing func(ctx context.Context, caller string, blob events.Blob, r io.Reader) error

// upload is a blob of which parts arrive.
type upload struct {
	id, caller string
	blob       events.Blob
	// parts holds one: the next is sent when the last was answered.
	parts    chan *nats.Msg
	received int64

	pipe *io.PipeWriter
	// stored is the end of the storing.
	stored chan error
}

func newUpload(id, caller string, blob events.Blob) *upload {
	return &upload{id: id, caller: caller, blob: blob, parts: make(chan *nats.Msg, 1), stored: make(chan error, 1)}
}

// errIdle: the sender has gone.
var errIdle = errors.New("nothing arrived for too long")

// run takes parts until the blob is stored or the upload fails. After a failure nothing of the
// blob stays in the store.
func (u *upload) run(ctx context.Context, store storing, idle time.Duration) error {
	pr, pw := io.Pipe()
	u.pipe = pw
	go func() {
		err := store(ctx, u.caller, u.blob, pr)
		pr.CloseWithError(errors.Join(err, io.ErrClosedPipe))
		u.stored <- err
	}()
	still := time.NewTimer(idle)
	defer still.Stop()
	for {
		select {
		case m := <-u.parts:
			if done, err := u.take(m); done || err != nil {
				return err
			}
			still.Reset(idle)
		case err := <-u.stored:
			return u.early(ctx, err, idle)
		case <-still.C:
			return u.abort(errIdle)
		case <-ctx.Done():
			return u.abort(ctx.Err())
		}
	}
}

// take passes a part on and answers it.
func (u *upload) take(m *nats.Msg) (done bool, err error) {
	if err := u.check(len(m.Data)); err != nil {
		refuse(m, err)
		return false, u.abort(err)
	}
	if _, err := u.pipe.Write(m.Data); err != nil {
		return true, u.answerEnd(m, <-u.stored)
	}
	u.received += int64(len(m.Data))
	if u.received < u.blob.SizeBytes {
		return false, accept(m, api.BlobProgress{ReceivedBytes: u.received})
	}
	u.pipe.Close()
	return true, u.answerEnd(m, <-u.stored)
}

func (u *upload) check(part int) *api.Error {
	switch {
	case part > partBytes:
		return api.Errorf(api.Invalid, api.InvalidArguments, "a part of %d bytes: at most %d are allowed", part, partBytes)
	case u.received+int64(part) > u.blob.SizeBytes:
		return api.Errorf(api.Invalid, api.InvalidArguments, "the upload is larger than the %d bytes that were announced", u.blob.SizeBytes)
	case part == 0 && u.received < u.blob.SizeBytes:
		return api.Errorf(api.Invalid, api.InvalidArguments, "the upload ends after %d of %d bytes", u.received, u.blob.SizeBytes).
			WithHint("did the file change meanwhile? Start the upload again")
	}
	return nil
}

// early is the end of an upload whose storing failed before all parts were there. The sender hears
// it with the next part.
func (u *upload) early(ctx context.Context, stored error, idle time.Duration) error {
	select {
	case m := <-u.parts:
		return u.answerEnd(m, stored)
	case <-time.After(idle):
	case <-ctx.Done():
	}
	return stored
}

// answerEnd answers the last part with how the storing ended.
func (u *upload) answerEnd(m *nats.Msg, stored error) error {
	var mismatch *blobs.MismatchError
	switch {
	case stored == nil:
		return accept(m, api.BlobProgress{ReceivedBytes: u.blob.SizeBytes, Done: true})
	case errors.As(stored, &mismatch):
		refuse(m, api.Errorf(api.Invalid, api.InvalidArguments, "the upload is not what was announced: %v", mismatch).
			WithHint("did the file change meanwhile? Start the upload again"))
	default:
		refuse(m, api.Errorf(api.Unavailable, api.ServerUnavailable, "the server could not store the upload").
			WithHint("try again; the operator finds the reason in hermesd's log"))
	}
	return stored
}

// abort makes the store drop what it has.
func (u *upload) abort(why error) error {
	u.pipe.CloseWithError(why)
	if err := <-u.stored; err != nil && !errors.Is(err, why) {
		return fmt.Errorf("%w; then %w", why, err)
	}
	return why
}

// close answers a part that came too late. Nothing else may use the upload any more.
func (u *upload) close() {
	select {
	case m := <-u.parts:
		refuse(m, noSuchUpload(u.id))
	default:
	}
}
