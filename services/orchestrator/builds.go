package orchestrator

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/events/log"
	"github.com/hermes-serverless/hermes/projections/executions"
	"github.com/hermes-serverless/hermes/projections/functions"
)

const functionsFilter = "hermes.function.>"

// followFunctions asks for the build of every version that was registered. What was registered
// while nobody led is found by folding the log once; there are far fewer functions than executions.
func (l *leader) followFunctions(ctx context.Context) error {
	known := map[string]functions.Function{}
	last := uint64(0)
	for record, err := range l.Functions.Read(ctx, functionsFilter, 0) {
		if err := l.skipUndecodable(err); err != nil {
			return fmt.Errorf("read the functions' log: %w", err)
		}
		last = record.Sequence
		l.foldFunction(known, record)
	}
	for _, f := range known {
		for version, pending := range f.Pending {
			if err := l.requestBuild(ctx, f.Owner, f.Name, version, pending); err != nil {
				return err
			}
		}
	}
	clear(known)
	for record, err := range l.Functions.Follow(ctx, functionsFilter, last+1) {
		if err := l.skipUndecodable(err); err != nil {
			return fmt.Errorf("follow the functions' log: %w", err)
		}
		registered, ok := record.Data.(events.FunctionRegistered)
		if !ok {
			continue
		}
		owner, name, err := events.ParseFunctionSubject(record.Subject)
		if err != nil {
			l.log.Error("event on a subject that is not a function's", "subject", record.Subject)
			continue
		}
		err = l.requestBuild(ctx, owner, name, registered.Version, functions.Pending{
			Config: registered.Config, Base: registered.Base, Bundle: registered.Bundle, Build: registered.Build,
			Reuses: registered.Reuses,
		})
		if err != nil {
			return err
		}
	}
	return ctx.Err()
}

func (l *leader) foldFunction(known map[string]functions.Function, record events.Record) {
	if record.Data == nil {
		return
	}
	next, err := functions.Fold(known[record.Subject], record)
	if err != nil {
		l.log.Error("event does not fit its function", "subject", record.Subject, "sequence", record.Sequence, "err", err)
		return
	}
	known[record.Subject] = next
}

// requestBuild appends the request for a build, once: the registration names the execution's id.
// One that takes an earlier build's artifact asks for nothing. An error ends the leader, and the
// next one finds the registration again.
func (l *leader) requestBuild(ctx context.Context, owner, name, version string, p functions.Pending) error {
	if p.Reuses != "" {
		return nil
	}
	ref := events.FunctionRef{Owner: owner, Name: name, Version: version}
	event, err := decideBuild(l.policyOf(owner), executions.Execution{}, buildRequest(ref, p, l.capabilities()))
	if err != nil {
		return fmt.Errorf("ask for the build of %s: %w", ref, err)
	}
	exec, err := l.append(ctx, owner, p.Build, executions.Execution{}, requestEventID(owner, p.Build), event)
	if errors.Is(err, log.ErrConflict) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("ask for the build of %s: %w", ref, err)
	}
	l.learn(ctx, exec, event)
	return nil
}

// buildRequest is for a fleet with GPUs of these compute capabilities.
func buildRequest(ref events.FunctionRef, p functions.Pending, capabilities []string) events.ExecutionRequested {
	r := events.ExecutionRequested{
		Kind: events.KindBuild, Function: ref, Source: p.Bundle, Base: p.Base,
		Handler: p.Config.Handler, Language: p.Config.Language,
	}
	if r.Language == languageCUDA {
		r.ComputeCapabilities = capabilities
	}
	return r
}

const languageCUDA = "cuda"

// capabilities are those of every GPU that was ever known: one that is away may come back.
func (l *leader) capabilities() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return capabilitiesOf(maps.Values(l.state.machines))
}

// capabilitiesOf names each compute capability once.
func capabilitiesOf(machines iter.Seq[events.Machine]) []string {
	var all []string
	for m := range machines {
		for _, g := range m.GPUs {
			if g.ComputeCapability != "" {
				all = append(all, g.ComputeCapability)
			}
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// requestEventID is the id of an execution's first event. It follows from the execution's name, so
// that a repeated request is seen as the same append; two users may use the same execution id.
func requestEventID(owner, execution string) string { return owner + "." + execution + ".requested" }
