package orchestrator

import (
	"fmt"
	"slices"
	"strings"

	"github.com/Masterminds/semver/v3"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/projections/executions"
	"github.com/hermes-serverless/hermes/projections/functions"
	"github.com/hermes-serverless/hermes/services/api"
)

// Policy is what the operator allows. All fields of the limits are set.
type Policy struct {
	// Defaults are for what a function's config leaves out, Maxima bound what it asks for.
	Defaults, Maxima events.Limits
	// Network: functions may ask for a network.
	Network bool
	// GPUs is how they are given away; empty is Pack.
	GPUs GPUOrder
	// MIG is how many users may have instances of one card at a time; empty is OneUser.
	MIG MIGUsers
	// Build bounds every build.
	Build events.Limits
	// MaxInputBytes bounds one run's input, MaxBundleBytes one bundle.
	MaxInputBytes, MaxBundleBytes int64
}

// decideRun answers a request to run a function, given the folds of the execution with that id and
// of the function. A nil event means that the very same request was accepted before.
func decideRun(policy Policy, state executions.Execution, f functions.Function, caller string, ask api.Run) (events.Data, error) {
	requested, err := runRequest(policy, f, caller, ask)
	if err != nil {
		return nil, err
	}
	return acceptOnce(state, requested)
}

// decideBuild answers a request to build a bundle.
func decideBuild(policy Policy, state executions.Execution, build events.ExecutionRequested) (events.Data, error) {
	build.Kind = events.KindBuild
	build.Limits = policy.Build
	return acceptOnce(state, build)
}

// acceptOnce makes a repeated request harmless and refuses another one under the same id.
func acceptOnce(state executions.Execution, requested events.ExecutionRequested) (events.Data, error) {
	if state.Status == "" {
		return requested, nil
	}
	if requested.Batch != nil {
		return nil, sameOfBatch(state, requested)
	}
	if state.Request.Kind == requested.Kind && state.Request.Function.Owner == requested.Function.Owner &&
		state.Request.Function.Name == requested.Function.Name {
		return nil, nil
	}
	return nil, api.Errorf(api.Exists, api.IDInUse, "execution %s exists and is another one", state.ID).
		WithHint("make a new id for each execution")
}

func runRequest(policy Policy, f functions.Function, caller string, ask api.Run) (events.ExecutionRequested, error) {
	var none events.ExecutionRequested
	version, v, err := pickVersion(f, caller, ask.Function)
	if err != nil {
		return none, err
	}
	if err := checkInput(policy, ask.Input); err != nil {
		return none, err
	}
	if ask.Interactive && (len(ask.Input.Inline) > 0 || ask.Input.Blob != nil) {
		return none, api.Errorf(api.Invalid, api.InvalidArguments, "an interactive run is sent its input while it runs; none can be given ahead")
	}
	if v.Config.Network != "" && !policy.Network {
		return none, api.Errorf(api.State, api.InvalidConfig, "function %s/%s:%s wants the network %q, and this instance gives none any more",
			f.Owner, f.Name, version, v.Config.Network).WithHint("ask the operator for `hermesd up --allow-network`, or deploy it without \"network\"")
	}
	limits := withDefaults(v.Config.Limits, policy.Defaults, policy.Maxima)
	if ask.TimeoutMillis < 0 {
		return none, api.Errorf(api.Invalid, api.InvalidArguments, "timeout %d ms: must be above 0", ask.TimeoutMillis)
	}
	if ask.TimeoutMillis > 0 {
		limits.TimeoutMillis = min(limits.TimeoutMillis, ask.TimeoutMillis)
	}
	gpus, gpu, err := requestGPU(v.Config, ask)
	if err != nil {
		return none, err
	}
	return events.ExecutionRequested{
		Kind:     events.KindRun,
		Function: events.FunctionRef{Owner: f.Owner, Name: f.Name, Version: version},
		Source:   v.Artifact,
		Base:     v.Base,
		Handler:  v.Config.Handler,
		Language: v.Config.Language,
		GPUs:     gpus,
		GPU:      gpu,
		Input:    ask.Input,
		Limits:   limits,
		Args:     v.Config.Args,
		Env:      v.Config.Env,

		ReuseSandbox: v.Config.ReuseSandbox,
		Network:      v.Config.Network,
		Batch:        ask.Batch,
		Interactive:  ask.Interactive,
	}, nil
}

// pickVersion finds the version that a reference means. A function that the caller may not see
// does not exist for them.
func pickVersion(f functions.Function, caller string, ref events.FunctionRef) (string, functions.Version, error) {
	visible := visibleVersions(f, caller)
	if len(visible) == 0 {
		return "", functions.Version{}, noVersionToRun(f, caller, ref)
	}
	version := ref.Version
	if version == "" {
		version = visible[len(visible)-1]
	}
	if target, ok := f.Aliases[version]; ok {
		version = target
	}
	if !slices.Contains(visible, version) {
		if p, ok := f.Pending[version]; ok && f.Owner == caller {
			return "", functions.Version{}, stillBuilding(ref, p)
		}
		return "", functions.Version{}, api.Errorf(api.NotFound, api.NoSuchVersion, "function %s/%s has no version %s", ref.Owner, ref.Name, version).
			WithHint("it has %s", joinWords(visible))
	}
	return version, f.Versions[version], nil
}

