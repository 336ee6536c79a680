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

// registered is a version whose build is to be asked for.
type registered struct {
	owner, name, version string
	functions.Pending
}

// recoverFunctions finds what was registered while nobody led, by folding the log once up to the returned
// sequence; there are far fewer functions than executions. Nothing that waits or runs and is of before a
// change is taken for current.
func (l *leader) recoverFunctions(ctx context.Context) (pending []registered, last uint64, err error) {
	known := map[string]functions.Function{}
	for record, err := range l.Functions.Read(ctx, functionsFilter, 0) {
		if err := l.skipUndecodable(err); err != nil {
			return nil, 0, fmt.Errorf("read the functions' log: %w", err)
		}
		last = record.Sequence
		l.foldFunction(known, record)
	}
	for _, f := range known {
		for version, p := range f.Pending {
			pending = append(pending, registered{f.Owner, f.Name, version, p})
		}
	}
	l.state.compare(known)
	return pending, last, nil
}

// followFunctions asks for the build of every version that was registered, and tells the watchers of those
// that are not what they were.
func (l *leader) followFunctions(ctx context.Context, pending []registered, last uint64) error {
	for _, r := range pending {
		if err := l.requestBuild(ctx, r); err != nil {
			return err
		}
	}
	for record, err := range l.Functions.Follow(ctx, functionsFilter, last+1) {
		if err := l.skipUndecodable(err); err != nil {
			return fmt.Errorf("follow the functions' log: %w", err)
		}
		if record.Data == nil {
			continue
		}
		owner, name, err := events.ParseFunctionSubject(record.Subject)
		if err != nil {
			l.log.Error("event on a subject that is not a function's", "subject", record.Subject)
			continue
		}
		l.functionChanged(owner, name, record)
		data, ok := record.Data.(events.FunctionRegistered)
		if !ok {
			continue
		}
		err = l.requestBuild(ctx, registered{owner, name, data.Version, functions.Pending{
			Config: data.Config, Base: data.Base, Bundle: data.Bundle, Build: data.Build, Reuses: data.Reuses,
		}})
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
func (l *leader) requestBuild(ctx context.Context, r registered) error {
	if r.Reuses != "" {
		return nil
	}
	ref := events.FunctionRef{Owner: r.owner, Name: r.name, Version: r.version}
	event, err := decideBuild(l.policyOf(r.owner), executions.Execution{}, buildRequest(ref, r.Pending, l.capabilities()))
	if err != nil {
		return fmt.Errorf("ask for the build of %s: %w", ref, err)
	}
	exec, err := l.append(ctx, r.owner, r.Build, executions.Execution{}, requestEventID(r.owner, r.Build), event)
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
