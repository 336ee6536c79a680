package orchestrator

import (
	"context"
	"fmt"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hermes-serverless/hermes/projections/executions"
	"github.com/hermes-serverless/hermes/services/api"
	"github.com/hermes-serverless/hermes/services/moment"
)

// summary is what the log says of the output of an ended execution; nil for one that goes on.
func summary(e executions.Execution) *api.OutputEnd {
	if !e.Status.Final() {
		return nil
	}
	return &api.OutputEnd{
		Attempt: e.Attempt, StdoutBytes: e.Output.StdoutBytes, StderrBytes: e.Output.StderrBytes,
		Chunks: e.Output.Chunks, SHA256: e.Output.SHA256, Cut: e.Output.Cut,
	}
}

// endOf says where the output of an ended execution ends when the stream has no end message: the
// attempt never printed, was lost, or its output has been let go. What was found gone before is added to.
func (s *Service) endOf(ctx context.Context, e executions.Execution, next int64, before *api.OutputGone) (*api.OutputEnd, *api.OutputGone, error) {
	end := summary(e)
	if end == nil {
		return nil, before, nil
	}
	total := end.StdoutBytes + end.StderrBytes
	switch {
	case e.Status == executions.Lost:
		end.Cut = "the watcher was lost while it ran"
	case next < total && s.NoOutput == "" && s.now().Sub(e.EndedAt) < disturbance:
		end.Cut = fmt.Sprintf("%d bytes are not stored", total-next)
	case next < total:
		gone, err := s.gone(ctx, e, next, total)
		if err != nil {
			return nil, nil, err
		}
		if before != nil {
			gone.Bytes += before.Bytes
		}
		end.Cut = fmt.Sprintf("%d bytes are no longer kept: %s", gone.Bytes, gone.Why)
		return end, &gone, nil
	}
	return end, before, nil
}

// gone says why the store does not have the bytes from one offset up to another.
func (s *Service) gone(ctx context.Context, e executions.Execution, from, to int64) (api.OutputGone, error) {
	if s.NoOutput != "" {
		return api.OutputGone{Bytes: to - from, Why: s.NoOutput}, nil
	}
	stream, err := s.JS.Stream(ctx, s.Output.CachedInfo().Config.Name)
	if err != nil {
		return api.OutputGone{}, fmt.Errorf("ask how long output is kept: %w", err)
	}
	return api.OutputGone{Bytes: to - from, Why: whyGone(e, to, stream.CachedInfo().Config, s.now())}, nil
}

// whyGone says why what was printed before an offset is not there, by the bounds that hold now.
func whyGone(e executions.Execution, to int64, bounds jetstream.StreamConfig, now time.Time) string {
	printed := e.StartedAt // the first of it
	if e.Status.Final() && to >= e.Output.StdoutBytes+e.Output.StderrBytes {
		printed = e.EndedAt
	}
	if went := printed.Add(bounds.MaxAge); bounds.MaxAge > 0 && !went.After(now) {
		return fmt.Sprintf("it went on %s, output is kept for %s", went.UTC().Format("2006-01-02 15:04 MST"), moment.Text(bounds.MaxAge))
	}
	if bounds.MaxBytes > 0 {
		return fmt.Sprintf("it was let go to keep the output of all below %s", humanize.IBytes(uint64(bounds.MaxBytes)))
	}
	return "the operator has removed it"
}
