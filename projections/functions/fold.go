package functions

import (
	"maps"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/projections"
)

// MaxVersions bounds the versions, pending builds, failed builds and aliases of one function,
// each: its view must fit into one message.
const MaxVersions = 500

// Exists reports whether anything is left of the function.
func (f Function) Exists() bool {
	return len(f.Versions) > 0 || len(f.Pending) > 0 || len(f.Failed) > 0
}

// Fold returns the state after the record. It is pure and total over legal histories; anything
// else is an *events.ImpossibleError and leaves the state as it was.
func Fold(f Function, r events.Record) (Function, error) {
	owner, name, err := events.ParseFunctionSubject(r.Subject)
	if err != nil {
		return f, impossible(r, "%v", err)
	}
	next, err := f.apply(r)
	if err != nil {
		return f, err
	}
	next.Owner, next.Name, next.Sequence = owner, name, r.Sequence
	return next, nil
}

func (f Function) apply(r events.Record) (Function, error) {
	switch d := r.Data.(type) {
	case events.FunctionRegistered:
		return f.registered(r, d)
	case events.FunctionBuilt:
		return f.built(r, d)
	case events.FunctionBuildFailed:
		return f.buildFailed(r, d)
	case events.FunctionAliasSet:
		return f.aliasSet(r, d)
	case events.FunctionDeleted:
		return f.deleted(r, d)
	case events.FunctionsForgotten:
		return Function{}, nil
	}
	return f, impossible(r, "it is not an event of a function")
}

func (f Function) registered(r events.Record, d events.FunctionRegistered) (Function, error) {
	_, exists := f.Versions[d.Version]
	pending, builds := f.Pending[d.Version]
	switch {
	case d.Version == "" || d.Build == "":
		return f, impossible(r, "it has no version or no build")
	case builds:
		return f, impossible(r, "build %s of version %s has not ended", pending.Build, d.Version)
	case d.Replaces && !exists:
		return f, impossible(r, "version %s does not exist, so nothing is replaced", d.Version)
	case !d.Replaces && exists:
		return f, impossible(r, "version %s exists", d.Version)
	case !exists && len(f.Versions) >= MaxVersions || len(f.Pending) >= MaxVersions:
		return f, impossible(r, "there are %d versions and %d builds already", len(f.Versions), len(f.Pending))
	}
	f.Pending = with(f.Pending, d.Version, Pending{
		Config: d.Config, Base: d.Base, Bundle: d.Bundle, Build: d.Build, RegisteredAt: r.Time,
		Reuses: d.Reuses,
	})
	return f, nil
}

func (f Function) built(r events.Record, d events.FunctionBuilt) (Function, error) {
	pending, err := f.pending(r, d.Version, d.Build)
	if err != nil {
		return f, err
	}
	f.Versions = with(f.Versions, d.Version, Version{
		Config: pending.Config, Base: pending.Base, Bundle: pending.Bundle, Artifact: d.Artifact,
		Build: d.Build, BuiltBy: d.BuiltBy, RegisteredAt: pending.RegisteredAt, BuiltAt: r.Time,
	})
	f.Pending = without(f.Pending, d.Version)
	f.Failed = without(f.Failed, d.Version)
	return f, nil
}

func (f Function) buildFailed(r events.Record, d events.FunctionBuildFailed) (Function, error) {
	pending, err := f.pending(r, d.Version, d.Build)
	if err != nil {
		return f, err
	}
	if _, failed := f.Failed[d.Version]; !failed && len(f.Failed) >= MaxVersions {
		return f, impossible(r, "there are %d failed builds already", len(f.Failed))
	}
	f.Failed = with(f.Failed, d.Version, FailedBuild{
		Config: pending.Config, Base: pending.Base, Bundle: pending.Bundle,
		Build: d.Build, RegisteredAt: pending.RegisteredAt,
		Reason: d.Reason, Message: d.Message, FailedAt: r.Time,
	})
	f.Pending = without(f.Pending, d.Version)
	return f, nil
}

// pending returns the build that is to end, and refuses the end of any other.
func (f Function) pending(r events.Record, version, build string) (Pending, error) {
	p, ok := f.Pending[version]
	if !ok {
		return p, impossible(r, "no build of version %s is pending", version)
	}
	if p.Build != build {
		return p, impossible(r, "build %s of version %s is pending, not %s", p.Build, version, build)
	}
	return p, nil
}

func (f Function) aliasSet(r events.Record, d events.FunctionAliasSet) (Function, error) {
	_, exists := f.Versions[d.Version]
	_, builds := f.Pending[d.Version]
	_, set := f.Aliases[d.Alias]
	switch {
	case d.Alias == "":
		return f, impossible(r, "the alias has no name")
	case !exists && !builds:
		return f, impossible(r, "version %s does not exist", d.Version)
	case !set && len(f.Aliases) >= MaxVersions:
		return f, impossible(r, "there are %d aliases already", len(f.Aliases))
	}
	f.Aliases = with(f.Aliases, d.Alias, d.Version)
	return f, nil
}

// deleted takes the versions away with everything that names them: builds under way, failed
// builds and aliases. The end of such a build is impossible from here on.
func (f Function) deleted(r events.Record, d events.FunctionDeleted) (Function, error) {
	if len(d.Versions) == 0 {
		return f, impossible(r, "it names no version")
	}
	for _, v := range d.Versions {
		_, exists := f.Versions[v]
		_, builds := f.Pending[v]
		_, failed := f.Failed[v]
		if !exists && !builds && !failed {
			return f, impossible(r, "version %s does not exist", v)
		}
		f.Versions, f.Pending, f.Failed = without(f.Versions, v), without(f.Pending, v), without(f.Failed, v)
		for alias, target := range f.Aliases {
			if target == v {
				f.Aliases = without(f.Aliases, alias)
			}
		}
	}
	return f, nil
}

// with returns a copy of the map that has the key: states share nothing that is modified.
func with[V any](m map[string]V, key string, value V) map[string]V {
	m = maps.Clone(m)
	if m == nil {
		m = map[string]V{}
	}
	m[key] = value
	return m
}

// without returns a copy of the map that does not have the key; nil if nothing is left.
func without[V any](m map[string]V, key string) map[string]V {
	if _, ok := m[key]; !ok {
		return m
	}
	if len(m) == 1 {
		return nil
	}
	m = maps.Clone(m)
	delete(m, key)
	return m
}

func impossible(r events.Record, format string, args ...any) error {
	return projections.Impossible(r, format, args...)
}
