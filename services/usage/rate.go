package usage

import (
	"sync"
	"time"

	"github.com/hermes-serverless/hermes/projections/quotas"
	"github.com/hermes-serverless/hermes/services/api"
)

const (
	// burstSeconds is how long a user may save up requests.
	burstSeconds = 2
	// maxRated bounds the memory for users; past it those whose bucket is full again are forgotten.
	maxRated = 10_000
)

// rates are token buckets by user.
type rates struct {
	mu sync.Mutex
	by map[string]level
}

type level struct {
	tokens float64
	at     time.Time
}

func newRates() *rates { return &rates{by: map[string]level{}} }

// take uses up a request, or says how long to wait for the next.
func (r *rates) take(user string, perSecond int64, now time.Time) (wait time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	rate := float64(perSecond)
	full := rate * burstSeconds
	l, known := r.by[user]
	tokens := full
	if known {
		tokens = min(full, l.tokens+max(0, now.Sub(l.at).Seconds())*rate)
	}
	if tokens < 1 {
		return time.Duration((1 - tokens) / rate * float64(time.Second))
	}
	if !known && len(r.by) >= maxRated {
		r.forget(now)
	}
	r.by[user] = level{tokens - 1, now}
	return 0
}

// forget drops who has not asked for as long as any bucket takes to fill.
func (r *rates) forget(now time.Time) {
	for user, l := range r.by {
		if now.Sub(l.at) >= burstSeconds*time.Second {
			delete(r.by, user)
		}
	}
}

// Rate says that the user asks too often: an *api.Error (QuotaExceeded). It costs little, and is asked
// before anything else is done for a request.
func (s *Service) Rate(user string) error {
	s.mu.Lock()
	most, bounded := s.limits(user).Most(quotas.Rate)
	// Who leaves is asked for by the services themselves, to remove what they have.
	bounded = bounded && !s.users[user].Leaving
	s.mu.Unlock()
	if !bounded {
		return nil
	}
	if most == 0 {
		return api.QuotaExceededError(user, quotas.Over{Figure: quotas.Rate, Never: true}, s.Now())
	}
	if wait := s.rates.take(user, most, s.Now()); wait > 0 {
		return api.RateExceededError(user, most, wait)
	}
	return nil
}