func noVersionToRun(f functions.Function, caller string, ref events.FunctionRef) error {
	if f.Owner == caller {
		for _, p := range f.Pending {
			return stillBuilding(ref, p)
		}
		for _, failed := range f.Failed {
			return api.Errorf(api.State, api.NoSuchFunction, "function %s/%s has never been built: %s", ref.Owner, ref.Name, failed.Message).
				WithHint("see the build's output: hermes execution logs %s", failed.Build)
		}
	}
	return api.Errorf(api.NotFound, api.NoSuchFunction, "there is no function %s/%s", ref.Owner, ref.Name).
		WithHint("`hermes function list` shows what there is")
}

func stillBuilding(ref events.FunctionRef, p functions.Pending) error {
	return api.Errorf(api.State, api.BuildInProgress, "function %s/%s is being built", ref.Owner, ref.Name).
		WithHint("follow the build: hermes execution logs -f %s", p.Build)
}

// visibleVersions are those that the caller may run, in the order of their versions.
func visibleVersions(f functions.Function, caller string) []string {
	var names []string
	for version, v := range f.Versions {
		if f.Owner == caller || v.Config.Scope == "public" {
			names = append(names, version)
		}
	}
	slices.SortFunc(names, func(a, b string) int {
		va, errA := semver.StrictNewVersion(a)
		vb, errB := semver.StrictNewVersion(b)
		if errA != nil || errB != nil {
			return 0
		}
		return va.Compare(vb)
	})
	return names
}

func checkInput(policy Policy, in events.Input) error {
	switch {
	case len(in.Inline) > 0 && in.Blob != nil:
		return api.Errorf(api.Invalid, api.InvalidArguments, "the input is given twice, inline and as a blob")
	case len(in.Inline) > events.MaxInlineInputBytes:
		return api.Errorf(api.Invalid, api.InvalidArguments, "an inline input has at most %d bytes, this one %d",
			events.MaxInlineInputBytes, len(in.Inline)).WithHint("upload it and name its digest")
	case in.Blob == nil:
		return nil
	case in.Blob.SizeBytes > policy.MaxInputBytes:
		return api.Errorf(api.LimitReached, api.InvalidArguments, "the input has %d bytes; at most %d are allowed",
			in.Blob.SizeBytes, policy.MaxInputBytes).WithHint("send less, or ask the operator to raise the limit")
	}
	if err := events.CheckDigest(in.Blob.Digest); err != nil {
		return api.Errorf(api.Invalid, api.InvalidArguments, "input: %v", err)
	}
	return nil
}

// withDefaults fills in what is not asked for and bounds what is: the operator may have lowered
// the maxima after the function was registered.
func withDefaults(asked, defaults, maxima events.Limits) events.Limits {
	pick := func(asked, def, most int64) int64 {
		if asked <= 0 {
			asked = def
		}
		return min(asked, most)
	}
	return events.Limits{
		TimeoutMillis: pick(asked.TimeoutMillis, defaults.TimeoutMillis, maxima.TimeoutMillis),
		MemoryBytes:   pick(asked.MemoryBytes, defaults.MemoryBytes, maxima.MemoryBytes),
		CPUMillis:     pick(asked.CPUMillis, defaults.CPUMillis, maxima.CPUMillis),
		PIDs:          pick(asked.PIDs, defaults.PIDs, maxima.PIDs),
		TmpBytes:      pick(asked.TmpBytes, defaults.TmpBytes, maxima.TmpBytes),
		OutputBytes:   pick(asked.OutputBytes, defaults.OutputBytes, maxima.OutputBytes),
		ResultsBytes:  pick(asked.ResultsBytes, defaults.ResultsBytes, maxima.ResultsBytes),
	}
}

// decideCancel answers a request to end an execution. A nil event means that it was asked before.
func decideCancel(state executions.Execution, by string) (events.Data, error) {
	switch {
	case state.Status == "":
		return nil, api.Errorf(api.NotFound, api.NoSuchRun, "there is no such execution")
	case state.Status.Final():
		return nil, api.Errorf(api.State, api.ProcessFinished, "execution %s has ended: %s", label(state), state.Status)
	case state.CancelRequestedBy != "":
		return nil, nil
	}
	return events.ExecutionCancelRequested{By: by}, nil
}

