package registry

import (
	"context"
	"slices"
	"strings"

	"github.com/agext/levenshtein"

	"github.com/hermes-serverless/hermes/projections/functions"
	"github.com/hermes-serverless/hermes/services/api"
)

// noSuchFunction names the function that was probably meant, of those that the caller may see: of
// the owner or, where that one has nothing to show, of an owner with a name like it.
func (s *Service) noSuchFunction(ctx context.Context, caller, owner, name string) error {
	missing := api.Errorf(api.NotFound, api.NoSuchFunction, "there is no function %s/%s", owner, name)
	names := s.visibleNames(ctx, caller, owner)
	if len(names) == 0 && owner != caller {
		if owner = s.ownerLike(ctx, caller, owner); owner != "" {
			names = s.visibleNames(ctx, caller, owner)
		}
	}
	if slices.Contains(names, name) {
		return missing.WithHint("did you mean %s/%s?", owner, name)
	}
	if like := nearest(name, names); like != "" {
		return missing.WithHint("did you mean %s/%s?", owner, like)
	}
	if len(names) > 0 {
		return missing.WithHint("`hermes function list %s` shows what there is", owner)
	}
	return missing.WithHint("`hermes function list` shows what there is")
}

// visibleNames are the owner's functions that the caller may see. A view that cannot be read has
// none: what they are for is a hint.
func (s *Service) visibleNames(ctx context.Context, caller, owner string) []string {
	var names []string
	for _, f := range s.visible(ctx, caller, owner) {
		names = append(names, f.Name)
	}
	return names
}

// ownerLike returns the owner of something that the caller may see whose name is most like the
// given one, empty if none is like it. It reads every function: only for an owner who has nothing.
func (s *Service) ownerLike(ctx context.Context, caller, owner string) string {
	var owners []string
	for _, f := range s.visible(ctx, caller, "") {
		owners = append(owners, f.Owner)
	}
	return nearest(owner, owners)
}

func (s *Service) visible(ctx context.Context, caller, owner string) []functions.Function {
	all, err := s.Views.ListFunctions(ctx, owner)
	if err != nil {
		s.Log.Warn("cannot look for a name like one that is not there", "owner", owner, "err", err)
	}
	return slices.DeleteFunc(all, func(f functions.Function) bool { return len(Rows(f, caller)) == 0 })
}

// nearest returns the name that is most like the given one, else the first that begins with it;
// empty if there is none.
func nearest(name string, names []string) string {
	like, best := "", len(name)/2+1
	for _, n := range names {
		if d := levenshtein.Distance(name, n, nil); d < best || d == best && like != "" && n < like {
			like, best = n, d
		}
	}
	if like != "" {
		return like
	}
	for _, n := range slices.Sorted(slices.Values(names)) {
		if strings.HasPrefix(n, name) {
			return n
		}
	}
	return ""
}

func noSuchVersion(ask api.FunctionInspect, rows []api.Function) error {
	versions := make([]string, len(rows))
	for i, row := range rows {
		versions[i] = row.FunctionVersion
	}
	return api.Errorf(api.NotFound, api.NoSuchVersion, "function %s/%s has no version %s", ask.Owner, ask.Name, ask.Version).
		WithHint("it has %s", strings.Join(versions, ", "))
}
