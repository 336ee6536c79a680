package events

import "fmt"

// BatchRef says which of a batch's inputs an execution has. A batch is one function mapped over many
// inputs by its owner.
type BatchRef struct {
	// ID is the batch's, a ULID that the client made.
	ID string `json:"id"`
	// Index counts its inputs from 1.
	Index int64 `json:"index"`
}

// Check says what is wrong with it.
func (b BatchRef) Check() error {
	if !isULID(b.ID) {
		return fmt.Errorf("batch id %q: must be a ULID of 26 characters", b.ID)
	}
	if b.Index < 1 {
		return fmt.Errorf("index %d in batch %s: must be at least 1", b.Index, b.ID)
	}
	return nil
}
