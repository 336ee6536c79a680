package orchestrator

import (
	"context"
	"errors"
	"time"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/projections/quotas"
	"github.com/hermes-serverless/hermes/services/api"
)

// Quotas is what the orchestrator asks of users' quotas.
type Quotas interface {
	// Ready returns when what every user may is known, or the context ends.
	Ready(ctx context.Context) error
	// Admit gives an execution a place in its user's queue, or says which bound is in the way by an
	// *api.Error. settle tells the sequence of the request in the log, 0 when it was not stored.
	Admit(ctx context.Context, user, id string, r events.ExecutionRequested) (settle func(stored uint64), err error)
	// Limits are what holds for the user.
	Limits(user string) quotas.Limits
	// Day is what the user has used of the day's figures; known is false shortly after a start.
	Day(user string, now time.Time) (used quotas.Amounts, known bool)
	// Rate says by an *api.Error that the user asks too often.
	Rate(user string) error
}

// unbounded are the quotas of an instance that has none.
type unbounded struct{}

func (unbounded) Ready(context.Context) error { return nil }
func (unbounded) Admit(context.Context, string, string, events.ExecutionRequested) (func(uint64), error) {
	return func(uint64) {}, nil
}
func (unbounded) Limits(string) quotas.Limits { return quotas.Limits{} }
func (unbounded) Day(string, time.Time) (quotas.Amounts, bool) {
	return quotas.Amounts{}, true
}
func (unbounded) Rate(string) error { return nil }

// Room is what a user's quota leaves placement. Its zero value has no bound.
type Room struct {
	Limits quotas.Limits
	// Used is what is in use, and what the day has taken.
	Used quotas.Amounts
}

// over says what keeps an execution from being placed; nil if nothing of the quota does.
func (r Room) over(need Need) *quotas.Over { return quotas.Wait(r.Limits, r.Used, need.asked()) }

// passes reports whether an execution waits for so long that the user's later ones go first: for
// another day, or for the operator.
func (r Room) passes(need Need) bool {
	over := r.over(need)
	return over != nil && !over.Holds()
}

func (r *Room) take(need Need) { r.Used = r.Used.Add(need.asked()) }

func (r *Room) give(need Need) {
	for f, n := range need.asked() {
		r.Used[f] -= n
	}
}

// asked is what it holds of its user's quota when it is placed.
func (n Need) asked() quotas.Amounts {
	return quotas.Amounts{quotas.Concurrent: 1, quotas.CPU: n.CPUMillis, quotas.Memory: n.MemoryBytes, quotas.GPUs: int64(n.GPUs)}
}

// room is what the user's quota leaves now, but for what is in use. What the day has taken is not
// known shortly after a start: until then nothing is placed that it bounds.
func (p *parts) room(user string, now time.Time) Room {
	r := Room{Limits: p.Quotas.Limits(user)}
	used, known := p.Quotas.Day(user, now)
	for _, f := range []quotas.Figure{quotas.GPUTime, quotas.Output} {
		if r.Used[f] = used[f]; !known {
			r.Used[f], _ = r.Limits.Most(f)
		}
	}
	return r
}

// waitsFor is the bound of its user's quota that a waiting execution waits for, or that the one at
// the head of the user's queue does; nil if it waits for something else.
func (s *state) waitsFor(k key, room Room) *quotas.Over {
	e := s.execs[k]
	if e == nil || !e.waiting() {
		return nil
	}
	for _, held := range s.held {
		if held.exec.Owner == k.owner {
			room.take(held.need())
		}
	}
	if over := room.over(e.need()); over != nil {
		return over
	}
	if first := s.waitingOf(k.owner, 1, room); len(first) > 0 {
		return room.over(first[0])
	}
	return nil
}

// policyOf is the policy for a user: what a function does not ask for is within the quota.
func (p *parts) policyOf(user string) Policy {
	policy, limits := p.Policy, p.Quotas.Limits(user)
	policy.Defaults, policy.Build = quotas.Within(limits, policy.Defaults), quotas.Within(limits, policy.Build)
	return policy
}

// admit asks for a place in the user's queue.
func (s *Service) admit(ctx context.Context, user, id string, data events.Data) (settle func(stored uint64), err error) {
	requested, ok := data.(events.ExecutionRequested)
	if !ok {
		return nil, errors.New("only requests are admitted")
	}
	return s.Quotas.Admit(ctx, user, id, requested)
}

// isRefusal reports whether the quota refused, and not a part that does not answer.
func isRefusal(err error) bool { return api.IsKind(err, api.LimitReached) }
