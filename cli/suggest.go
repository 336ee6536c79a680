package cli

import (
	"context"
	"strings"

	"github.com/agext/levenshtein"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/services/api"
)

// suggest adds to the error of a function that does not exist the nearest name that does. Whatever
// goes wrong on the way, the error stays what it was.
func suggest(ctx context.Context, client *api.Client, ref events.FunctionRef, err error) error {
	e, ok := api.AsError(err)
	if !ok || e.Name != api.NoSuchFunction || strings.Contains(e.Hint, "did you mean") {
		return err
	}
	owner := ref.Owner
	if owner == "me" {
		owner = ""
	}
	ctx, cancel := context.WithTimeout(ctx, completeTimeout)
	defer cancel()
	list, listErr := api.Call[api.Functions](ctx, client, api.OpFunctionList, api.FunctionList{Owner: owner})
	if listErr != nil {
		return err
	}
	best, nearest := len(ref.Name)/2+1, ""
	for _, f := range list.Functions {
		if d := levenshtein.Distance(ref.Name, f.FunctionName, nil); d < best {
			best, nearest = d, f.FunctionName
		}
	}
	if nearest == "" {
		return err
	}
	if owner != "" {
		nearest = owner + "/" + nearest
	}
	return e.WithHint("did you mean `%s`?", nearest)
}
