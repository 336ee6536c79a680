package registry

import (
	"context"
	"fmt"
	"time"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/projections/functions"
	"github.com/hermes-serverless/hermes/services/api"
)

const (
	// maxWait is how long an inspect waits for a build: shorter than api.DefaultTimeout, so that
	// the caller still hears the answer.
	maxWait = 8 * time.Second
	// maxLag is how long a list waits for the view to show what was just registered.
	maxLag = 2 * time.Second
)

func (s *Service) deploy(ctx context.Context, caller string, ask api.FunctionDeploy) (api.Deployed, error) {
	if err := events.CheckExecutionID(ask.Build); err != nil {
		return api.Deployed{}, api.Errorf(api.Invalid, api.InvalidArguments, "build: %v", err)
	}
	if err := s.mayUse(ctx, caller, ask.Bundle); err != nil {
		return api.Deployed{}, err
	}
	ref, config, base, err := s.bundles.Manifest(ctx, ask.Bundle)
	if err != nil {
		return api.Deployed{}, err
	}
	ref.Owner = caller
	command := deploy{
		Function: ref, Config: config, Bundle: ask.Bundle, Base: base, Build: ask.Build, Update: ask.Update,
	}
	var answer api.Deployed
	giveBack := func() {}
	sequence, err := s.commit(ctx, caller, ref.Name, func(f functions.Function) (decided []events.Data, err error) {
		giveBack() // of a decision that somebody else was faster than
		giveBack = func() {}
		if decided, answer, err = decideDeploy(f, command); err != nil || len(decided) == 0 {
			return nil, err
		}
		if err := s.unused(ctx, caller, ask.Build); err != nil || answer.Reused {
			return decided, err
		}
		back, err := s.Quotas.AdmitBuild(ctx, caller, ask.Build, ask.Bundle)
		if err == nil {
			giveBack = back
		}
		return decided, err
	})
	if err != nil {
		giveBack()
	}
	answer.Sequence = sequence
	return answer, err
}

// mayUse refuses a bundle that the caller did not upload, as if it did not exist.
func (s *Service) mayUse(ctx context.Context, caller string, bundle events.Blob) error {
	if err := events.CheckDigest(bundle.Digest); err != nil {
		return api.Errorf(api.Invalid, api.InvalidArguments, "bundle: %v", err)
	}
	holds, err := s.Blobs.IsHolder(ctx, caller, bundle.Digest)
	if err == nil && !holds {
		return noSuchBundle(bundle)
	}
	return err
}

// unused refuses a build's id that is another execution's.
func (s *Service) unused(ctx context.Context, caller, build string) error {
	last, err := s.Executions.Head(ctx, events.ExecutionSubject(caller, build))
	if err != nil {
		return fmt.Errorf("look for execution %s: %w", build, err)
	}
	if last != 0 {
		return api.Errorf(api.Exists, api.IDInUse, "execution %s exists and is another one", build).
			WithHint("make a new id for each deploy")
	}
	return nil
}

func (s *Service) list(ctx context.Context, caller string, ask api.FunctionList) (api.Functions, error) {
	owner := api.OwnerOf(ask.Owner, caller)
	if err := events.CheckUserName(owner); err != nil {
		return api.Functions{}, api.Errorf(api.Invalid, api.InvalidArguments, "owner: %v", err)
	}
	s.catchUp(ctx)
	all, err := s.Views.ListFunctions(ctx, owner)
	if err != nil {
		return api.Functions{}, fmt.Errorf("list the functions of %s: %w", owner, err)
	}
	rows := []api.Function{}
	for _, f := range all {
		rows = append(rows, Rows(f, caller)...)
	}
	SortRows(rows)
	for i := range rows {
		rows[i].Args, rows[i].Env = nil, nil // each may be large, and a list is one message: inspect has them
	}
	found := api.Functions{Functions: rows}
	if len(rows) == 0 && owner != caller {
		found.OwnerLike = s.ownerLike(ctx, caller, owner)
	}
	return found, nil
}

