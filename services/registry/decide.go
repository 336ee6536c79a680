package registry

import (
	"fmt"
	"maps"
	"slices"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/projections/executions"
	"github.com/hermes-serverless/hermes/projections/functions"
	"github.com/hermes-serverless/hermes/services/api"
	"github.com/hermes-serverless/hermes/services/manifest"
)

// deploy is the command to register a version.
type deploy struct {
	Function events.FunctionRef
	Config   events.FunctionConfig
	Bundle   events.Blob
	Base     string
	// Build is the id of the execution that will build it.
	Build  string
	Update bool
}

// decideDeploy returns what is to be appended, the events in their order, and the answer but for
// its sequence. No event and no error: the same command was accepted before, and is not decided
// again.
//
// Errors are *api.Error: FunctionAlreadyExists, BuildInProgress, IDInUse, and a limit.
func decideDeploy(f functions.Function, d deploy) ([]events.Data, api.Deployed, error) {
	answer := api.Deployed{Function: d.Function}
	if before, ok := acceptedBefore(f, d); ok {
		if before != d.Bundle {
			return nil, answer, api.Errorf(api.Exists, api.IDInUse, "build %s exists and is of another bundle", d.Build).
				WithHint("make a new id for each deploy")
		}
		answer.Reused, answer.BuiltBy = reusedBefore(f, d)
		if unfinished := decideReuse(f, d.Function.Version); unfinished != nil {
			return []events.Data{unfinished}, answer, nil
		}
		return nil, answer, nil
	}
	version := d.Function.Version
	if p, builds := f.Pending[version]; builds {
		return nil, answer, api.Errorf(api.State, api.BuildInProgress, "%s is being built by %s", d.Function, p.Build).
			WithHint("wait until that build ends, or end it: hermes execution cancel %s", p.Build)
	}
	_, exists := f.Versions[version]
	if exists && !d.Update {
		return nil, answer, api.Errorf(api.Exists, api.FunctionAlreadyExists, "%s exists", d.Function).
			WithHint("replace it with `hermes function deploy -u`, or raise functionVersion in hermes.config.json")
	}
	if err := checkVersions(f, d.Function); err != nil {
		return nil, answer, err
	}
	registered := events.FunctionRegistered{
		Version: version, Config: d.Config, Bundle: d.Bundle, Base: d.Base, Build: d.Build, Replaces: exists,
	}
	built, found := builtBefore(f, d.Bundle, d.Base)
	registered.Reuses = built.BuiltBy // empty if nothing was found
	if err := checkSize(f, registered); err != nil {
		return nil, answer, err
	}
	if !found {
		return []events.Data{registered}, answer, nil
	}
	answer.Reused, answer.BuiltBy = true, built.BuiltBy
	return []events.Data{registered, events.FunctionBuilt{
		Version: version, Build: d.Build, Artifact: built.Artifact, BuiltBy: built.BuiltBy,
	}}, answer, nil
}

// acceptedBefore returns the bundle that the function knows under this build's id.
func acceptedBefore(f functions.Function, d deploy) (events.Blob, bool) {
	for _, p := range f.Pending {
		if p.Build == d.Build {
			return p.Bundle, true
		}
	}
	for _, v := range f.Versions {
		if v.Build == d.Build {
			return v.Bundle, true
		}
	}
	for _, failed := range f.Failed {
		if failed.Build == d.Build {
			return failed.Bundle, true
		}
	}
	return events.Blob{}, false
}

func reusedBefore(f functions.Function, d deploy) (bool, string) {
	if p := f.Pending[d.Function.Version]; p.Build == d.Build && p.Reuses != "" {
		return true, p.Reuses
	}
	if v := f.Versions[d.Function.Version]; v.Build == d.Build && v.BuiltBy != d.Build {
		return true, v.BuiltBy
	}
	return false, ""
}

// builtBefore returns a version of the function that was built of this bundle on this base.
func builtBefore(f functions.Function, bundle events.Blob, base string) (functions.Version, bool) {
	for _, name := range slices.Sorted(maps.Keys(f.Versions)) {
		if v := f.Versions[name]; v.Bundle == bundle && v.Base == base {
			return v, true
		}
	}
	return functions.Version{}, false
}

// decideBuildEnded returns the event that follows from the end of a build, nil if the function
// does not wait for it.
func decideBuildEnded(f functions.Function, e executions.Execution) events.Data {
	if e.Request.Kind != events.KindBuild || !e.Status.Final() {
		return nil
	}
	for version, p := range f.Pending {
		if p.Build != e.ID {
			continue
		}
		if e.Status == executions.Success && e.Artifact != nil {
			return events.FunctionBuilt{Version: version, Build: e.ID, Artifact: *e.Artifact, BuiltBy: e.ID}
		}
		reason, message := whyFailed(e)
		return events.FunctionBuildFailed{Version: version, Build: e.ID, Reason: reason, Message: clip(message)}
	}
	return nil
}

func whyFailed(e executions.Execution) (reason, message string) {
	switch e.Status {
	case executions.Success:
		return events.ReasonArtifact, "the build ended well but left no artifact"
	case executions.Cancelled:
		return string(e.Status), "the build was cancelled by " + e.CancelRequestedBy
	case executions.Timeout:
		return string(e.Status), "the build took longer than " + manifest.TimeoutText(e.Request.Limits.TimeoutMillis)
	case executions.Lost:
		return string(e.Status), "the watcher that built it was lost: " + e.Message
	}
	return e.Reason, e.Message
}

// decideReuse returns the event that follows when a version was registered to take an artifact and
// the registry ended before it gave it: the version's own built event, or its failure if the
// artifact is not known any more. Nil: nothing is left to do.
func decideReuse(f functions.Function, version string) events.Data {
	p, pending := f.Pending[version]
	if !pending || p.Reuses == "" {
		return nil
	}
	for _, v := range f.Versions {
		if v.BuiltBy == p.Reuses && v.Bundle == p.Bundle {
			return events.FunctionBuilt{Version: version, Build: p.Build, Artifact: v.Artifact, BuiltBy: p.Reuses}
		}
	}
	return events.FunctionBuildFailed{Version: version, Build: p.Build, Reason: events.ReasonArtifact,
		Message: "the version whose artifact it was to take was deleted; deploy it again"}
}

// decideDelete returns the event and the rows of what goes; nil if there is nothing of it. An
// empty version is all of them.
func decideDelete(f functions.Function, version string) (events.Data, []api.Function) {
	var gone []string
	rows := []api.Function{}
	for _, row := range Rows(f, f.Owner) {
		if version == "" || row.FunctionVersion == version {
			gone = append(gone, row.FunctionVersion)
			rows = append(rows, row)
		}
	}
	if len(gone) == 0 {
		return nil, rows
	}
	return events.FunctionDeleted{Versions: gone}, rows
}

// checkNetwork refuses a config that asks for a network where the operator gives none, by an
// *api.Error that says where it asks.
func checkNetwork(m manifest.Manifest, allowed bool) error {
	if m.Config.Network == "" || allowed {
		return nil
	}
	problem := manifest.Problem{Line: m.NetworkLine, Field: "network", Message: fmt.Sprintf(
		"%q is asked for, but this instance gives functions no network", m.Config.Network)}
	return api.Errorf(api.Invalid, api.InvalidConfig, "%s", problem).
		WithHint("leave the key out, or ask the operator to start hermesd with --allow-network")
}
