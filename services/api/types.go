package api

import (
	"time"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/projections/executions"
)

// Operations of users. Each is the tail of a subject and names its request and reply below.
const (
	OpInfo             = "info"              // InfoRequest → Info
	OpBlobBegin        = "blob.begin"        // BlobBegin → BlobUpload; a watcher asks it too
	OpFunctionDeploy   = "function.deploy"   // FunctionDeploy → Deployed
	OpFunctionBuild    = "function.build"    // FunctionBuild → Accepted
	OpFunctionList     = "function.list"     // FunctionList → Functions
	OpFunctionInspect  = "function.inspect"  // FunctionInspect → Functions (versions of one function)
	OpFunctionDelete   = "function.delete"   // FunctionDelete → Functions (what was deleted)
	OpRun              = "execution.run"     // Run → Accepted
	OpRerun            = "execution.rerun"   // Rerun → Accepted
	OpExecutionList    = "execution.list"    // ExecutionList → Executions
	OpExecutionInspect = "execution.inspect" // ExecutionRef → Execution
	OpExecutionWait    = "execution.wait"    // ExecutionWait → Execution
	OpExecutionCancel  = "execution.cancel"  // ExecutionRef → Execution
	OpExecutionOutput  = "execution.output"  // ExecutionOutput → OutputPage and raw bytes (see output.go)
	OpExecutionGPU     = "execution.gpu"     // ExecutionGPU → GPUPlot
	OpGPUList          = "gpu.list"          // GPUList → GPUs
	OpExecutionHistory = "execution.history" // ExecutionRef → History
	OpExecutionFiles   = "execution.files"   // ExecutionFiles → FilesPage and raw bytes (see files.go)
	OpExecutionInput   = "execution.input"   // ExecutionInput → InputTaken
	OpEvents           = "events"            // EventsRequest → Events
)

// InfoRequest asks who the caller is and what the instance is.
type InfoRequest struct{}

// Info answers InfoRequest.
type Info struct {
	User    string `json:"user"`
	Version string `json:"version"`
	// Defaults are the limits of a function that names none, Maxima what it may name.
	Defaults events.Limits `json:"defaults"`
	Maxima   events.Limits `json:"maxima"`
	// MaxInputBytes and MaxBundleBytes bound what can be sent.
	MaxInputBytes  int64 `json:"maxInputBytes"`
	MaxBundleBytes int64 `json:"maxBundleBytes"`
	// Network: functions may ask for a network.
	Network bool `json:"network,omitempty"`
}

// BlobBegin asks to upload content. The digest is verified when the last part arrives.
type BlobBegin struct {
	events.Blob
}

// BlobUpload answers BlobBegin. See Client.Upload for the protocol of the parts.
type BlobUpload struct {
	// Have: the content is there, nothing is to be sent.
	Have bool `json:"have,omitempty"`
	// Subject takes the parts, in order, each as a request answered by BlobProgress.
	Subject string `json:"subject,omitempty"`
	// PartBytes is the largest part.
	PartBytes int `json:"partBytes,omitempty"`
}

// BlobProgress answers each part.
type BlobProgress struct {
	ReceivedBytes int64 `json:"receivedBytes"`
	// Done: the content is complete, verified and on disk.
	Done bool `json:"done,omitempty"`
}

// FunctionDeploy registers what a bundle holds and builds it. The bundle's hermes.config.json says
// the name and the version; the owner is the caller.
type FunctionDeploy struct {
	Bundle events.Blob `json:"bundle"`
	// Build is the id (a ULID made by the client) of the execution that will build it. The same
	// request may be sent again with the same id.
	Build string `json:"build"`
	// Update lets it replace an existing version, once the new build has succeeded.
	Update bool `json:"update,omitempty"`
}

// Deployed answers FunctionDeploy. The build goes on; its output is on its output subject, and
// its end is had by OpExecutionWait.
type Deployed struct {
	Function events.FunctionRef `json:"function"`
	// Reused: the same bundle was built before on the same base, the version is ready already and
	// no execution was made.
	Reused bool `json:"reused,omitempty"`
	// Sequence is the position of the registration in the functions' log: FunctionInspect with
	// MinSequence sees it.
	Sequence uint64 `json:"sequence"`
	// BuiltBy is the execution that made the artifact when Reused.
	BuiltBy string `json:"builtBy,omitempty"`
}

