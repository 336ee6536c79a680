package api

import (
	"time"

	"github.com/hermes-serverless/hermes/events"
)

// Operations between a watcher and the orchestrator's leader. A watcher asks on
// hermes.watch.<watcher>.<operation>; its permissions let it publish under its own name only.
const (
	OpHello     = "hello"     // Hello → HelloReply
	OpPreparing = "preparing" // Preparing → PreparingReply
	OpClaim     = "claim"     // Claim → ClaimReply
	OpReport    = "report"    // Report → ReportReply
	OpLeave     = "leave"     // Leave → LeaveReply
	OpBlobStat  = "blob.stat" // BlobStat → events.Blob
	OpBlobRead  = "blob.read" // BlobRead → BlobPart and raw bytes
)

// WatchSubject is where a watcher asks the orchestrator.
func WatchSubject(watcher, op string) string { return "hermes.watch." + watcher + "." + op }

// CancelSubject is where a watcher takes CancelRun requests, answered by CancelRunReply.
func CancelSubject(watcher string) string { return "hermes.cancel." + watcher }

// StaleSubject is where a watcher hears that what it keeps ready is of no use any more: a Stale.
func StaleSubject(watcher string) string { return "hermes.stale." + watcher }

// LeaseKey is the watcher's key in the leases bucket; its value is a Lease.
func LeaseKey(watcher string) string { return "watcher." + watcher }

// WatcherLeaseTTL is how long a watcher may be silent before it counts as lost. A watcher renews
// three times as often, and ends its runs before the lease is over when it cannot.
const WatcherLeaseTTL = 9 * time.Second

// Lease says that a watcher lives. The key goes away by itself (TTL) when it is not renewed.
type Lease struct {
	// Session is made anew each time the watcher starts.
	Session string `json:"session"`
	// Draining: it takes nothing new.
	Draining bool `json:"draining,omitempty"`
	// GPUs are the last readings of the watcher's devices.
	GPUs []GPUReading `json:"gpus,omitempty"`
}

// AttemptRef names an attempt.
type AttemptRef struct {
	Owner   string `json:"owner"`
	ID      string `json:"id"`
	Attempt int    `json:"attempt"`
}

// RunRequest is what is sent on hermes.run.<watcher>.<owner>.<id>: everything the watcher needs.
type RunRequest struct {
	AttemptRef
	Request events.ExecutionRequested `json:"request"`
	// Devices are the UUIDs of the watcher's GPUs that it gets, as many as it asked for.
	Devices []string `json:"devices,omitempty"`
	// Outdated: the version was built anew or deleted since this was asked for. It runs as it was asked
	// for, and no sandbox is kept ready for others like it.
	Outdated bool `json:"outdated,omitempty"`
}

// Stale tells a watcher, as soon as it is known, that it was given versions that were built anew, with
// other limits or not, or deleted: what it keeps ready for them is thrown away. It names nothing that the
// watcher was not given. One that is missed is noticed by the number of the next, or of a HelloReply.
type Stale struct {
	// Leader is who says it, made anew with each leader, and Number counts what that one has said to
	// the watcher, from 1.
	Leader string `json:"leader"`
	Number uint64 `json:"number"`
	// Functions are the versions. None: everything, since the leader does not know what was given before
	// its time.
	Functions []events.FunctionRef `json:"functions,omitempty"`
}

// Hello announces a watcher at its start, after each reconnect and when its machine changed.
type Hello struct {
	Session string `json:"session"`
	// Number grows with each hello of a session: one that arrives behind a later one says nothing.
	Number  uint64         `json:"number"`
	Machine events.Machine `json:"machine"`
	// Holds are the attempts that run here or whose report is still to be taken. What the log says
	// runs here and is not named is lost.
	Holds []AttemptRef `json:"holds,omitempty"`
}

