package orchestrator

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/events/log"
	"github.com/hermes-serverless/hermes/projections/executions"
	"github.com/hermes-serverless/hermes/projections/functions"
	"github.com/hermes-serverless/hermes/services/api"
)

func (s *Service) info(_ context.Context, user string, _ api.InfoRequest) (api.Info, error) {
	return api.Info{
		User: user, Version: s.Version, Defaults: s.Policy.Defaults, Maxima: s.Policy.Maxima,
		MaxInputBytes: s.Policy.MaxInputBytes, MaxBundleBytes: s.Policy.MaxBundleBytes, Network: s.Policy.Network,
	}, nil
}

func (s *Service) run(ctx context.Context, user string, ask api.Run) (api.Accepted, error) {
	if err := checkIDs(ask.ID); err != nil {
		return api.Accepted{}, err
	}
	if err := checkBatch(ask); err != nil {
		return api.Accepted{}, err
	}
	ask.Function.Owner = api.OwnerOf(ask.Function.Owner, user)
	if err := checkRef(ask.Function); err != nil {
		return api.Accepted{}, err
	}
	f, err := s.functions.get(ctx, ask.Function.Owner, ask.Function.Name)
	if err != nil {
		return api.Accepted{}, err
	}
	if f.Owner == "" {
		f.Owner, f.Name = ask.Function.Owner, ask.Function.Name
	}
	if err := s.checkInputBlob(ctx, user, ask.Input); err != nil {
		return api.Accepted{}, err
	}
	return s.accept(ctx, user, ask.ID, func(state executions.Execution) (events.Data, error) {
		return decideRun(s.policyOf(user), state, f, user, ask)
	})
}

func (s *Service) build(ctx context.Context, user string, ask api.FunctionBuild) (api.Accepted, error) {
	if err := checkIDs(ask.Build); err != nil {
		return api.Accepted{}, err
	}
	if err := s.checkHolder(ctx, user, "bundle", ask.Bundle); err != nil {
		return api.Accepted{}, err
	}
	ref, config, base, err := s.Bundles.Manifest(ctx, ask.Bundle)
	if err != nil {
		return api.Accepted{}, err
	}
	ref.Owner = user
	capabilities, err := s.capabilities(ctx)
	if err != nil {
		return api.Accepted{}, err
	}
	return s.accept(ctx, user, ask.Build, func(state executions.Execution) (events.Data, error) {
		return decideBuild(s.policyOf(user), state, buildRequest(ref, functions.Pending{Bundle: ask.Bundle, Base: base, Config: config}, capabilities))
	})
}

// capabilities are those of every GPU that was ever known.
func (s *Service) capabilities(ctx context.Context) ([]string, error) {
	watchers, err := s.Views.Watchers(ctx)
	if err != nil {
		return nil, fmt.Errorf("read the fleet: %w", err)
	}
	return capabilitiesOf(func(yield func(events.Machine) bool) {
		for _, w := range watchers {
			if !yield(w.Machine) {
				return
			}
		}
	}), nil
}

// accept appends the request of a new execution, or finds that it was accepted before.
func (s *Service) accept(ctx context.Context, user, id string, decide func(executions.Execution) (events.Data, error)) (api.Accepted, error) {
	state, err := s.acceptedBefore(ctx, user, id)
	if err != nil {
		return api.Accepted{}, err
	}
	for {
		data, err := decide(state)
		if err != nil {
			return api.Accepted{}, err
		}
		if data == nil {
			return api.Accepted{ID: id, Function: state.Request.Function, RequestedAt: state.RequestedAt, Sequence: state.Sequence}, nil
		}
		settle, err := s.admit(ctx, user, id, data)
		if isRefusal(err) && state.Status == "" {
			// The very same request may have been accepted when there was room.
			if known, foldErr := s.fold(ctx, user, id); foldErr == nil && known.Status != "" {
				state = known
				continue
			}
		}
		if err != nil {
			return api.Accepted{}, err
		}
		next, err := s.append(ctx, user, id, executions.Execution{}, acceptEventID(user, id, data), data)
		if err == nil {
			settle(next.Sequence)
			s.appended(ctx, next, data)
			return api.Accepted{ID: id, Function: next.Request.Function, RequestedAt: next.RequestedAt, Sequence: next.Sequence}, nil
		}
		if !errors.Is(err, log.ErrConflict) {
			return api.Accepted{}, fmt.Errorf("append the request of execution %s: %w", id, err)
		}
		settle(0)
		if state, err = s.fold(ctx, user, id); err != nil {
			return api.Accepted{}, err
		}
	}
}

