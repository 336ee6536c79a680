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
