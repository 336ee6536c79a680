package input

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/hermes-serverless/hermes/events"
)

// record is everything that was taken: in memory while it fits into an event, in a file from there.
type record struct {
	name  string
	bytes int64
	small []byte
	file  *os.File
	blob  *events.BlobWriter
	// failed is why the record ends before the input does.
	failed error
}

func (r *record) add(data []byte) {
	r.bytes += int64(len(data))
	switch {
	case r.failed != nil:
	case r.file == nil && len(r.small)+len(data) <= events.MaxInlineInputBytes:
		r.small = append(r.small, data...)
	default:
		r.failed = r.write(data)
	}
}

func (r *record) write(data []byte) (err error) {
	if r.file == nil {
		if r.file, err = os.OpenFile(r.name, os.O_CREATE|os.O_RDWR|os.O_EXCL, 0o600); err != nil {
			return err
		}
		_ = os.Remove(r.name) // the open file is enough
		r.blob = events.NewBlobWriter(r.file)
		if _, err := r.blob.Write(r.small); err != nil {
			return err
		}
	}
	_, err = r.blob.Write(data)
	return err
}

func (r *record) close() {
	if r.file != nil {
		_ = r.file.Close()
	}
}

// Store puts what r yields, the blob, where it is kept.
type Store func(ctx context.Context, blob events.Blob, r io.ReadSeeker) error

// Given sums up what was taken, and stores it where it does not fit into an event. It is for a feed
// that takes nothing more and is not yet closed.
func (f *Feed) Given(ctx context.Context, store Store) *events.Given {
	f.giveUp()
	r := &f.record // nothing is added to it any more
	given := &events.Given{Bytes: r.bytes}
	if r.file == nil && r.failed == nil {
		given.Input.Inline = r.small
		return given
	}
	if r.failed == nil {
		blob := r.blob.Blob()
		if r.failed = store(ctx, blob, r.file); r.failed == nil {
			given.Input.Blob = &blob
			return given
		}
	}
	given.Cut = fmt.Sprintf("it could not be kept: %v", cause(r.failed))
	return given
}

// cause leaves out which file of the watcher's an error is about.
func cause(err error) error {
	var path *os.PathError
	if errors.As(err, &path) {
		return path.Err
	}
	return err
}