// catchUp waits a little for the view to show what this instance appended. An old list is better
// than none, so it gives up without an error.
func (s *Service) catchUp(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, maxLag)
	defer cancel()
	if last := s.appended.Load(); last > 0 {
		if err := s.Views.WaitForFunctions(ctx, last); err != nil {
			s.Log.Warn("the functions' view lags behind", "sequence", last, "err", err)
		}
	}
}

func (s *Service) inspect(ctx context.Context, caller string, ask api.FunctionInspect) (api.Functions, error) {
	ask.Owner = api.OwnerOf(ask.Owner, caller)
	if err := checkInspect(ask); err != nil {
		return api.Functions{}, api.Errorf(api.Invalid, api.InvalidArguments, "%v", err)
	}
	f, err := s.fold(ctx, ask.Owner, ask.Name)
	if err == nil && ask.Build != "" && ask.Owner == caller {
		f, err = s.waitForBuild(ctx, f, ask.Build)
	}
	if err != nil {
		return api.Functions{}, err
	}
	rows := Rows(f, caller)
	if len(rows) == 0 {
		return api.Functions{}, s.noSuchFunction(ctx, caller, ask.Owner, ask.Name)
	}
	if ask.Version == "" {
		return api.Functions{Functions: rows}, nil
	}
	for _, row := range rows {
		if row.FunctionVersion == ask.Version {
			return api.Functions{Functions: []api.Function{row}}, nil
		}
	}
	return api.Functions{}, noSuchVersion(ask, rows)
}

func checkInspect(ask api.FunctionInspect) error {
	if err := events.CheckUserName(ask.Owner); err != nil {
		return fmt.Errorf("owner: %w", err)
	}
	if err := events.CheckFunctionName(ask.Name); err != nil {
		return err
	}
	if ask.Version != "" {
		return events.CheckVersion(ask.Version)
	}
	return nil
}

// waitForBuild follows the function until the build is not pending, at most for maxWait. The
// state that it returns may still have it pending.
func (s *Service) waitForBuild(ctx context.Context, f functions.Function, build string) (functions.Function, error) {
	if !isPending(f, build) {
		return f, nil
	}
	waitCtx, cancel := context.WithTimeout(ctx, maxWait)
	defer cancel()
	defer context.AfterFunc(s.ending, cancel)()
	for record, err := range s.Functions.Follow(waitCtx, events.FunctionSubject(f.Owner, f.Name), f.Sequence+1) {
		if waitCtx.Err() != nil && ctx.Err() == nil {
			return f, nil
		}
		if err != nil {
			return f, fmt.Errorf("follow function %s/%s: %w", f.Owner, f.Name, err)
		}
		if f, err = functions.Fold(f, record); err != nil {
			return f, fmt.Errorf("fold function %s/%s: %w", f.Owner, f.Name, err)
		}
		if !isPending(f, build) {
			return f, nil
		}
	}
	return f, ctx.Err()
}

func isPending(f functions.Function, build string) bool {
	for _, p := range f.Pending {
		if p.Build == build {
			return true
		}
	}
	return false
}

func (s *Service) delete(ctx context.Context, caller string, ask api.FunctionDelete) (api.Functions, error) {
	err := checkInspect(api.FunctionInspect{Owner: caller, Name: ask.Name, Version: ask.Version})
	if err != nil {
		return api.Functions{}, api.Errorf(api.Invalid, api.InvalidArguments, "%v", err)
	}
	var rows []api.Function
	_, err = s.commit(ctx, caller, ask.Name, func(f functions.Function) ([]events.Data, error) {
		var deleted events.Data
		if deleted, rows = decideDelete(f, ask.Version); deleted == nil {
			return nil, nil
		}
		return []events.Data{deleted}, nil
	})
	return api.Functions{Functions: rows}, err
}
