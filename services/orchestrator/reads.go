package orchestrator

import (
	"context"
	"fmt"
	"time"

	"github.com/hermes-serverless/hermes/projections/executions"
	"github.com/hermes-serverless/hermes/services/api"
)

const (
	// maxWait bounds one wait; the client asks again.
	maxWait = 30 * time.Second
	// viewWithin bounds how long a read waits for its view to catch up.
	viewWithin = 5 * time.Second
	// settleWithin bounds how long the news of an end waits for the view.
	settleWithin = time.Second
	// leaderWithin bounds a question to the leader, which has the answer in memory, placeWithin one that is
	// of less use than a quick answer without it.
	leaderWithin = 5 * time.Second
	placeWithin  = time.Second
	// leaderAgain lies between two questions to a leader that is not there.
	leaderAgain = 20 * time.Millisecond
)

func (s *Service) inspect(ctx context.Context, user string, ref api.ExecutionRef) (api.Execution, error) {
	found, err := s.find(ctx, user, ref)
	if err != nil {
		return api.Execution{}, err
	}
	return shown(user, found, s.place(ctx, found)), nil
}

// shown is an execution as its user may see it: how somebody else's function is configured is not
// their business.
func shown(user string, e executions.Execution, place api.QueuePositionReply) api.Execution {
	if e.Request.Function.Owner != user {
		e.Request.Args, e.Request.Env = nil, nil
	}
	return api.Execution{Execution: e, Position: place.Position, Doing: place.Doing, Waits: place.Waits, StartsInMillis: place.StartsInMillis}
}

// find returns one of the user's executions, from the view, or from the log when the view has not
// seen it yet. Somebody else's execution does not exist.
func (s *Service) find(ctx context.Context, user string, ref api.ExecutionRef) (executions.Execution, error) {
	var found executions.Execution
	if err := s.caughtUp(ctx, ref.MinSequence); err != nil {
		return found, err
	}
	s.fresh(ctx, user)
	var err error
	switch {
	case ref.Number > 0:
		found, err = s.Views.Execution(ctx, user, ref.Number)
	case ref.ID == "":
		return found, api.Errorf(api.Invalid, api.InvalidArguments, "an execution is named by its number or its id")
	default:
		if err := checkIDs(ref.ID); err != nil {
			return found, err
		}
		found, err = s.findByID(ctx, user, ref.ID)
	}
	if err != nil {
		return found, fmt.Errorf("find an execution of %s: %w", user, err)
	}
	if found.Status == "" {
		name := ref.ID
		if ref.Number > 0 {
			name = fmt.Sprint(ref.Number)
		}
		return found, noSuchRun(name)
	}
	return found, nil
}

func noSuchRun(name string) error {
	return api.Errorf(api.NotFound, api.NoSuchRun, "you have no execution %s", name).
		WithHint("`hermes execution list` shows yours")
}

// findByID looks into the view, and when that has not seen the execution yet, into the log: what
// was accepted exists. Then it waits for the view, which alone knows the execution's number.
func (s *Service) findByID(ctx context.Context, user, id string) (executions.Execution, error) {
	found, err := s.Views.ExecutionByID(ctx, user, id)
	if err != nil || found.Status != "" {
		return found, err
	}
	if found, err = s.fold(ctx, user, id); err != nil || found.Status == "" {
		return found, err
	}
	if err := s.caughtUp(ctx, found.Sequence); err != nil {
		return found, nil
	}
	return s.Views.ExecutionByID(ctx, user, id)
}

// caughtUp waits until the executions' view has seen a sequence.
func (s *Service) caughtUp(ctx context.Context, sequence uint64) error {
	if sequence == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, viewWithin)
	defer cancel()
	if err := s.Views.WaitForExecutions(ctx, sequence); err != nil {
		return api.Errorf(api.Unavailable, api.ServerUnavailable, "the list of executions is behind by more than %s", viewWithin).
			WithHint("try again; the operator sees the reason in hermesd's log")
	}
	return nil
}

// place asks the leader where a queued execution stands; nothing if nobody knows.
func (s *Service) place(ctx context.Context, e executions.Execution) (reply api.QueuePositionReply) {
	if e.Status != executions.Queued {
		return reply
	}
	ctx, cancel := context.WithTimeout(ctx, placeWithin)
	defer cancel()
	reply, err := askLeader[api.QueuePositionReply](ctx, s, api.QueuePositionSubject, api.QueuePosition{Owner: e.Owner, ID: e.ID})
	if err != nil {
		return api.QueuePositionReply{}
	}
	return reply
}

// askLeader asks who alone knows what is placed where. One that is cut off keeps nobody waiting for long;
// while nobody leads, as when an instance begins, it asks again.
func askLeader[Reply any](ctx context.Context, s *Service, subject string, request any) (Reply, error) {
	ctx, cancel := context.WithTimeout(ctx, leaderWithin)
	defer cancel()
	return askUntilLed[Reply](ctx, s, subject, request)
}

// askUntilLed asks until somebody answers, or the context ends.
func askUntilLed[Reply any](ctx context.Context, s *Service, subject string, request any) (Reply, error) {
	for {
		reply, err := api.Ask[Reply](ctx, s.Conn, subject, request)
		if !api.IsKind(err, api.Unavailable) {
			return reply, err
		}
		select {
		case <-time.After(leaderAgain):
		case <-ctx.Done():
			return reply, err
		}
	}
}

// wait answers when the execution has ended, or when the time is over. An id that nobody has seen
// yet is waited for too: a build is asked for behind the registration that names it.
func (s *Service) wait(ctx context.Context, user string, ask api.ExecutionWait) (api.Execution, error) {
	if ask.Changes {
		return s.change(ctx, user, ask)
	}
	found, err := s.find(ctx, user, ask.ExecutionRef)
	unseen := ask.ID != "" && api.IsKind(err, api.NotFound)
	if err != nil && !unseen || found.Status.Final() {
		return shown(user, found, api.QueuePositionReply{}), err
	}
	if unseen {
		found.ID = ask.ID
	}
	within, cancel := context.WithTimeout(ctx, min(time.Duration(ask.WaitMillis)*time.Millisecond, maxWait))
	defer cancel()
	defer context.AfterFunc(s.ending, cancel)()
	state, followErr := s.until(within, user, found.ID, func(e executions.Execution) bool { return e.Status.Final() })
	switch {
	case followErr != nil:
		return api.Execution{}, followErr
	case state.Status == "" && unseen:
		return api.Execution{}, err
	case state.Status == "":
		state = found
	}
	if state.Status.Final() {
		s.settle(ctx, state.Sequence)
	}
	if state.Number = found.Number; unseen {
		if seen, err := s.Views.ExecutionByID(ctx, user, state.ID); err == nil {
			state.Number = seen.Number
		}
	}
	return shown(user, state, s.place(ctx, state)), nil
}

// settle lets the view catch up with an end before somebody hears of it: who then lists or inspects
// must find it there. A view that lags for longer is not worth more waiting.
func (s *Service) settle(ctx context.Context, sequence uint64) {
	ctx, cancel := context.WithTimeout(ctx, settleWithin)
	defer cancel()
	_ = s.Views.WaitForExecutions(ctx, sequence)
}
