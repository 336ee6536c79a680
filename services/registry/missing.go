package registry

import (
	"context"
	"strings"

	"github.com/agext/levenshtein"

	"github.com/hermes-serverless/hermes/services/api"
)

// noSuchFunction names the function of the owner that was probably meant, of those that the
// caller may see.
func (s *Service) noSuchFunction(ctx context.Context, caller, owner, name string) error {
	missing := api.Errorf(api.NotFound, api.NoSuchFunction, "there is no function %s/%s", owner, name)
	all, err := s.Views.ListFunctions(ctx, owner)
	if err != nil {
		s.Log.Warn("cannot look for a function with a name like it", "owner", owner, "err", err)
	}
	var names []string
	for _, f := range all {
		if len(Rows(f, caller)) > 0 {
			names = append(names, f.Name)
		}
	}
	if like := nearest(name, names); like != "" {
		return missing.WithHint("did you mean %s/%s?", owner, like)
	}
	return missing.WithHint("`hermes function list` shows what there is")
}

// nearest returns the name that is most like the given one, empty if none is like it.
func nearest(name string, names []string) string {
	like, best := "", len(name)/2+1
	for _, n := range names {
		if d := levenshtein.Distance(name, n, nil); d < best || d == best && like != "" && n < like {
			like, best = n, d
		}
	}
	return like
}

func noSuchVersion(ask api.FunctionInspect, rows []api.Function) error {
	versions := make([]string, len(rows))
	for i, row := range rows {
		versions[i] = row.FunctionVersion
	}
	return api.Errorf(api.NotFound, api.NoSuchVersion, "function %s/%s has no version %s", ask.Owner, ask.Name, ask.Version).
		WithHint("it has %s", strings.Join(versions, ", "))
}