// decideClaim answers a watcher that wants to start an attempt. placedOn is where the attempt was
// placed, zero for nowhere, and on what it will run there. A nil event with no refusal means that this watcher holds
// the attempt already: its claim was answered, and the answer lost.
func decideClaim(state executions.Execution, placedOn put, on events.Hardware, watcher string, claim api.Claim) (event events.Data, refusal string) {
	switch {
	case state.Status == "":
		return nil, "there is no such execution"
	case state.Status == executions.Running && state.Watcher == watcher && state.Attempt == claim.Attempt:
		return nil, ""
	case state.Status != executions.Queued:
		return nil, fmt.Sprintf("the execution is %s", state.Status)
	case state.CancelRequestedBy != "":
		return nil, "the execution is being cancelled"
	case claim.Attempt != state.Attempt+1:
		return nil, fmt.Sprintf("attempt %d is due, not %d", state.Attempt+1, claim.Attempt)
	case placedOn.watcher != watcher:
		return nil, "the execution is not placed on this watcher"
	case !slices.Equal(placedOn.devices, claim.Devices):
		return nil, "the execution was given other devices"
	}
	return events.ExecutionStarted{
		Attempt: claim.Attempt, Watcher: watcher, Sandbox: claim.Sandbox, SandboxMicros: claim.SandboxMicros,
		Devices: claim.Devices, Hardware: on,
	}, ""
}

// decideReport turns a watcher's report into the execution's end, or says why it is of no use.
func decideReport(state executions.Execution, placedOn put, watcher string, r api.Report) (event events.Data, refusal string) {
	attempt := r.Attempt
	switch {
	case state.Status == "":
		return nil, "there is no such execution"
	case state.Status.Final():
		return nil, fmt.Sprintf("the execution has ended: %s", state.Status)
	case r.Started && (state.Status != executions.Running || state.Watcher != watcher || state.Attempt != r.Attempt):
		return nil, "the attempt is not this watcher's any more"
	case !r.Started && (state.Status != executions.Queued || placedOn.watcher != watcher || state.Attempt+1 != r.Attempt):
		return nil, "the attempt is not placed on this watcher any more"
	case !r.Started:
		attempt = 0
	}
	return end(state, attempt, r), ""
}

func end(state executions.Execution, attempt int, r api.Report) events.Data {
	given, left := reportedGiven(state, r.Given), reportedResults(state, r.Results)
	switch {
	case r.Outcome == api.Succeeded && attempt > 0:
		return events.ExecutionSucceeded{Attempt: attempt, Output: r.Output, Usage: r.Usage, Artifact: r.Artifact, Given: given, Results: left}
	case r.Outcome == api.TimedOut && attempt > 0:
		return events.ExecutionTimedOut{
			Attempt: attempt, TimeoutMillis: state.Request.Limits.TimeoutMillis,
			ExitCode: r.ExitCode, Signal: r.Signal, Output: r.Output, Usage: r.Usage, Given: given, Results: left,
		}
	case r.Outcome == api.Cancelled && state.CancelRequestedBy != "":
		return events.ExecutionCancelled{
			Attempt: attempt, ExitCode: r.ExitCode, Signal: r.Signal, Output: r.Output, Usage: r.Usage, Given: given, Results: left,
		}
	}
	return events.ExecutionFailed{
		Attempt: attempt, Reason: r.Reason, Message: r.Message, ExitCode: r.ExitCode, Signal: r.Signal,
		Output: r.Output, Usage: r.Usage, Given: given, Results: left,
	}
}

// decideQueuedCancel ends a queued execution that was asked to end; nil if there is nothing to do.
func decideQueuedCancel(state executions.Execution) events.Data {
	if state.Status != executions.Queued || state.CancelRequestedBy == "" {
		return nil
	}
	return events.ExecutionCancelled{}
}

// decideLost answers the loss of a watcher for an attempt that runs there: another try if the
// request has one left, else the end; nil if the attempt does not run there.
func decideLost(state executions.Execution, watcher, message string) events.Data {
	if state.Status != executions.Running || state.Watcher != watcher {
		return nil
	}
	if state.CancelRequestedBy == "" && state.RetriesUsed() < state.Request.Retries {
		return events.ExecutionRetried{Attempt: state.Attempt, Watcher: watcher, Message: message}
	}
	return events.ExecutionLost{Attempt: state.Attempt, Watcher: watcher, Message: message}
}

// decideUnplaceable ends a queued execution that no machine of the fleet can ever run.
func decideUnplaceable(state executions.Execution, why string) events.Data {
	if state.Status != executions.Queued {
		return nil
	}
	return events.ExecutionFailed{Reason: events.ReasonUnplaceable, Message: why}
}

// label is how users call an execution: by its number if it is known.
func label(e executions.Execution) string {
	if e.Number > 0 {
		return fmt.Sprint(e.Number)
	}
	return e.ID
}

func joinWords(words []string) string {
	const most = 10
	if len(words) > most {
		words = append([]string{"…"}, words[len(words)-most:]...)
	}
	return strings.Join(words, ", ")
}
