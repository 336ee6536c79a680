package api

import "time"

// MaxInputPiece is the most bytes of input in one request.
const MaxInputPiece = 128 << 10

// An interactive execution's stdin ends when nothing is heard of whoever sends it for InputSilence:
// they died, and the function need not wait for them. Who has nothing to say says that every
// InputHeartbeat, by an empty piece.
const (
	InputSilence   = time.Minute
	InputHeartbeat = 15 * time.Second
)

// ExecutionInput sends a piece of its input to one of the caller's interactive executions. It may be
// sent again: what was taken before is not taken twice.
type ExecutionInput struct {
	ID string `json:"id"`
	// Offset counts the bytes of input before the piece.
	Offset int64  `json:"offset"`
	Data   []byte `json:"data,omitempty"`
	// End: nothing follows the piece. The function sees it when it has read everything.
	End bool `json:"end,omitempty"`
}

// InputTaken answers ExecutionInput.
type InputTaken struct {
	// Offset is where to go on: everything before it has been taken, and is not to be sent any more.
	// It is less than the piece's end when the function does not read as fast as it is sent to.
	Offset int64 `json:"offset"`
	// Closed: nothing more is taken, as the input has ended or the function does not read any more.
	Closed bool `json:"closed,omitempty"`
	// Waiting: it has not started yet, and nothing was taken.
	Waiting bool `json:"waiting,omitempty"`
}

// InputSubject is where a watcher takes RunInput requests, answered by RunInputReply.
func InputSubject(watcher string) string { return "hermes.input." + watcher }

// RunInput is a piece of the input of an attempt that a watcher holds.
type RunInput struct {
	AttemptRef
	Offset int64  `json:"offset"`
	Data   []byte `json:"data,omitempty"`
	End    bool   `json:"end,omitempty"`
}

// RunInputReply answers RunInput.
type RunInputReply struct {
	// Known is false when no such attempt is held here, or none that takes input.
	Known  bool  `json:"known"`
	Offset int64 `json:"offset"`
	Closed bool  `json:"closed,omitempty"`
}
