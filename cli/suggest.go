package cli

import (
	"context"
	"strings"
	"time"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/services/api"
)

// suggestTime is how long somebody who mistyped waits for what they probably meant: the server has just
// answered.
const suggestTime = 5 * time.Second

// suggest adds to the error of a function that does not exist what the registry says to it: the
// name that was probably meant. Whatever goes wrong on the way, the error stays what it was.
func suggest(ctx context.Context, client *api.Client, ref events.FunctionRef, err error) error {
	e, ok := api.AsError(err)
	if !ok || e.Name != api.NoSuchFunction || strings.Contains(e.Hint, "did you mean") {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, suggestTime)
	defer cancel()
	_, inspectErr := api.Call[api.Functions](ctx, client, api.OpFunctionInspect, api.FunctionInspect{Owner: ref.Owner, Name: ref.Name})
	if like, ok := api.AsError(inspectErr); ok && like.Name == api.NoSuchFunction {
		return e.WithHint("%s", like.Hint)
	}
	return err
}