// HelloReply answers Hello.
type HelloReply struct {
	// Drop are held attempts that have ended, or go on elsewhere: what still runs of them is of no
	// use to anybody.
	Drop []AttemptRef `json:"drop,omitempty"`
	// Leader is who answers, and Notices how many Stale that one has sent to the watcher. A watcher that
	// has not heard as many has missed some, and throws away all that it keeps ready.
	Leader  string `json:"leader,omitempty"`
	Notices uint64 `json:"notices,omitempty"`
}

// Preparing says why an attempt is not claimed yet, when that takes long: it is told to the person who
// waits, and the attempt is not placed anew meanwhile.
type Preparing struct {
	AttemptRef
	// Doing is a line like "fetching the base gcc, 80 MiB: 30 %".
	Doing string `json:"doing"`
}

// PreparingReply answers Preparing.
type PreparingReply struct{}

// Claim asks to start an attempt. Nothing of the user's may run before it is granted.
type Claim struct {
	AttemptRef
	Session       string `json:"session"`
	Sandbox       string `json:"sandbox"`
	SandboxMicros int64  `json:"sandboxMicros"`
	// Devices are those of the run request: others may have been given since it was sent.
	Devices []string `json:"devices,omitempty"`
}

// ClaimReply answers Claim.
type ClaimReply struct {
	Granted bool `json:"granted"`
	// Why it was refused: the request is not, or no longer, this watcher's. Drop it.
	Why string `json:"why,omitempty"`
}

// Outcome is how an attempt ended.
type Outcome string

// The outcomes that a watcher reports.
const (
	Succeeded Outcome = "succeeded"
	Failed    Outcome = "failed"
	Cancelled Outcome = "cancelled"
	TimedOut  Outcome = "timed_out"
)

// Report says how an attempt ended. It is repeated until it is answered. An attempt that could not
// be claimed because its sandbox could not be made is reported too, with Started false: it ends
// the execution as failed.
type Report struct {
	AttemptRef
	// Started is false when the attempt was never claimed.
	Started  bool          `json:"started"`
	Outcome  Outcome       `json:"outcome"`
	ExitCode int           `json:"exitCode"`
	Signal   string        `json:"signal,omitempty"`
	Reason   string        `json:"reason,omitempty"`
	Message  string        `json:"message,omitempty"`
	Output   events.Output `json:"output"`
	Usage    events.Usage  `json:"usage"`
	Artifact *events.Blob  `json:"artifact,omitempty"`
	// Given is what an interactive attempt was sent.
	Given *events.Given `json:"given,omitempty"`
	// Results is what a run left in its folder of results; nil if nothing.
	Results *events.Results `json:"results,omitempty"`
}

// ReportReply answers Report: it is taken, forget it.
type ReportReply struct {
	// Why is set when the report was of no use: the attempt is not this watcher's any more.
	Why string `json:"why,omitempty"`
}

// Leave announces the orderly end of a watcher; it holds no attempt.
type Leave struct {
	Session string `json:"session"`
}

// LeaveReply answers Leave.
type LeaveReply struct{}

// CancelRun tells a watcher to end an attempt: SIGTERM, a grace period, SIGKILL.
type CancelRun struct {
	AttemptRef
}

// CancelRunReply answers CancelRun.
type CancelRunReply struct {
	// Known is false when no such attempt runs here.
	Known bool `json:"known"`
}

// QueuePositionSubject is where the leader says where an execution stands in the queue.
const QueuePositionSubject = "hermes.queue.leader.position"

// QueuePosition asks for the place of a queued execution.
type QueuePosition struct {
	Owner string `json:"owner"`
	ID    string `json:"id"`
}

// QueuePositionReply answers it: from 1, or 0 if it does not wait.
type QueuePositionReply struct {
	Position int `json:"position"`
	// Doing is what the watcher that it is placed on does before it can start.
	Doing string `json:"doing,omitempty"`
	// Waits is the bound of its user's quota that it waits for, or that its GPU is on another user's card.
	Waits string `json:"waits,omitempty"`
	// StartsInMillis is how long it is likely to wait yet; 0 when nobody knows.
	StartsInMillis int64 `json:"startsInMillis,omitempty"`
}
