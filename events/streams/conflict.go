package streams

import (
	"errors"

	"github.com/nats-io/nats.go/jetstream"
)

// The codes by which the server refuses an expectation: a lone server's, and a replicated stream's while
// another write is on its way.
const (
	codeWrongLast         jetstream.ErrorCode = 10071
	codeWrongLastInFlight jetstream.ErrorCode = 10164
)

// IsConflict reports whether the server refused a write because somebody else was faster, or may be.
func IsConflict(err error) bool {
	var refused *jetstream.APIError
	return errors.As(err, &refused) && (refused.ErrorCode == codeWrongLast || refused.ErrorCode == codeWrongLastInFlight)
}

// codeBatchTooLarge is the code by which the server refuses a batch of more messages than it was told to take.
const codeBatchTooLarge jetstream.ErrorCode = 10199

// IsTooLarge reports whether the server refused a batch because it has too many messages.
func IsTooLarge(err error) bool {
	var refused *jetstream.APIError
	return errors.As(err, &refused) && refused.ErrorCode == codeBatchTooLarge
}