// FunctionBuild builds a bundle and keeps nothing but the build's history.
type FunctionBuild struct {
	Bundle events.Blob `json:"bundle"`
	Build  string      `json:"build"`
}

// FunctionList asks for a user's functions: all of one's own, the public ones of somebody else.
type FunctionList struct {
	// Owner is the caller when empty or "me".
	Owner string `json:"owner,omitempty"`
}

// FunctionInspect asks for the versions of one function, or one of them.
type FunctionInspect struct {
	Owner   string `json:"owner,omitempty"`
	Name    string `json:"name"`
	Version string `json:"version,omitempty"`
	// Build, when set, makes the answer wait (at most a few seconds) until the build with this id
	// is no longer pending in the registry.
	Build string `json:"build,omitempty"`
}

// FunctionDelete deletes one version, or every version.
type FunctionDelete struct {
	Name    string `json:"name"`
	Version string `json:"version,omitempty"`
}

// Functions is a list of versions, sorted by name, then by version in semver order.
type Functions struct {
	Functions []Function `json:"functions"`
	// OwnerLike is whose functions were probably meant, when the owner that a list asks for has none.
	OwnerLike string `json:"ownerLike,omitempty"`
}

// Function is one version of a function as users see it. The keys are the first Hermes' where it had them.
type Function struct {
	Owner           string `json:"owner"`
	FunctionName    string `json:"functionName"`
	FunctionVersion string `json:"functionVersion"`
	Language        string `json:"language"`
	Scope           string `json:"scope"`
	GPUCapable      bool   `json:"gpuCapable"`
	Handler         string `json:"handler"`
	Base            string `json:"base"`
	// Status is "ready", "building" (no version to run yet), "updating" (the old one still runs)
	// or, if it never could run, "failed" or "cancelled".
	Status string `json:"status"`
	// Digest is the artifact's; empty before the first successful build.
	Digest       string        `json:"digest,omitempty"`
	BundleDigest string        `json:"bundleDigest,omitempty"`
	Build        string        `json:"build,omitempty"`
	Limits       events.Limits `json:"limits,omitzero"`
	// Network is "outbound", or empty: none.
	Network string `json:"network,omitempty"`
	// GPU is what it asks of GPUs, where its config says more than that it is gpuCapable.
	GPU *events.GPURequest `json:"gpu,omitempty"`
	// Args and Env are told to the owner, by FunctionInspect and FunctionDelete.
	Args []string          `json:"args,omitempty"`
	Env  map[string]string `json:"env,omitempty"`
	// Sandbox is "reuse" for a version whose sandboxes are used again, as its config has it.
	Sandbox      string    `json:"sandbox,omitempty"`
	RegisteredAt time.Time `json:"registeredAt,omitzero"`
	// Reason and Message say why a build failed.
	Reason  string `json:"reason,omitempty"`
	Message string `json:"message,omitempty"`
}

// Ref is the function's full name.
func (f Function) Ref() events.FunctionRef {
	return events.FunctionRef{Owner: f.Owner, Name: f.FunctionName, Version: f.FunctionVersion}
}

// OwnerOf is whom an owner in a request means: the caller, when it is empty or "me".
func OwnerOf(owner, caller string) string {
	if owner == "" || owner == "me" {
		return caller
	}
	return owner
}

// Run asks for an execution.
type Run struct {
	// ID is a ULID made by the client. The same request may be sent again with the same id.
	ID string `json:"id"`
	// Function: an empty owner (or "me") is the caller, an empty version the highest one.
	Function events.FunctionRef `json:"function"`
	Input    events.Input       `json:"input,omitzero"`
	// TimeoutMillis, when set, may shorten the function's own timeout.
	TimeoutMillis int64 `json:"timeoutMillis,omitempty"`
	// Batch, when set, makes it one of a batch, and ID must be the one that BatchExecutionID gives.
	// The same input may be sent again, another one in its place is refused.
	Batch *events.BatchRef `json:"batch,omitempty"`
	// GPU, when set, stands over what the function's config asks of GPUs.
	GPU *GPU `json:"gpu,omitempty"`
	// Interactive: the input is sent while it runs, by OpExecutionInput, and Input is empty.
	Interactive bool `json:"interactive,omitempty"`
}

