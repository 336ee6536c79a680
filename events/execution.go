package events

// ExecutionKind says what an execution does.
type ExecutionKind string

const (
	// KindRun runs a built function.
	KindRun ExecutionKind = "run"
	// KindBuild runs make on a bundle and keeps what it made.
	KindBuild ExecutionKind = "build"
)

// Reasons why an execution failed, besides its own exit code. A closed set: users script on them.
const (
	// ReasonExit: the command exited with a code other than 0.
	ReasonExit = "exit"
	// ReasonSignal: a signal that Hermes did not send ended the command.
	ReasonSignal = "signal"
	// ReasonOOM: the memory limit was reached.
	ReasonOOM = "oom"
	// ReasonPIDs: the limit of processes was reached and the command did not survive it.
	ReasonPIDs = "pids"
	// ReasonDisk: a writable folder was full, of bytes or of files, when the command failed.
	ReasonDisk = "disk"
	// ReasonOutputLimit: stdout or stderr grew past its limit.
	ReasonOutputLimit = "output_limit"
	// ReasonHandler: the handler is missing or cannot be executed.
	ReasonHandler = "handler"
	// ReasonClean: make clean failed.
	ReasonClean = "clean"
	// ReasonMake: make failed.
	ReasonMake = "make"
	// ReasonArtifact: what the build made cannot be kept (too large, links out of its folder).
	ReasonArtifact = "artifact"
	// ReasonInput: the input, the bundle or the artifact could not be brought to the watcher.
	ReasonInput = "input"
	// ReasonSandbox: the watcher could not make the sandbox.
	ReasonSandbox = "sandbox"
	// ReasonShutdown: the watcher was stopped and its grace period was over.
	ReasonShutdown = "shutdown"
	// ReasonUnplaceable: no machine of the fleet can ever run it.
	ReasonUnplaceable = "unplaceable"
	// ReasonGPU: a GPU that it held failed, or was lost.
	ReasonGPU = "gpu"
	// ReasonGPUMemory: it took more of a shared GPU's memory than it had asked for.
	ReasonGPUMemory = "gpu_memory"
	// ReasonGPUIdle: it held GPUs and did not use them, and had asked to be ended then.
	ReasonGPUIdle = "gpu_idle"
)

// Reasons returns all of them.
func Reasons() []string {
	return []string{
		ReasonExit, ReasonSignal, ReasonOOM, ReasonPIDs, ReasonDisk, ReasonOutputLimit, ReasonHandler, ReasonClean,
		ReasonMake, ReasonArtifact, ReasonInput, ReasonSandbox, ReasonShutdown, ReasonUnplaceable,
		ReasonGPU, ReasonGPUMemory, ReasonGPUIdle,
	}
}

// MaxInlineInputBytes is the largest input that travels inside the event; a larger one is a blob.
const MaxInlineInputBytes = 4096

// Input is what the handler reads on its stdin. Empty input is the zero value.
type Input struct {
	// Inline holds an input of at most MaxInlineInputBytes.
	Inline []byte `json:"inline,omitempty"`
	// Blob holds a larger one.
	Blob *Blob `json:"blob,omitempty"`
}

// Given is what an interactive execution was sent on its stdin while it ran.
type Given struct {
	Input Input `json:"input,omitzero"`
	Bytes int64 `json:"bytes"`
	// Cut says why Input is not all of it; empty when it is.
	Cut string `json:"cut,omitempty"`
}

// Results is what a run left in its folder of results.
type Results struct {
	// Archive holds the files, packed as a bundle is, behind a listing of them; nil if none was kept.
	Archive *Blob `json:"archive,omitempty"`
	// Files and Bytes are those that were kept: regular files, and what is in them.
	Files int64 `json:"files"`
	Bytes int64 `json:"bytes"`
	// Cut says what was not kept, and why; empty when everything was.
	Cut string `json:"cut,omitempty"`
}

