// Package log is the contract of an append-only log of events with optimistic concurrency: what
// memlog (the executable specification) and jslog (JetStream) both keep, checked by logtest.
package log

import (
	"context"
	"errors"
	"iter"

	"github.com/hermes-serverless/hermes/events"
)

// ErrConflict: somebody else appended to the subject first. It is a signal to read again and
// decide again, never an answer for a user.
var ErrConflict = errors.New("the subject has moved on")

// ErrClosed: the log's connection is gone for good.
var ErrClosed = errors.New("the log is closed")

// UndecodableError is yielded by a read in place of a stored message that is not an event this
// build knows. The read goes on behind it if the caller does.
type UndecodableError struct {
	Subject  string
	Sequence uint64
	// Message is what is stored.
	Message events.Message
	// Err says why it cannot be decoded.
	Err error
}

// Error is the reason.
func (e *UndecodableError) Error() string { return e.Err.Error() }

// Unwrap returns the reason.
func (e *UndecodableError) Unwrap() error { return e.Err }

// Log is one stream of events. All methods may be called from many goroutines.
type Log interface {
	// Append stores the event on the subject if the subject's last sequence is expected (0: the
	// subject is empty), and returns the event's sequence. When it returns without an error the
	// event is on disk, as durably as the store was told to be.
	//
	// Append of an event whose ID is already the subject's last one, or the one that follows
	// expected, returns that sequence and no error: a repeated append whose first answer was lost
	// is not a conflict, whatever was appended since.
	//
	// Errors: ErrConflict; the context's error or another, after which the event may or may not
	// be stored, and the same call may be repeated.
	Append(ctx context.Context, subject string, expected uint64, event events.Event) (uint64, error)

	// Read yields what is stored in order of sequence, from the given sequence (0 and 1 both mean
	// the first) to the last one stored at the time of the call. The filter is one subject or a
	// NATS wildcard. A stored message that cannot be decoded is yielded as an *UndecodableError
	// with the Record's Subject and Sequence set; any other error ends the sequence.
	Read(ctx context.Context, filter string, from uint64) iter.Seq2[events.Record, error]

	// Follow is Read without an end: behind the last stored event it waits for the next. It ends
	// with the context's error, or ErrClosed. It survives reconnects without gap or duplicate.
	Follow(ctx context.Context, filter string, from uint64) iter.Seq2[events.Record, error]

	// Head returns the last sequence of the subject (a literal or a wildcard), 0 if it is empty.
	Head(ctx context.Context, subject string) (uint64, error)
}
