// Package runtimetest is the conformance suite of sandbox.Runtime: what the watcher relies on, run
// against every implementation. The commands are those of a POSIX shell and the base "host".
package runtimetest

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/hermes-serverless/hermes/services/watcher/sandbox"
)

// Options say what an implementation can promise, and how to break it.
type Options struct {
	// Isolated: the sandbox has its own file system, process ids and limits. Without it the tests
	// that need them are left out.
	Isolated bool
	// Outside is host:port of a TCP server that a sandbox with a network reaches, and that says
	// something to everybody. Without it the runtime need not give any a network.
	Outside string
	// Only runs the tests whose names begin so.
	Only string
	// Crash leaves sandboxes behind as a killed process does (see RunAndKill), and returns a runtime
	// on the same state, which the suite closes, with a function that lists what is there. Without
	// it Reap is tested on nothing.
	Crash func(t *testing.T) (r sandbox.Runtime, present func() []string)
}

// patience bounds everything that must happen soon.
const patience = 30 * time.Second

// suite is what each test gets.
type suite struct {
	runtime sandbox.Runtime
	opts    Options
}

// Run tests the runtime that newRuntime makes; the suite closes it.
func Run(t *testing.T, newRuntime func(t *testing.T) sandbox.Runtime, opts Options) {
	s := suite{runtime: newRuntime(t), opts: opts}
	for _, test := range tests() {
		if !strings.HasPrefix(test.name, opts.Only) {
			continue
		}
		t.Run(test.name, func(t *testing.T) {
			if test.isolated && !opts.Isolated {
				t.Skip("this runtime does not isolate")
			}
			test.run(t, s)
		})
	}
	t.Run("Close", func(t *testing.T) { closeRemoves(t, s.runtime) })
	if opts.Crash != nil {
		t.Run("Reap", func(t *testing.T) { reapRemovesLeftovers(t, opts) })
	}
}

type test struct {
	name     string
	isolated bool // only for a runtime that isolates
	run      func(*testing.T, suite)
}

func tests() []test {
	return []test{
		{name: "Info", run: infoNamesTheRuntime},
		{name: "ExitCode", run: exitCodes},
		{name: "ExitBySignal", run: exitBySignal},
		{name: "Abort", run: abortExits134},
		{name: "Streams/Exact", run: streamsAreExact},
		{name: "Streams/Order", run: outputIsOrdered},
		{name: "Streams/ByName", run: streamsOpenByName},
		{name: "Streams/Dialogue", run: dialogue},
		{name: "Streams/Unread", run: stdinThatIsClosed},
		{name: "Env", run: envIsExactlyWhatWasGiven},
		{name: "Find/Names", run: commandsAreFound},
		{name: "Find/Missing", run: missingCommands},
		{name: "Find/NotExecutable", run: notExecutable},
		{name: "Find/LongArguments", run: longArguments},
		{name: "WorkingDir", isolated: true, run: workingDir},
		{name: "Folder/RunIsReadOnly", isolated: true, run: runIsReadOnly},
		{name: "Folder/BuildSequence", run: buildSequence},
		{name: "Folder/BuildIsLimited", isolated: true, run: buildIsLimited},
		{name: "Folder/HostFilesAreOwned", run: hostFilesAreOwned},
		{name: "Results/Kept", run: resultsAreSeen},
		{name: "Results/None", run: noFolderOfResults},
		{name: "Results/Inside", run: resultsLeadNowhere},
		{name: "Results/Renewed", run: resultsAreCleared},
		{name: "Results/Limit", isolated: true, run: resultsAreLimited},
		{name: "Usage", run: usageIsCounted},
		{name: "Usage/Hidden", isolated: true, run: hiddenUsageIsCounted},
		{name: "Usage/Removed", isolated: true, run: usageOfARemoved},
		{name: "LeftBehind/Group", run: leftBehindInGroup},
		{name: "LeftBehind/Session", isolated: true, run: leftBehindInSession},
		{name: "Signal/Honoured", run: signalHonoured},
		{name: "Signal/Ignored", run: signalIgnoredThenKilled},
		{name: "Signal/Stopped", run: stoppedIsKilled},
		{name: "Signal/Nothing", run: signalNothing},
		{name: "Wait/Cancelled", run: waitCancelled},
		{name: "Wait/Twice", run: waitTwice},
		{name: "Wait/Nothing", run: waitNothing},
		{name: "Start/Busy", run: startBusy},
		{name: "Renew/Again", run: renewedAgain},
		{name: "Renew/Refused", run: renewRefused},
		{name: "Renew/Files", isolated: true, run: renewClearsFiles},
		{name: "Renew/Processes", isolated: true, run: renewEndsProcesses},
		{name: "Renew/Usage", isolated: true, run: renewCountsAnew},
		{name: "Remove/Twice", run: removeTwice},
		{name: "Remove/Running", run: removeRunning},
		{name: "Limit/Memory", isolated: true, run: memoryLimit},
		{name: "Limit/MemoryOfTmp", isolated: true, run: memoryLimitOfTmp},
		{name: "Limit/PIDs", isolated: true, run: pidsLimit},
		{name: "Limit/ForkBomb", isolated: true, run: forkBomb},
		{name: "Network/None", isolated: true, run: noNetwork},
		{name: "Network/Outbound", run: outboundReaches},
		{name: "Network/Loopback", isolated: true, run: outboundHasLoopback},
		{name: "Network/BuildHasNone", run: buildHasNoNetwork},
		{name: "Limit/Disk", isolated: true, run: diskLimit},
		{name: "Limit/Files", isolated: true, run: filesLimit},
		{name: "Create/Refused", run: createRefused},
		{name: "Create/Cancelled", run: createCancelled},
		{name: "Concurrent", run: concurrent},
		{name: "ReapKeepsOwn", run: reapKeepsOwn},
	}
}

func newContext(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}
