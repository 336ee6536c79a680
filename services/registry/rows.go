package registry

import (
	"cmp"
	"maps"
	"slices"

	"github.com/Masterminds/semver/v3"

	"github.com/hermes-serverless/hermes/projections/executions"
	"github.com/hermes-serverless/hermes/projections/functions"
	"github.com/hermes-serverless/hermes/services/api"
	"github.com/hermes-serverless/hermes/services/manifest"
)

// What the Status of a row may be.
const (
	ready    = "ready"
	building = "building"
	updating = "updating"
	failed   = "failed"
	// cancelled is a version whose build its owner ended.
	cancelled = string(executions.Cancelled)
)

// Rows returns the versions of a function that the caller may see, in semver order: all of one's
// own, the public ones of others.
func Rows(f functions.Function, caller string) []api.Function {
	versions := map[string]bool{}
	for v := range f.Versions {
		versions[v] = true
	}
	for v := range f.Pending {
		versions[v] = true
	}
	for v := range f.Failed {
		versions[v] = true
	}
	rows := []api.Function{}
	for v := range maps.Keys(versions) {
		row := rowOf(f, v)
		if f.Owner != caller {
			// A version that never could run is its owner's alone.
			if row.Scope != "public" || row.Status == failed || row.Status == cancelled {
				continue
			}
			// How it came to be is nobody else's business.
			row.BundleDigest, row.Build, row.Reason, row.Message = "", "", "", ""
			row.Args, row.Env = nil, nil
		}
		rows = append(rows, row)
	}
	SortRows(rows)
	return rows
}

// SortRows sorts by name, then by version in semver order, then by owner.
func SortRows(rows []api.Function) {
	slices.SortFunc(rows, func(a, b api.Function) int {
		return cmp.Or(cmp.Compare(a.FunctionName, b.FunctionName),
			compareVersions(a.FunctionVersion, b.FunctionVersion), cmp.Compare(a.Owner, b.Owner))
	})
}

func compareVersions(a, b string) int {
	x, errX := semver.StrictNewVersion(a)
	y, errY := semver.StrictNewVersion(b)
	if errX != nil || errY != nil {
		return cmp.Compare(a, b)
	}
	return x.Compare(y)
}

func rowOf(f functions.Function, version string) api.Function {
	row := api.Function{Owner: f.Owner, FunctionName: f.Name, FunctionVersion: version}
	v, exists := f.Versions[version]
	p, builds := f.Pending[version]
	switch {
	case exists:
		row.Status = ready
		fill(&row, functions.Pending{Config: v.Config, Base: v.Base, Bundle: v.Bundle, Build: v.Build, RegisteredAt: v.RegisteredAt})
		row.Digest = v.Artifact.Digest
		if builds {
			row.Status, row.Build = updating, p.Build
		}
	case builds:
		row.Status = building
		fill(&row, p)
	}
	if why, ok := f.Failed[version]; ok && !builds {
		if !exists {
			row.Status = failedStatus(why)
			fill(&row, functions.Pending{
				Config: why.Config, Base: why.Base, Bundle: why.Bundle, Build: why.Build, RegisteredAt: why.RegisteredAt,
			})
		}
		row.Reason, row.Message = why.Reason, why.Message
	}
	return row
}

func failedStatus(why functions.FailedBuild) string {
	if why.Reason == cancelled {
		return cancelled
	}
	return failed
}

func fill(row *api.Function, p functions.Pending) {
	row.Language, row.Scope, row.GPUCapable = p.Config.Language, p.Config.Scope, p.Config.GPUCapable
	row.Handler, row.Limits, row.Args, row.Env = p.Config.Handler, p.Config.Limits, p.Config.Args, p.Config.Env
	row.Sandbox = manifest.SandboxText(p.Config.ReuseSandbox)
	row.Network, row.GPU = p.Config.Network, p.Config.GPU
	row.Base, row.BundleDigest, row.Build, row.RegisteredAt = p.Base, p.Bundle.Digest, p.Build, p.RegisteredAt
}
