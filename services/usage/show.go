package usage

import (
	"context"
	"time"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/projections/quotas"
	"github.com/hermes-serverless/hermes/services/api"
)

func (s *Service) quota(ctx context.Context, user string, _ api.QuotaRequest) (api.Quotas, error) {
	return s.Of(ctx, user)
}

// Of is what the user uses and may, as the logs have it now.
func (s *Service) Of(ctx context.Context, user string) (api.Quotas, error) {
	if err := s.settled(ctx, s.today); err != nil {
		return api.Quotas{}, err
	}
	within, cancel := context.WithTimeout(ctx, recheckWithin)
	defer cancel()
	if err := s.catchUp(within); err != nil {
		return api.Quotas{}, unavailable()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.Now()
	used, limits, set := s.use(user, now), s.limits(user), s.users[user].Quota
	reply := api.Quotas{User: user, Quotas: make([]api.Quota, 0, quotas.Figures)}
	for _, f := range quotas.All() {
		reply.Quotas = append(reply.Quotas, row(f, used, limits, set, now))
	}
	return reply, nil
}

func row(f quotas.Figure, used quotas.Amounts, limits quotas.Limits, set events.UserQuotaSet, now time.Time) api.Quota {
	q := api.Quota{Name: f.String(), Unit: api.QuotaUnit(f), IsDefault: !quotas.IsSet(set, f), Frees: api.QuotaFrees(f)}
	if f != quotas.Rate {
		n := api.QuotaAmount(f, used[f])
		q.Used = &n
	}
	if most, bounded := limits.Most(f); bounded {
		n := api.QuotaAmount(f, most)
		q.Limit = &n
	}
	if f == quotas.GPUTime || f == quotas.Output {
		q.FreesAt = quotas.NextDay(now)
	}
	return q
}
