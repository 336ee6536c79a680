package orchestrator

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/projections/executions"
	"github.com/hermes-serverless/hermes/services/api"
	"github.com/hermes-serverless/hermes/services/blobs"
)

// files answers OpExecutionFiles: a part of the archive of an execution's results.
func (s *Service) files(ctx context.Context, user string, raw []byte) (nats.Header, []byte, error) {
	var ask api.ExecutionFiles
	if err := json.Unmarshal(raw, &ask); err != nil {
		return nil, nil, api.Errorf(api.Invalid, api.InvalidArguments, "the request cannot be read: %v", err)
	}
	e, err := s.find(ctx, user, ask.ExecutionRef)
	if err != nil {
		return nil, nil, err
	}
	if !e.Status.Final() {
		return nil, nil, api.Errorf(api.State, api.NotEnded, "execution %s has not ended: its results are kept at its end", label(e)).
			WithHint("wait for it: hermes execution wait %s", label(e))
	}
	page := api.FilesPage{Results: e.Results}
	var body []byte
	if e.Results != nil && e.Results.Archive != nil {
		body, page.Cursor, err = s.Blobs.Part(ctx, e.Results.Archive.Digest, ask.Cursor)
		if errors.Is(err, blobs.ErrNoBlob) {
			return nil, nil, api.Errorf(api.NotFound, api.NoSuchBlob, "the results of execution %s are no longer kept", label(e))
		}
		if err != nil {
			return nil, nil, fmt.Errorf("read the results of execution %s: %w", e.ID, err)
		}
	}
	header, err := json.Marshal(page)
	if err != nil {
		return nil, nil, err
	}
	return nats.Header{api.HeaderPage: {string(header)}}, body, nil
}

// maxCut bounds, in runes, why a watcher says that results are not whole.
const maxCut = 500

// cannotBe is why what a watcher reports is not kept.
const cannotBe = "its watcher reported what cannot be"

// reportedResults is what a watcher says that a run left, if that can be.
func reportedResults(state executions.Execution, left *events.Results) *events.Results {
	if left == nil || state.Request.Kind != events.KindRun {
		return nil
	}
	if left.Archive != nil && events.CheckDigest(left.Archive.Digest) != nil || left.Files < 0 || left.Bytes < 0 {
		return &events.Results{Cut: cannotBe}
	}
	kept := *left
	kept.Cut = plainLine(left.Cut, maxCut)
	return &kept
}
