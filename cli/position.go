package cli

import (
	"context"
	"strconv"

	"github.com/hermes-serverless/hermes/services/api"
	"github.com/hermes-serverless/hermes/services/moment"
)

// position is a place in an execution's output: how many bytes of both streams the attempt (0: the
// first that there will be) has printed before it.
type position struct {
	attempt int
	offset  int64
}

// positionHelp says what findPosition reads.
const positionHelp = "start, now, a time such as 12:03:05 or -30s, or an offset in bytes"

// findPosition asks the server for what a person calls a place in the output.
func (a *app) findPosition(ctx context.Context, client *api.Client, id, text string) (position, error) {
	ask := api.ExecutionOutput{ExecutionRef: api.ExecutionRef{ID: id}}
	offset, err := strconv.ParseInt(text, 10, 64)
	switch {
	case text == "start" || text == "":
		return position{}, nil
	case text == "now":
		ask.Latest = true
	case err == nil && offset >= 0:
		ask.From = offset
	default:
		since, ok := moment.Parse(text, a.now())
		if !ok {
			return position{}, usage("%q is no place in an output: it must be %s", text, positionHelp)
		}
		ask.Since = since
	}
	var page api.OutputPage
	err = retried(ctx, func(ctx context.Context) (err error) {
		page, _, err = client.Output(ctx, ask)
		return err
	})
	if err != nil {
		return position{}, err
	}
	if page.End != nil && page.Begin > page.End.StdoutBytes+page.End.StderrBytes {
		return position{}, usage("offset %d: the output has %d bytes", page.Begin, page.End.StdoutBytes+page.End.StderrBytes)
	}
	return position{page.Attempt, page.Begin}, nil
}
