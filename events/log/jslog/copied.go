package jslog

import (
	"context"
	"errors"
	"fmt"

	"github.com/hermes-serverless/hermes/events/streams/get"
)

// Copied returns the sequence of the last event of the live stream that the history has too, as the
// history's leader knows it; 0 if it has none. It has every one before.
func (w *Whole) Copied(ctx context.Context) (uint64, error) {
	last, err := get.LeaderLast(ctx, w.history.js, w.history.stream, ">")
	if errors.Is(err, get.ErrNone) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	// What is no event has its sequence all the same.
	r, err := w.history.decode(last.Subject, last.Sequence, last.Header, last.Data)
	if r.Sequence == 0 {
		return 0, fmt.Errorf("the last event of %s: %w", w.history.stream, err)
	}
	return r.Sequence, nil
}
