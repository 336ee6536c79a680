package watcher

import (
	"fmt"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dustin/go-humanize"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/services/api"
	"github.com/hermes-serverless/hermes/services/watcher/sandbox"
)

// Exit codes of a command that could not be executed, as shells have them.
const (
	exitNotExecutable = 126
	exitNotFound      = 127
)

// failure is why there is no exit to judge by.
type failure struct {
	reason, message string
	exitCode        int
}

func failuref(reason, format string, args ...any) *failure {
	return &failure{reason: reason, message: fmt.Sprintf(format, args...)}
}

// ending is all that is known of how an attempt ended.
type ending struct {
	cause cause
	// step is what ran last: "make clean", "make", or the handler.
	step string
	// reason stands for an exit of the step that is not 0.
	reason  string
	exit    sandbox.Exit
	failure *failure
	// stuck: the command could not be killed, whatever it was to be killed for.
	stuck bool
	// detail says more of the cause; gpus names the devices that it held.
	detail, gpus string
}

// ordinary: the command ended by itself and met no limit, so that what it ran in is as good as it was.
func (e ending) ordinary() bool {
	return e.cause == none && e.failure == nil && !e.stuck && !e.exit.OOM && !e.exit.PIDsLimit
}

// verdict is the part of a report that is decided here.
type verdict struct {
	outcome  api.Outcome
	exitCode int
	signal   string
	reason   string
	message  string
}

// decide says how an attempt ended. What Hermes did to it counts before what it did itself: a
// command that is told to end may exit with 0.
func decide(e ending, limits events.Limits) verdict {
	v := verdict{outcome: api.Failed, exitCode: e.exit.Code, signal: signalName(e.exit)}
	fail := func(reason, format string, args ...any) verdict {
		v.reason, v.message = reason, fmt.Sprintf(format, args...)
		return v
	}
	if e.stuck && e.gpus != "" {
		return fail(events.ReasonGPU, "%s could not be ended, not even by SIGKILL; its GPU %s is out of use until its operator looks after it", e.step, e.gpus)
	}
	if e.stuck {
		return fail(events.ReasonSandbox, "%s could not be ended, not even by SIGKILL; its watcher needs its operator", e.step)
	}
	switch e.cause {
	case cancelled:
		v.outcome = api.Cancelled
		return v
	case timedOut:
		v.outcome = api.TimedOut
		return fail("", "%s ran longer than its limit of %s", e.step, time.Duration(limits.TimeoutMillis)*time.Millisecond)
	case outputLimit:
		return fail(events.ReasonOutputLimit, "%s printed more than its limit of %s on stdout or stderr: print less",
			e.step, humanize.IBytes(uint64(limits.OutputBytes)))
	case shutdown:
		return fail(events.ReasonShutdown, "the watcher was stopped, and %s did not end within its grace period; run it again", e.step)
	case gpuFailed:
		return fail(events.ReasonGPU, "%s was ended: %s; run it again", e.step, e.detail)
	case gpuMemory:
		return fail(events.ReasonGPUMemory, "%s was ended: %s", e.step, e.detail)
	case gpuIdle:
		return fail(events.ReasonGPUIdle, "%s was ended: %s", e.step, e.detail)
	case leaseLost:
		return fail(events.ReasonShutdown, "the watcher lost its connection for too long and ended %s; run it again", e.step)
	}
	switch {
	case e.exit.OOM:
		return fail(events.ReasonOOM, "%s used more than its limit of %s of memory; %s",
			e.step, humanize.IBytes(uint64(limits.MemoryBytes)), e.mend("use less", "memory"))
	case e.failure != nil:
		if e.failure.exitCode != 0 {
			v.exitCode = e.failure.exitCode
		}
		return fail(e.failure.reason, "%s", e.failure.message)
	case e.exit.PIDsLimit && e.exit.Code != 0:
		return fail(events.ReasonPIDs, "%s reached its limit of %d processes and threads and exited with code %d; %s",
			e.step, limits.PIDs, e.exit.Code, e.mend("start fewer", "pids"))
	case e.exit.Full.Path != "" && e.exit.Code != 0:
		return fail(events.ReasonDisk, "%s wrote %s full, %s, and %s; %s", e.step, e.exit.Full.Path, sizeOf(e.exit.Full), endOf(e.exit), e.mendFull())
	case e.exit.Signal != 0:
		reason := events.ReasonSignal
		if e.reason != events.ReasonExit {
			reason = e.reason
		}
		return fail(reason, "%s %s", e.step, endOf(e.exit))
	case e.exit.Code != 0:
		return fail(e.reason, "%s %s", e.step, endOf(e.exit))
	}
	v.outcome = api.Succeeded
	return v
}

func endOf(exit sandbox.Exit) string {
	if exit.Signal != 0 {
		return "was ended by " + signalName(exit)
	}
	return fmt.Sprintf("exited with code %d", exit.Code)
}

// mend says what to do about a limit that was reached. A build's limits are the operator's.
func (e ending) mend(advice, key string) string {
	if e.reason == events.ReasonExit {
		advice += fmt.Sprintf(", or raise %q in hermes.config.json", key)
	}
	return advice
}

// mendFull says what to do about a full folder. Only the size of /tmp is a function's to choose.
func (e ending) mendFull() string {
	switch full := e.exit.Full; {
	case full.Files != 0:
		return "make fewer files"
	case full.Path == "/tmp":
		return e.mend("write less", "tmp")
	case full.Path == sandbox.ResultsDir:
		return e.mend("leave less", "results")
	case full.Path == sandbox.FunctionDir:
		return "make less"
	}
	return "write less there, or use /tmp"
}

func sizeOf(full sandbox.Full) string {
	if full.Files != 0 {
		return humanize.Comma(full.Files) + " files"
	}
	return humanize.IBytes(uint64(full.Bytes))
}

func signalName(exit sandbox.Exit) string {
	if exit.Signal == 0 {
		return ""
	}
	if name := unix.SignalName(exit.Signal); name != "" {
		return name
	}
	return "SIG" + strings.TrimPrefix(exit.Signal.String(), "signal ")
}