// Output sums up the output of one attempt.
type Output struct {
	StdoutBytes int64 `json:"stdoutBytes"`
	StderrBytes int64 `json:"stderrBytes"`
	Chunks      int64 `json:"chunks"`
	// SHA256 is the hex sum of all chunks in order, both streams together.
	SHA256 string `json:"sha256"`
	// Cut says why the output is not complete; empty when it is.
	Cut string `json:"cut,omitempty"`
}

// Usage is what an attempt took, as measured by its watcher.
type Usage struct {
	// RunMicros is the time from the start of the command to its end.
	RunMicros       int64 `json:"runMicros"`
	CPUMicros       int64 `json:"cpuMicros"`
	PeakMemoryBytes int64 `json:"peakMemoryBytes"`
	// GPU is nil for an attempt that held none.
	GPU *GPUUsage `json:"gpu,omitempty"`
}

// ExecutionRequested: the execution was accepted. From here it is promised that it ends.
type ExecutionRequested struct {
	Kind     ExecutionKind `json:"kind"`
	Function FunctionRef   `json:"function"`
	// Source is the bundle of a build, or the artifact of a run.
	Source  Blob   `json:"source"`
	Base    string `json:"base"`
	Handler string `json:"handler"`
	// Language picks the watchers that can build or run it.
	Language string `json:"language"`
	// GPUs is how many GPUs it needs.
	GPUs int `json:"gpus,omitempty"`
	// GPU is all that it asks of them; nil where only their number is asked for, or none. Its Count is
	// GPUs.
	GPU    *GPURequest `json:"gpu,omitempty"`
	Input  Input       `json:"input,omitzero"`
	Limits Limits      `json:"limits"`
	// ComputeCapabilities are what CUDA code is to be compiled for, those of the fleet's GPUs: "8.0",
	// "9.0". A run has none.
	ComputeCapabilities []string `json:"computeCapabilities,omitempty"`
	// Retries is how often it may be started again after its watcher was lost.
	Retries int `json:"retries,omitempty"`
	// Args and Env are those of the function's config. A build has none.
	Args []string          `json:"args,omitempty"`
	Env  map[string]string `json:"env,omitempty"`
	// ReuseSandbox is the config's. A build never reuses one.
	ReuseSandbox bool `json:"reuseSandbox,omitempty"`
	// Network is that of the function's config. A build has none.
	Network string `json:"network,omitempty"`
	// Origin is the id of the owner's execution that this one repeats.
	Origin string `json:"origin,omitempty"`
	// Interactive: its input is sent while it runs, and Input is empty. It is never retried.
	Interactive bool `json:"interactive,omitempty"`
	// Batch is what it is one of; nil for an execution that was asked for alone.
	Batch *BatchRef `json:"batch,omitempty"`
}

// ExecutionStarted: a watcher holds the attempt, and only that watcher, from here on.
type ExecutionStarted struct {
	// Attempt counts from 1.
	Attempt int    `json:"attempt"`
	Watcher string `json:"watcher"`
	// Sandbox is "cold", "warm" (it had been made ahead) or "reused" (its user's earlier runs of this
	// version were in it).
	Sandbox string `json:"sandbox"`
	// SandboxMicros is how long the sandbox took to be ready after the request arrived.
	SandboxMicros int64 `json:"sandboxMicros"`
	// Devices are the UUIDs of the GPUs that it was given.
	Devices []string `json:"devices,omitempty"`
	// Hardware is what it runs on; zero where the watcher did not say.
	Hardware Hardware `json:"hardware,omitzero"`
}

// Hardware is what the same program may do otherwise on another of.
type Hardware struct {
	// CPUModel is the processor's name.
	CPUModel string `json:"cpuModel,omitempty"`
	// GPUModels are those of the devices that were given, one for each; Driver is the version of theirs.
	GPUModels []string `json:"gpuModels,omitempty"`
	Driver    string   `json:"driver,omitempty"`
}

// ExecutionSucceeded ends an execution: the command exited with 0.
type ExecutionSucceeded struct {
	Attempt int    `json:"attempt"`
	Output  Output `json:"output"`
	Usage   Usage  `json:"usage"`
	// Artifact is what a build made.
	Artifact *Blob `json:"artifact,omitempty"`
	// Given is nil unless the execution is interactive.
	Given *Given `json:"given,omitempty"`
	// Results is nil where the run left nothing.
	Results *Results `json:"results,omitempty"`
}