// youngID is how long after its making an id is certainly in the log, if it was accepted: a fraction of
// the shortest time that the log keeps what has ended.
const youngID = 10 * time.Minute

// acceptedBefore finds an execution that the log may have let go of: its subject is empty again, and
// the request would be accepted anew.
func (s *Service) acceptedBefore(ctx context.Context, user, id string) (executions.Execution, error) {
	if made, err := ulid.ParseStrict(id); err == nil && s.now().Sub(made.Timestamp()) < youngID {
		return executions.Execution{}, nil
	}
	found, err := s.Views.ExecutionByID(ctx, user, id)
	if err != nil {
		return found, fmt.Errorf("look whether execution %s was accepted before: %w", id, err)
	}
	return found, nil
}

func (s *Service) checkInputBlob(ctx context.Context, user string, in events.Input) error {
	if in.Blob == nil {
		return nil
	}
	if err := checkInput(s.Policy, in); err != nil {
		return err
	}
	return s.checkHolder(ctx, user, "input", *in.Blob)
}

// checkHolder refuses content that the user has not uploaded, whoever else has.
func (s *Service) checkHolder(ctx context.Context, user, what string, blob events.Blob) error {
	if err := events.CheckDigest(blob.Digest); err != nil {
		return api.Errorf(api.Invalid, api.InvalidArguments, "%s: %v", what, err)
	}
	holds, err := s.Blobs.IsHolder(ctx, user, blob.Digest)
	if err != nil {
		return fmt.Errorf("look for the %s %s: %w", what, blob.Digest, err)
	}
	if !holds {
		return api.Errorf(api.NotFound, api.NoSuchBlob, "you have not uploaded the %s %s", what, blob.Digest).
			WithHint("upload it first, then ask again")
	}
	return nil
}

// cancel asks for the end of an execution. What is queued ends at once, what runs is told to end.
func (s *Service) cancel(ctx context.Context, user string, ref api.ExecutionRef) (api.Execution, error) {
	found, err := s.find(ctx, user, ref)
	if err != nil {
		return api.Execution{}, err
	}
	for {
		state, err := s.fold(ctx, user, found.ID)
		if err != nil {
			return api.Execution{}, err
		}
		state.Number = found.Number
		data, err := decideCancel(state, user)
		if err != nil || data == nil {
			return shown(user, state, api.QueuePositionReply{}), err
		}
		next, err := s.append(ctx, user, found.ID, state, api.NewID(), data)
		if err == nil {
			s.appended(ctx, next, data)
			return shown(user, next, api.QueuePositionReply{}), nil
		}
		if !errors.Is(err, log.ErrConflict) {
			return api.Execution{}, fmt.Errorf("append the cancel of execution %s: %w", found.ID, err)
		}
	}
}

func checkIDs(id string) error {
	if err := events.CheckExecutionID(id); err != nil {
		return api.Errorf(api.Invalid, api.InvalidArguments, "%v", err)
	}
	return nil
}

func checkRef(ref events.FunctionRef) error {
	err := errors.Join(events.CheckUserName(ref.Owner), events.CheckFunctionName(ref.Name))
	if ref.Version != "" {
		err = errors.Join(err, events.CheckVersion(ref.Version))
	}
	if err != nil {
		return api.Errorf(api.Invalid, api.InvalidArguments, "function id: %v", err).WithHint("it looks like owner/name:1.0.0")
	}
	return nil
}
