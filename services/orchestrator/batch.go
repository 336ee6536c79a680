package orchestrator

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/projections/executions"
	"github.com/hermes-serverless/hermes/services/api"
)

// checkBatch refuses a place in a batch that is none, or that has another id: one id for each place
// is what makes each input of a batch run once.
func checkBatch(ask api.Run) error {
	if ask.Batch == nil {
		return nil
	}
	id, err := api.BatchExecutionID(*ask.Batch)
	if err == nil && id != ask.ID {
		err = api.Errorf(api.Invalid, api.InvalidArguments, "input %d of batch %s is execution %s, not %s", ask.Batch.Index, ask.Batch.ID, id, ask.ID)
	}
	return err
}

// sameOfBatch makes a repeated request of a batch harmless, and refuses another input in the place of
// one that was accepted. The version may have become another one meanwhile: what was accepted stands.
func sameOfBatch(state executions.Execution, requested events.ExecutionRequested) error {
	was, is := state.Request, requested
	switch {
	case was.Batch == nil || *was.Batch != *is.Batch:
		return api.Errorf(api.Exists, api.IDInUse, "execution %s exists and is not of batch %s", state.ID, is.Batch.ID)
	case was.Function.Owner != is.Function.Owner || was.Function.Name != is.Function.Name:
		return api.Errorf(api.Exists, api.IDInUse, "batch %s runs %s, not %s", is.Batch.ID, was.Function, is.Function).
			WithHint("leave --resume out to begin a new batch")
	case !sameInput(was.Input, is.Input):
		return api.Errorf(api.Exists, api.IDInUse, "input %d of batch %s is not the one that was accepted before", is.Batch.Index, is.Batch.ID).
			WithHint("go on with the inputs that the batch began with, or begin a new batch")
	}
	return nil
}

func sameInput(a, b events.Input) bool {
	if (a.Blob == nil) != (b.Blob == nil) || a.Blob != nil && a.Blob.Digest != b.Blob.Digest {
		return false
	}
	return bytes.Equal(a.Inline, b.Inline)
}

// acceptEventID is the id of the first event of an execution that a user asks for. In a batch it
// follows from the whole request: the log takes an event with the id of one that it has for the same,
// and another input in the same place must be seen as another one.
func acceptEventID(user, id string, data events.Data) string {
	requested, ok := data.(events.ExecutionRequested)
	if !ok || requested.Batch == nil {
		return requestEventID(user, id)
	}
	raw, err := json.Marshal(requested)
	if err != nil {
		panic(err) // the log encodes it next, in the same way
	}
	sum := sha256.Sum256(raw)
	return requestEventID(user, id) + "." + hex.EncodeToString(sum[:8])
}
