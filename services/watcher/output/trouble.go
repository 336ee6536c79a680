package output

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

const (
	// refusedFor is how long the server may answer that it cannot store before it is believed:
	// long enough for a new leader, short enough for a run that waits.
	refusedFor = time.Minute
	minBackoff = 20 * time.Millisecond
	maxBackoff = time.Second

	stoppedEarly = "the watcher stopped before the rest could be stored"
)

// trouble counts failures since the last success.
type trouble struct {
	failures int
	// refused is when the server first answered with a refusal; a connection that is down is none.
	refused time.Time
}

// note takes a failure and says why it is final, or "" when it is to be tried again.
func (t *trouble) note(err error, now time.Time) string {
	t.failures++
	switch classify(err) {
	case final:
		return fmt.Sprintf("the server cannot store more output: %v", err)
	case refusal:
		if t.refused.IsZero() {
			t.refused = now
		}
		if now.Sub(t.refused) >= refusedFor {
			return fmt.Sprintf("the server has refused to store output for %v: %v", refusedFor, err)
		}
	case silence:
		t.refused = time.Time{}
	}
	return ""
}

// backoff is how long to wait before the next try.
func (t *trouble) backoff() time.Duration {
	return min(minBackoff<<min(t.failures, 10), maxBackoff)
}

type class int

const (
	silence class = iota // no answer: try for ever
	refusal              // an answer that may change
	final                // an answer that will not
)

// Codes of a server that has no room. They are constants of the server, not of its client.
const (
	codeInsufficientResources jetstream.ErrorCode = 10023
	codeMemoryExceeded        jetstream.ErrorCode = 10028
	codeStorageExceeded       jetstream.ErrorCode = 10047
	codeMessageTooLarge       jetstream.ErrorCode = 10054
	codeStoreFailed           jetstream.ErrorCode = 10077
)

func classify(err error) class {
	var refused *jetstream.APIError
	switch {
	case errors.As(err, &refused):
		switch refused.ErrorCode {
		case codeInsufficientResources, codeMemoryExceeded, codeStorageExceeded, codeMessageTooLarge, codeStoreFailed:
			return final
		}
		return refusal
	case errors.Is(err, jetstream.ErrNoStreamResponse):
		return refusal
	}
	return silence
}

// pause waits, and is false when the context ends first.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