// ExecutionFailed ends an execution: the command ended otherwise, or never started.
type ExecutionFailed struct {
	// Attempt is 0 when no attempt started.
	Attempt int `json:"attempt"`
	// Reason is one of the Reason constants.
	Reason string `json:"reason"`
	// Message says it for people, with what to do next.
	Message string `json:"message"`
	// ExitCode is the command's, 128 + the signal's number for a signal; 0 if no command ended.
	ExitCode int `json:"exitCode"`
	// Signal is the name of the signal that ended the command: "SIGSEGV".
	Signal string `json:"signal,omitempty"`
	Output Output `json:"output"`
	Usage  Usage  `json:"usage"`
	// Given is nil unless the execution is interactive.
	Given *Given `json:"given,omitempty"`
	// Results is nil where the run left nothing.
	Results *Results `json:"results,omitempty"`
}

// ExecutionCancelRequested: someone who may asked for the end.
type ExecutionCancelRequested struct {
	By string `json:"by"`
}

// ExecutionCancelled ends an execution that was asked to end.
type ExecutionCancelled struct {
	// Attempt is 0 when it was still queued.
	Attempt  int    `json:"attempt"`
	ExitCode int    `json:"exitCode"`
	Signal   string `json:"signal,omitempty"`
	Output   Output `json:"output"`
	Usage    Usage  `json:"usage"`
	// Given is nil unless the execution is interactive.
	Given *Given `json:"given,omitempty"`
	// Results is nil where the run left nothing.
	Results *Results `json:"results,omitempty"`
}

// ExecutionTimedOut ends an execution that ran longer than its limit.
type ExecutionTimedOut struct {
	Attempt       int    `json:"attempt"`
	TimeoutMillis int64  `json:"timeoutMillis"`
	ExitCode      int    `json:"exitCode"`
	Signal        string `json:"signal,omitempty"`
	Output        Output `json:"output"`
	Usage         Usage  `json:"usage"`
	// Given is nil unless the execution is interactive.
	Given *Given `json:"given,omitempty"`
	// Results is nil where the run left nothing.
	Results *Results `json:"results,omitempty"`
}

// ExecutionLost ends an execution whose watcher fell silent, when no retry is left.
type ExecutionLost struct {
	Attempt int    `json:"attempt"`
	Watcher string `json:"watcher"`
	Message string `json:"message"`
}

// ExecutionRetried: an attempt was lost and the execution is queued again.
type ExecutionRetried struct {
	// Attempt is the one that was lost.
	Attempt int    `json:"attempt"`
	Watcher string `json:"watcher"`
	Message string `json:"message"`
}

// ExecutionsForgotten: the owner has left, and no event of their executions before this one is kept. It is
// the only one on its subject, and of no execution.
type ExecutionsForgotten struct{}

// Type implements Data.
func (ExecutionRequested) Type() Type { return "io.hermes.execution.v1.requested" }

// Type implements Data.
func (ExecutionStarted) Type() Type { return "io.hermes.execution.v1.started" }

// Type implements Data.
func (ExecutionSucceeded) Type() Type { return "io.hermes.execution.v1.succeeded" }

// Type implements Data.
func (ExecutionFailed) Type() Type { return "io.hermes.execution.v1.failed" }

// Type implements Data.
func (ExecutionCancelRequested) Type() Type { return "io.hermes.execution.v1.cancel_requested" }

// Type implements Data.
func (ExecutionCancelled) Type() Type { return "io.hermes.execution.v1.cancelled" }

// Type implements Data.
func (ExecutionTimedOut) Type() Type { return "io.hermes.execution.v1.timed_out" }

// Type implements Data.
func (ExecutionLost) Type() Type { return "io.hermes.execution.v1.lost" }

// Type implements Data.
func (ExecutionRetried) Type() Type { return "io.hermes.execution.v1.retried" }

// Type implements Data.
func (ExecutionsForgotten) Type() Type { return "io.hermes.execution.v1.owner_forgotten" }
