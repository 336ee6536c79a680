package events

// Blob is content in the object store, named by what it is.
type Blob struct {
	// Digest is "sha256:" and the hex digits of the content's SHA-256.
	Digest    string `json:"digest"`
	SizeBytes int64  `json:"sizeBytes"`
}

// Limits bound one execution. A zero in a function's config means the operator's default; in
// ExecutionRequested every field is set.
type Limits struct {
	TimeoutMillis int64 `json:"timeoutMillis,omitempty"`
	MemoryBytes   int64 `json:"memoryBytes,omitempty"`
	// CPUMillis is CPU time a second, in thousandths of a core: 1500 is one core and a half.
	CPUMillis int64 `json:"cpuMillis,omitempty"`
	PIDs      int64 `json:"pids,omitempty"`
	TmpBytes  int64 `json:"tmpBytes,omitempty"`
	// OutputBytes bounds each of stdout and stderr.
	OutputBytes int64 `json:"outputBytes,omitempty"`
	// ResultsBytes is the size of the folder of results.
	ResultsBytes int64 `json:"resultsBytes,omitempty"`
}

// FunctionConfig is what hermes.config.json says of one version.
type FunctionConfig struct {
	Language   string `json:"language"`
	GPUCapable bool   `json:"gpuCapable"`
	// Scope is "public" or "private".
	Scope string `json:"scope"`
	// Handler is the file to execute, relative to the function's folder, in slash form.
	Handler string `json:"handler"`
	Limits  Limits `json:"limits,omitzero"`
	// Args follow the handler's own name in a run. A build has none.
	Args []string `json:"args,omitempty"`
	// Env is added to the environment of a run, not of a build. It is stored as it is: no secrets.
	Env map[string]string `json:"env,omitempty"`
	// ReuseSandbox lets a user's runs of this version follow one another in one sandbox.
	ReuseSandbox bool `json:"reuseSandbox,omitempty"`
	// Network is NetworkOutbound, or empty: none.
	Network string `json:"network,omitempty"`
	// GPU is what it asks of GPUs; nil for one whole GPU when GPUCapable, and for none when not.
	GPU *GPURequest `json:"gpu,omitempty"`
}

// NetworkOutbound lets a run open connections to the outside. Nothing can connect to it.
const NetworkOutbound = "outbound"

// FunctionRegistered: a version was accepted and its build asked for. It can run once built.
type FunctionRegistered struct {
	Version string         `json:"version"`
	Config  FunctionConfig `json:"config"`
	Bundle  Blob           `json:"bundle"`
	Base    string         `json:"base"`
	// Build is the id of the execution that builds it.
	Build string `json:"build"`
	// Replaces is set when the version existed; it stays as it was until the new build succeeds.
	Replaces bool `json:"replaces,omitempty"`
	// Reuses is the earlier execution whose artifact this version takes, when the same bundle was
	// built before on the same base. Then Build is no execution, and none is asked for.
	Reuses string `json:"reuses,omitempty"`
}

// FunctionBuilt: the build of a version succeeded; from here the version runs this artifact.
type FunctionBuilt struct {
	Version  string `json:"version"`
	Build    string `json:"build"`
	Artifact Blob   `json:"artifact"`
	// BuiltBy is the execution whose artifact this is: Build, or an earlier one of the same
	// bundle on the same base.
	BuiltBy string `json:"builtBy"`
}

// FunctionBuildFailed: the build of a version ended without an artifact.
type FunctionBuildFailed struct {
	Version string `json:"version"`
	Build   string `json:"build"`
	Reason  string `json:"reason"`
	Message string `json:"message"`
}

// FunctionAliasSet: a name was pointed at a version.
type FunctionAliasSet struct {
	Alias   string `json:"alias"`
	Version string `json:"version"`
}

// FunctionDeleted: these versions are gone and can be registered anew.
type FunctionDeleted struct {
	Versions []string `json:"versions"`
}

// FunctionsForgotten: the owner has left, and no event of their functions before this one is kept. It is the
// only one on its subject, and of no function.
type FunctionsForgotten struct{}

// Type implements Data.
func (FunctionRegistered) Type() Type { return "io.hermes.function.v1.registered" }

// Type implements Data.
func (FunctionBuilt) Type() Type { return "io.hermes.function.v1.built" }

// Type implements Data.
func (FunctionBuildFailed) Type() Type { return "io.hermes.function.v1.build_failed" }

// Type implements Data.
func (FunctionAliasSet) Type() Type { return "io.hermes.function.v1.alias_set" }

// Type implements Data.
func (FunctionDeleted) Type() Type { return "io.hermes.function.v1.deleted" }

// Type implements Data.
func (FunctionsForgotten) Type() Type { return "io.hermes.function.v1.owner_forgotten" }
