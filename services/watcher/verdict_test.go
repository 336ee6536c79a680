package watcher

import (
	"errors"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/services/api"
	"github.com/hermes-serverless/hermes/services/watcher/sandbox"
)

func TestDecide(t *testing.T) {
	limits := events.Limits{TimeoutMillis: 1500, MemoryBytes: 1000, PIDs: 7, OutputBytes: 55}
	killed := sandbox.Exit{Code: 137, Signal: syscall.SIGKILL}
	oom := sandbox.Exit{Code: 137, Signal: syscall.SIGKILL, OOM: true}
	tmp := sandbox.Full{Path: "/tmp", Bytes: 256 << 20}
	for _, c := range []struct {
		name    string
		in      ending
		outcome api.Outcome
		code    int
		reason  string
		message string // a part of it
	}{
		{"success", ending{reason: events.ReasonExit}, api.Succeeded, 0, "", ""},
		{"exit", ending{reason: events.ReasonExit, exit: sandbox.Exit{Code: 3}}, api.Failed, 3, events.ReasonExit, "code 3"},
		{"signal", ending{reason: events.ReasonExit, exit: killed}, api.Failed, 137, events.ReasonSignal, "SIGKILL"},
		{"make by a signal", ending{reason: events.ReasonMake, exit: killed}, api.Failed, 137, events.ReasonMake, "SIGKILL"},
		{"make", ending{reason: events.ReasonMake, exit: sandbox.Exit{Code: 2}}, api.Failed, 2, events.ReasonMake, "code 2"},
		{"oom", ending{reason: events.ReasonExit, exit: oom}, api.Failed, 137, events.ReasonOOM, "1000 B"},
		{"oom of a run", ending{reason: events.ReasonExit, exit: oom}, api.Failed, 137, events.ReasonOOM, `use less, or raise "memory"`},
		{"oom of a build", ending{reason: events.ReasonMake, exit: oom}, api.Failed, 137, events.ReasonOOM, "of memory; use less"},
		{"oom of a child", ending{reason: events.ReasonExit, exit: sandbox.Exit{OOM: true}}, api.Failed, 0, events.ReasonOOM, "1000"},
		{"oom took the sandbox", ending{exit: oom, failure: failuref(events.ReasonSandbox, "gone")}, api.Failed, 137, events.ReasonOOM, "1000"},
		{"pids", ending{reason: events.ReasonExit, exit: sandbox.Exit{Code: 1, PIDsLimit: true}}, api.Failed, 1, events.ReasonPIDs, `limit of 7 processes and threads and exited with code 1; start fewer, or raise "pids"`},
		{"pids of a build", ending{reason: events.ReasonMake, exit: sandbox.Exit{Code: 1, PIDsLimit: true}}, api.Failed, 1, events.ReasonPIDs, "code 1; start fewer"},
		{"pids survived", ending{reason: events.ReasonExit, exit: sandbox.Exit{PIDsLimit: true}}, api.Succeeded, 0, "", ""},
		{"disk", ending{reason: events.ReasonExit, exit: sandbox.Exit{Code: 1, Full: tmp}}, api.Failed, 1, events.ReasonDisk, `/tmp full, 256 MiB, and exited with code 1; write less, or raise "tmp" in`},
		{"disk and a signal", ending{reason: events.ReasonExit, exit: sandbox.Exit{Code: 135, Signal: syscall.SIGBUS, Full: tmp}}, api.Failed, 135, events.ReasonDisk, "and was ended by SIGBUS"},
		{"disk of a build", ending{reason: events.ReasonMake, exit: sandbox.Exit{Code: 2, Full: tmp}}, api.Failed, 2, events.ReasonDisk, "code 2; write less"},
		{"folder of a build", ending{reason: events.ReasonMake, exit: sandbox.Exit{Code: 2, Full: sandbox.Full{Path: sandbox.FunctionDir, Bytes: 2 << 30}}}, api.Failed, 2, events.ReasonDisk, "/function full, 2.0 GiB, and exited with code 2; make less"},
		{"files", ending{reason: events.ReasonExit, exit: sandbox.Exit{Code: 1, Full: sandbox.Full{Path: "/tmp", Files: 65536}}}, api.Failed, 1, events.ReasonDisk, "/tmp full, 65,536 files, and exited with code 1; make fewer files"},
		{"shared memory", ending{reason: events.ReasonExit, exit: sandbox.Exit{Code: 1, Full: sandbox.Full{Path: "/dev/shm", Bytes: 64 << 20}}}, api.Failed, 1, events.ReasonDisk, "/dev/shm full, 64 MiB, and exited with code 1; write less there, or use /tmp"},
		{"disk survived", ending{reason: events.ReasonExit, exit: sandbox.Exit{Full: tmp}}, api.Succeeded, 0, "", ""},
		{"disk and memory", ending{reason: events.ReasonExit, exit: sandbox.Exit{Code: 137, OOM: true, Full: tmp}}, api.Failed, 137, events.ReasonOOM, "1000"},
		{"cancelled", ending{cause: cancelled, exit: killed}, api.Cancelled, 137, "", ""},
		{"cancelled, exits with 0", ending{cause: cancelled}, api.Cancelled, 0, "", ""},
		{"timed out", ending{cause: timedOut, exit: killed}, api.TimedOut, 137, "", "1.5s"},
		{"output", ending{cause: outputLimit, exit: killed}, api.Failed, 137, events.ReasonOutputLimit, "55 B"},
		{"output, exits with 0", ending{cause: outputLimit}, api.Failed, 0, events.ReasonOutputLimit, "55 B"},
		{"shutdown", ending{cause: shutdown, exit: killed}, api.Failed, 137, events.ReasonShutdown, "stopped"},
		{"lease", ending{cause: leaseLost, exit: killed}, api.Failed, 137, events.ReasonShutdown, "connection"},
		{"stuck", ending{cause: cancelled, exit: killed, stuck: true}, api.Failed, 137, events.ReasonSandbox, "SIGKILL"},
		{"no handler", ending{failure: missingHandler("h", sandbox.ErrNotFound)}, api.Failed, 127, events.ReasonHandler, `"h"`},
		{"no program", ending{failure: missingHandler("h", sandbox.ErrNotExecutable)}, api.Failed, 126, events.ReasonHandler, "chmod +x h"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := decide(c.in, limits)
			if got.outcome != c.outcome || got.exitCode != c.code || got.reason != c.reason || !strings.Contains(got.message, c.message) {
				t.Errorf("%+v", got)
			}
			if c.in.reason != events.ReasonExit && strings.Contains(got.message, "raise") {
				t.Errorf("a build is told to change what is not its own: %q", got.message)
			}
			if got.outcome == api.Succeeded && got.message != "" {
				t.Errorf("a success says %q", got.message)
			}
		})
	}
}

