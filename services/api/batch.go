package api

import (
	"crypto/sha256"
	"encoding/binary"
	"math"

	"github.com/oklog/ulid/v2"

	"github.com/hermes-serverless/hermes/events"
)

// MaxBatch is the largest index in a batch.
const MaxBatch = math.MaxUint32

// BatchExecutionID returns the id of a batch's execution. It follows from the batch and the index
// alone, so that a client which has forgotten what it sent sends the same again. In order they are
// the batch's inputs in order.
func BatchExecutionID(batch events.BatchRef) (string, error) {
	if err := batch.Check(); err != nil {
		return "", Errorf(Invalid, InvalidArguments, "%v", err)
	}
	if batch.Index > MaxBatch {
		return "", Errorf(Invalid, InvalidArguments, "index %d in batch %s: at most %d", batch.Index, batch.ID, uint32(MaxBatch))
	}
	id, err := ulid.ParseStrict(batch.ID)
	if err != nil {
		return "", Errorf(Invalid, InvalidArguments, "batch id %q: %v", batch.ID, err)
	}
	// The time stays; of the rest, six bytes tell batches apart and four count.
	sum := sha256.Sum256([]byte(batch.ID))
	copy(id[6:12], sum[:6])
	binary.BigEndian.PutUint32(id[12:], uint32(batch.Index))
	return id.String(), nil
}
