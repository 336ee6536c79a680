package cli

import (
	"context"
	"fmt"
	"io"

	"github.com/hermes-serverless/hermes/services/api"
)

// splitOutput writes each chunk's bytes to where its stream belongs.
func splitOutput(out, errOut io.Writer) func(api.Chunk) error {
	return func(c api.Chunk) error {
		w := out
		if c.Stream == api.Stderr {
			w = errOut
		}
		if _, err := w.Write(c.Data); err != nil {
			return fmt.Errorf("write the output: %w", err)
		}
		return nil
	}
}

// missing is what an ended execution printed and is not stored any more.
type missing struct {
	bytes int64
	// why is the server's word for it, "" if it has none.
	why string
}

func (m missing) String() string {
	why := m.why
	if why == "" {
		why = "the operator decides how long it is kept"
	}
	return fmt.Sprintf("%d bytes of the output are not stored any more: %s", m.bytes, why)
}

func (a *app) tellMissing(m missing) {
	if m.bytes > 0 {
		a.note("%s", m)
	}
}

// readOutput hands over what is stored of an execution's output, up to where it is now, and returns
// what of an ended one is missing.
func readOutput(ctx context.Context, client *api.Client, e api.Execution, write func(api.Chunk) error) (missing, error) {
	return readOutputFrom(ctx, client, e, &position{}, write)
}

// readOutputFrom is readOutput from a position, which it moves to where it ends.
func readOutputFrom(ctx context.Context, client *api.Client, e api.Execution, at *position, write func(api.Chunk) error) (missing, error) {
	begin, cursor, got := at.offset, uint64(0), int64(0)
	var lacks missing
	for {
		ask := api.ExecutionOutput{ExecutionRef: api.ExecutionRef{ID: e.ID}, From: at.offset, Cursor: cursor}
		page, chunks, err := client.Output(ctx, ask)
		if err != nil {
			return missing{}, err
		}
		if at.attempt != 0 && page.Attempt != at.attempt {
			return missing{}, nil // started anew meanwhile: what was read is what that attempt printed
		}
		at.attempt = page.Attempt
		for _, c := range chunks {
			if err := write(c); err != nil {
				return missing{}, err
			}
			got += int64(len(c.Data))
		}
		if page.Gone != nil {
			lacks.why = page.Gone.Why
		}
		if page.End != nil || page.Next <= at.offset {
			lacks.bytes = max(0, e.Output.StdoutBytes+e.Output.StderrBytes-begin-got)
			return lacks, nil
		}
		at.offset, cursor = page.Next, page.Cursor
	}
}
