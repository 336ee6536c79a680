package orchestrator

import (
	"context"
	"fmt"
	"slices"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/projections/executions"
	"github.com/hermes-serverless/hermes/projections/functions"
	"github.com/hermes-serverless/hermes/services/api"
)

// latest is the version that stands for the highest one.
const latest = "latest"

// rerun accepts an execution that repeats another one of the user's.
func (s *Service) rerun(ctx context.Context, user string, ask api.Rerun) (api.Accepted, error) {
	if err := checkIDs(ask.ID); err != nil {
		return api.Accepted{}, err
	}
	origin, err := s.find(ctx, user, ask.Of)
	if err != nil {
		return api.Accepted{}, err
	}
	if ask.Input != nil {
		if err := s.checkInputBlob(ctx, user, *ask.Input); err != nil {
			return api.Accepted{}, err
		}
	}
	ref := origin.Request.Function
	f, err := s.functions.get(ctx, ref.Owner, ref.Name)
	if err != nil {
		return api.Accepted{}, err
	}
	if f.Owner == "" {
		f.Owner, f.Name = ref.Owner, ref.Name
	}
	requested, err := rerunRequest(s.policyOf(user), origin, f, user, ask)
	if err != nil {
		return api.Accepted{}, err
	}
	if err := s.checkKept(ctx, origin, requested); err != nil {
		return api.Accepted{}, err
	}
	return s.accept(ctx, user, ask.ID, func(state executions.Execution) (events.Data, error) {
		return acceptOnce(state, requested)
	})
}

// checkKept refuses what could only fail on the watcher: content may be collected when nothing that
// is registered refers to it any more.
func (s *Service) checkKept(ctx context.Context, origin executions.Execution, r events.ExecutionRequested) error {
	kept, err := s.Blobs.Keep(ctx, r.Source.Digest)
	if err != nil {
		return fmt.Errorf("look for the artifact %s: %w", r.Source.Digest, err)
	}
	if !kept {
		return api.Errorf(api.NotFound, api.NoSuchArtifact, "the artifact that execution %s ran is no longer kept", label(origin)).
			WithHint("--version latest runs the version that there is now")
	}
	if r.Input.Blob == nil {
		return nil
	}
	if kept, err = s.Blobs.Keep(ctx, r.Input.Blob.Digest); err != nil {
		return fmt.Errorf("look for the input %s: %w", r.Input.Blob.Digest, err)
	}
	if !kept {
		return api.Errorf(api.NotFound, api.NoSuchBlob, "the input of execution %s is no longer kept", label(origin)).
			WithHint("give it again: --input FILE")
	}
	return nil
}

// rerunRequest is the request of an execution that repeats the origin, which is the caller's.
func rerunRequest(policy Policy, origin executions.Execution, f functions.Function, caller string, ask api.Rerun) (events.ExecutionRequested, error) {
	r := origin.Request
	if r.Kind != events.KindRun {
		return r, api.Errorf(api.State, api.InvalidArguments, "execution %s is a %s, not a run", label(origin), r.Kind).
			WithHint("`hermes function deploy -u` and `hermes function build` build again")
	}
	switch {
	case ask.Input != nil:
		if err := checkInput(policy, *ask.Input); err != nil {
			return r, err
		}
		r.Input = *ask.Input
	case r.Interactive:
		given, err := givenTo(origin)
		if err != nil {
			return r, err
		}
		r.Input = given
	}
	r.Interactive = false // what was typed is known now
	if ask.Version != "" {
		ref := events.FunctionRef{Owner: r.Function.Owner, Name: r.Function.Name, Version: ask.Version}
		if ask.Version == latest {
			ref.Version = ""
		}
		if err := checkRef(ref); err != nil {
			return r, err
		}
		now, err := runRequest(policy, f, caller, api.Run{Function: ref, Input: r.Input})
		now.Retries, now.Origin = r.Retries, origin.ID
		return now, err
	}
	// An owner may have taken back what others could run.
	if r.Function.Owner != caller && !slices.Contains(visibleVersions(f, caller), r.Function.Version) {
		return r, api.Errorf(api.NotFound, api.NoSuchVersion, "there is no function %s any more that you may run", r.Function)
	}
	if r.Network != "" && !policy.Network {
		return r, api.Errorf(api.State, api.InvalidConfig, "execution %s had the network %q, and this instance gives none any more", label(origin), r.Network).
			WithHint("ask the operator for `hermesd up --allow-network`")
	}
	r.Limits = withDefaults(r.Limits, policy.Defaults, policy.Maxima)
	r.Origin, r.Batch = origin.ID, nil
	return r, nil
}
