package usage

import (
	"context"
	"time"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/projections/quotas"
	"github.com/hermes-serverless/hermes/services/api"
)

const (
	// reservedFor bounds how long a place is kept for a request of which nobody knows whether it was
	// stored.
	reservedFor = time.Minute
	// recheckWithin bounds the wait for the end of the log before something is refused.
	recheckWithin = 2 * time.Second
)

// reservation is a place that was given and that the log has not shown yet.
type reservation struct {
	asked quotas.Amounts
	blobs []events.Blob
	until time.Time
}

// Limits are what holds for the user.
func (s *Service) Limits(user string) quotas.Limits {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.limits(user)
}

func (s *Service) limits(user string) quotas.Limits {
	return quotas.Resolve(s.users[user].Quota, s.Defaults)
}

// Day is what the user has used of the day's figures. Known is false while that is being summed up,
// shortly after a start.
func (s *Service) Day(user string, now time.Time) (used quotas.Amounts, known bool) {
	select {
	case <-s.today:
		known = true
	default:
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	all := s.book.Use(user, now)
	used[quotas.GPUTime], used[quotas.Output] = all[quotas.GPUTime], all[quotas.Output]
	return used, known
}

// Admit gives an execution a place in its user's queue, or says which bound is in the way: an
// *api.Error (QuotaExceeded). settle tells the sequence of the request in the log, which may have had it
// before, or 0: nobody asks for the place any more. Who cannot know says nothing.
func (s *Service) Admit(ctx context.Context, user, id string, r events.ExecutionRequested) (settle func(stored uint64), err error) {
	return s.admit(ctx, user, id, quotas.Ask(r), quotas.Blobs(r))
}

// AdmitBuild is Admit for a build whose request is yet to be made; giveBack is for a place that nobody
// asks for any more.
func (s *Service) AdmitBuild(ctx context.Context, user, id string, bundle events.Blob) (giveBack func(), err error) {
	r := events.ExecutionRequested{Kind: events.KindBuild, Source: bundle, Limits: quotas.Within(s.Limits(user), s.Build)}
	settle, err := s.Admit(ctx, user, id, r)
	if err != nil {
		return nil, err
	}
	return func() { settle(0) }, nil
}

// AdmitUpload says whether the user may store the content besides what they do, or an *api.Error.
func (s *Service) AdmitUpload(ctx context.Context, user string, blob events.Blob) error {
	_, err := s.admit(ctx, user, "", quotas.Amounts{}, []events.Blob{blob})
	return err
}

func (s *Service) admit(ctx context.Context, user, id string, asked quotas.Amounts, blobs []events.Blob) (settle func(stored uint64), err error) {
	if err := s.settled(ctx, s.ready); err != nil {
		return nil, err
	}
	if err := s.refuseGone(user); err != nil {
		return nil, err
	}
	limits := s.Limits(user)
	_, output := limits.Most(quotas.Output)
	if _, gpus := limits.Most(quotas.GPUTime); output || gpus {
		if err := s.settled(ctx, s.today); err != nil {
			return nil, err
		}
	}
	over := s.reserve(user, id, asked, blobs)
	if over != nil {
		// What has started or ended a moment ago may have made room, or the operator.
		within, cancel := context.WithTimeout(ctx, recheckWithin)
		defer cancel()
		if err := s.catchUp(within); err != nil {
			return nil, unavailable()
		}
		over = s.reserve(user, id, asked, blobs)
	}
	if over != nil {
		return nil, api.QuotaExceededError(user, *over, s.Now())
	}
	return func(stored uint64) { s.settle(user, id, stored) }, nil
}

// refuseGone refuses what was asked before the user's keys stopped working, and is worked on after that:
// nobody would be there to whom it belongs.
func (s *Service) refuseGone(user string) error {
	s.mu.Lock()
	u := s.users[user]
	s.mu.Unlock()
	if u.Disabled || u.Sequence > 0 && !u.Registered {
		return api.Errorf(api.Unauthorized, api.UserDisabled, "the account %s is disabled", user).
			WithHint("the operator of the server can enable it")
	}
	return nil
}

// reserve takes the place, or says what is in the way. An empty id is of something that takes none.
func (s *Service) reserve(user, id string, asked quotas.Amounts, blobs []events.Blob) *quotas.Over {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.Now()
	used := s.use(user, now)
	asked[quotas.Stored] = s.book.New(user, append(s.reservedBlobs(user), blobs...)) - s.book.New(user, s.reservedBlobs(user))
	if over := quotas.Refuse(s.limits(user), used, asked); over != nil {
		return over
	}
	if id == "" || s.book.Knows(user, id) {
		return nil // it is counted already: the log will tell the one who asks
	}
	if s.reserved[user] == nil {
		s.reserved[user] = map[string]reservation{}
	}
	s.reserved[user][id] = reservation{asked: asked, blobs: blobs, until: now.Add(reservedFor)}
	return nil
}

// use is what is in the log and what is reserved.
func (s *Service) use(user string, now time.Time) quotas.Amounts {
	used := s.book.Use(user, now)
	for id, r := range s.reserved[user] {
		if now.After(r.until) {
			s.unreserve(user, id)
			continue
		}
		used[quotas.Queued] += r.asked[quotas.Queued]
	}
	used[quotas.Stored] += s.book.New(user, s.reservedBlobs(user))
	return used
}

func (s *Service) reservedBlobs(user string) []events.Blob {
	var all []events.Blob
	for _, r := range s.reserved[user] {
		all = append(all, r.blobs...)
	}
	return all
}

// settle keeps a reservation only if the log is yet to show what it is for.
func (s *Service) settle(user, id string, stored uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if stored <= s.book.Executions() {
		s.unreserve(user, id)
	}
}

func (s *Service) unreserve(user, id string) {
	if s.reserved[user] == nil {
		return
	}
	delete(s.reserved[user], id)
	if len(s.reserved[user]) == 0 {
		delete(s.reserved, user)
	}
}

func unavailable() *api.Error {
	return api.Errorf(api.Unavailable, api.ServerUnavailable, "the server is still finding out what you use").WithHint("try again in a moment")
}