func TestJudge(t *testing.T) {
	missing := func(error) *failure { return failuref(events.ReasonHandler, "missing") }
	for _, c := range []struct {
		err    error
		reason string
	}{
		{fmt.Errorf("start: %w", sandbox.ErrNotFound), events.ReasonHandler},
		{fmt.Errorf("start: %w", sandbox.ErrNotExecutable), events.ReasonHandler},
		{sandbox.ErrGone, events.ReasonSandbox},
		{errors.New("whatever"), events.ReasonSandbox},
	} {
		if got := judge(c.err, missing); got == nil || got.reason != c.reason {
			t.Errorf("judge(%v) = %+v, want %s", c.err, got, c.reason)
		}
	}
	if judge(nil, missing) != nil {
		t.Error("no error is a failure")
	}
}

func TestAskBackoff(t *testing.T) {
	for _, c := range []struct {
		tries int
		err   error
		want  time.Duration
	}{
		{0, api.Errorf(api.Unavailable, api.ServerUnavailable, ""), minAskBackoff},
		{1, api.Errorf(api.Internal, api.InternalError, ""), 2 * minAskBackoff},
		{1000, errors.New("whatever"), maxAskBackoff},
		{0, api.Errorf(api.Invalid, api.InvalidArguments, ""), refusedBackoff},
	} {
		if got := askBackoff(c.tries, c.err); got != c.want {
			t.Errorf("askBackoff(%d, %v) = %v, want %v", c.tries, c.err, got, c.want)
		}
	}
}

func TestHandlerPath(t *testing.T) {
	for handler, want := range map[string]string{"main": "./main", "bin/main": "bin/main", "./main": "./main"} {
		if got := handlerPath(handler); got != want {
			t.Errorf("handlerPath(%q) = %q, want %q", handler, got, want)
		}
	}
}
