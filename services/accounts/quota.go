package accounts

import (
	"context"
	"maps"
	"math"
	"slices"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/projections/quotas"
	"github.com/hermes-serverless/hermes/projections/users"
	"github.com/hermes-serverless/hermes/services/api"
)

// Quotas tells what users use.
type Quotas interface {
	// Of is what a user uses and may, as the logs have it now.
	Of(ctx context.Context, user string) (api.Quotas, error)
	// Rate says by an *api.Error that the user asks too often.
	Rate(user string) error
}

// quota sets what is named, and tells what holds.
func (s *Service) quota(ctx context.Context, who string, ask api.UserQuota) (api.Quotas, error) {
	if events.CheckUserName(ask.User) != nil {
		return api.Quotas{}, noSuchUser(ask.User)
	}
	if s.Quotas == nil {
		return api.Quotas{}, api.Errorf(api.State, api.InvalidArguments, "this instance has no quotas")
	}
	_, err := s.commit(ctx, ask.User, who, func(u users.User) ([]events.Data, error) { return decideQuota(u, ask.Set) })
	if err != nil {
		return api.Quotas{}, err
	}
	return s.Quotas.Of(ctx, ask.User)
}

// decideQuota changes some figures of a user's quota. Error: what no figure can be.
func decideQuota(u users.User, set map[string]int64) ([]events.Data, error) {
	switch {
	case !u.Registered:
		return nil, noSuchUser(u.Name)
	case u.Leaving:
		return nil, api.Errorf(api.State, api.UserDisabled, "%s is being removed", u.Name)
	}
	next := u.Quota
	for _, name := range slices.Sorted(maps.Keys(set)) {
		f, known := quotas.Find(name)
		n := set[name]
		switch {
		case !known:
			return nil, api.Errorf(api.Invalid, api.InvalidArguments, "there is no quota %q", api.Clip(name)).WithHint("there are %v", quotas.All())
		case n < events.QuotaNothing || n > maxOf(f):
			return nil, api.Errorf(api.Invalid, api.InvalidArguments, "quota %s: %d must be from 0 to %d", f, n, maxOf(f))
		}
		next = quotas.With(next, f, n)
	}
	if next == u.Quota {
		return nil, nil
	}
	return []events.Data{next}, nil
}

// maxOf keeps sums of a figure far from the end of its numbers.
func maxOf(f quotas.Figure) int64 {
	switch f {
	case quotas.Memory, quotas.Stored, quotas.Output:
		return 1 << 60
	case quotas.GPUTime:
		return 1 << 40
	}
	return math.MaxInt32
}
