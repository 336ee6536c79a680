package api

import (
	"context"
	"encoding/json"
	"fmt"
	"io"

	"github.com/hermes-serverless/hermes/events"
)

// ExecutionFiles asks for a part of the archive of what one of the caller's executions left in its
// folder of results.
type ExecutionFiles struct {
	ExecutionRef
	// Cursor is the one of the part before, 0 for the first.
	Cursor uint64 `json:"cursor,omitempty"`
}

// FilesPage describes a part, whose raw bytes are the payload. It stands in HeaderPage as JSON.
type FilesPage struct {
	// Results is nil if the execution left nothing. Without an archive in it there are no bytes.
	Results *events.Results `json:"results,omitempty"`
	Cursor  uint64          `json:"cursor,omitempty"`
}

// Results writes the archive of what an execution left to w, if there is one, and says what it is. The
// bytes have been compared with the archive's digest when it returns without an error. An error of w's ends
// it; what the archive is it says then, too.
func (c *Client) Results(ctx context.Context, ref ExecutionRef, w io.Writer) (*events.Results, error) {
	sum := events.NewBlobWriter(w)
	for ask := (ExecutionFiles{ExecutionRef: ref}); ; {
		m, err := c.request(ctx, OpExecutionFiles, ask)
		if err != nil {
			return nil, err
		}
		var page FilesPage
		if err := json.Unmarshal([]byte(m.Header.Get(HeaderPage)), &page); err != nil {
			return nil, Errorf(Internal, InternalError, "the server's part of the results cannot be read: %v", err)
		}
		if page.Results == nil || page.Results.Archive == nil {
			return page.Results, nil
		}
		if _, err := sum.Write(m.Data); err != nil {
			return page.Results, fmt.Errorf("keep the results: %w", err)
		}
		switch want := *page.Results.Archive; {
		case sum.SizeBytes() < want.SizeBytes && len(m.Data) > 0:
			ask.Cursor = page.Cursor
		case sum.Blob() != want:
			return nil, Errorf(Internal, InternalError, "the results that came are not those that were kept: %d bytes, %s", sum.SizeBytes(), sum.Blob().Digest)
		default:
			return page.Results, nil
		}
	}
}