// Rerun asks for an execution that repeats one of the caller's runs, as it was recorded: the same
// artifact, base, input, arguments and limits.
type Rerun struct {
	// ID is a ULID made by the client. The same request may be sent again with the same id.
	ID string       `json:"id"`
	Of ExecutionRef `json:"of"`
	// Version, when set, runs this version of the function as it is now, with the recorded input:
	// "latest" is the highest one.
	Version string `json:"version,omitempty"`
	// Input, when set, takes the place of the recorded one.
	Input *events.Input `json:"input,omitempty"`
}

// Accepted answers Run, Rerun and FunctionBuild: from here the execution is promised.
type Accepted struct {
	ID       string             `json:"id"`
	Function events.FunctionRef `json:"function"`
	// RequestedAt is the event's time.
	RequestedAt time.Time `json:"requestedAt"`
	// Sequence is the event's position: a later read with MinSequence sees it.
	Sequence uint64 `json:"sequence"`
}

// ExecutionFilter picks executions. What is empty picks all.
type ExecutionFilter struct {
	// Function: an empty owner (or "me") is the caller, an empty version every one. A build is of
	// the function that it builds.
	Function events.FunctionRef  `json:"function,omitzero"`
	Status   []executions.Status `json:"status,omitempty"`
	Watcher  string              `json:"watcher,omitempty"`
	// Batch is a batch's id.
	Batch string `json:"batch,omitempty"`
	// Since and Until bound when it was requested: not before Since, and before Until.
	Since time.Time `json:"since,omitzero"`
	Until time.Time `json:"until,omitzero"`
}

// ExecutionList asks for a page of the caller's executions, newest first.
type ExecutionList struct {
	ExecutionFilter
	// Before: numbers below this one only; 0 starts with the newest. To go on where a page ended,
	// give its Next.
	Before int64 `json:"before,omitempty"`
	// Limit is 50 when 0, at most 500.
	Limit int `json:"limit,omitempty"`
	// MinSequence makes the answer wait until the view has seen this event.
	MinSequence uint64 `json:"minSequence,omitempty"`
}

// Executions is a page.
type Executions struct {
	Executions []Execution `json:"executions"`
	// More: there are older ones, or there may be: a search looks at so many and stops, however few
	// it has found.
	More bool `json:"more,omitempty"`
	// Next is where to go on, when there are more.
	Next int64 `json:"next,omitempty"`
	// Searched is how many were looked at.
	Searched int `json:"searched,omitempty"`
}

// ExecutionRef names one of the caller's executions, by number or by id.
type ExecutionRef struct {
	Number int64  `json:"number,omitempty"`
	ID     string `json:"id,omitempty"`
	// MinSequence makes the answer wait until the view has seen this event.
	MinSequence uint64 `json:"minSequence,omitempty"`
}

// ExecutionWait waits for an execution's end, at most WaitMillis; the answer may be of a live one.
type ExecutionWait struct {
	ExecutionRef
	WaitMillis int64 `json:"waitMillis"`
	// Changes makes the answer come as soon as the execution, which is named by its id, has an event
	// behind After. No view has to have seen that: the execution's number may not be known yet.
	Changes bool   `json:"changes,omitempty"`
	After   uint64 `json:"after,omitempty"`
}

// Execution is an execution as users see it.
type Execution struct {
	executions.Execution
	// Position is the place in the queue, from 1, while it is queued; 0 if it is not known.
	Position int `json:"position,omitempty"`
	// Doing is what a watcher does before it can start the execution, if that takes long.
	Doing string `json:"doing,omitempty"`
	// Waits is the bound of the user's own quota that it waits for in the queue, or that its GPU is on another
	// user's card.
	Waits string `json:"waits,omitempty"`
	// StartsInMillis is how long it is likely to wait yet, by how long earlier runs took, or else by
	// timeouts; 0 when nobody knows.
	StartsInMillis int64 `json:"startsInMillis,omitempty"`
}

// ExecutionOutput asks for stored output from an offset (bytes of both streams together, in order).
type ExecutionOutput struct {
	ExecutionRef
	From int64 `json:"from,omitempty"`
	// Cursor is the one of the page before, 0 for the first. Its offset must be that page's Next.
	Cursor uint64 `json:"cursor,omitempty"`
	// Since and Latest choose where the first page begins in place of From: with what was printed at
	// that moment or later, or behind everything that is stored.
	Since  time.Time `json:"since,omitzero"`
	Latest bool      `json:"latest,omitempty"`
}
