package watcher

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/events/streams"
	"github.com/hermes-serverless/hermes/services/api"
	"github.com/hermes-serverless/hermes/services/watcher/sandbox"
)

// cancel asks the watcher to end an attempt.
func (w *world) cancel(r api.RunRequest) api.CancelRunReply {
	w.t.Helper()
	raw, _ := json.Marshal(api.CancelRun{AttemptRef: r.AttemptRef})
	m, err := w.nc.Request(api.CancelSubject(name), raw, patience)
	if err != nil {
		w.t.Fatal(err)
	}
	var reply api.CancelRunReply
	if err := json.Unmarshal(m.Data, &reply); err != nil {
		w.t.Fatal(err)
	}
	return reply
}

// flag is a file that a function makes, or waits for.
func (w *world) flag(name string) string { return filepath.Join(w.dir, name) }

func exists(path string) bool { _, err := os.Stat(path); return err == nil }

// until is a script that makes the file and then runs until the other one is there.
func until(made, awaited string) string {
	return fmt.Sprintf("touch %s; while [ ! -e %s ]; do sleep 0.01; done", made, awaited)
}

func TestCancelOfARunningFunction(t *testing.T) {
	w := newWorld(t, func(o *Options) { o.StopGrace = patience }) // it ends by itself when it is asked to
	w.watch()
	r := w.request(w.function("trap 'echo bye; exit 0' TERM; touch "+w.flag("on")+"; while :; do sleep 0.01; done", 0o755))
	next(t, "hello", w.hellos)
	if w.cancel(r).Known {
		t.Error("an attempt is known that was never placed")
	}
	w.place(r)
	w.eventually("start", func() bool { return exists(w.flag("on")) })
	for range 2 {
		if !w.cancel(r).Known {
			t.Error("a running attempt is not known")
		}
	}
	report := next(t, "report", w.reports)
	if report.Outcome != api.Cancelled || report.ExitCode != 0 {
		t.Errorf("report %+v", report)
	}
	if stdout, _, _ := w.output(r); stdout != "bye\n" {
		t.Errorf("output %q", stdout)
	}
}

func TestCancelWhileItIsClaimed(t *testing.T) {
	for _, granted := range []bool{true, false} {
		t.Run(fmt.Sprint(granted), func(t *testing.T) {
			w := newWorld(t)
			asked, answer := make(chan bool), make(chan bool)
			w.granting(func(api.Claim) api.ClaimReply {
				asked <- true
				<-answer
				return api.ClaimReply{Granted: granted, Why: "it is being cancelled"}
			})
			stop := w.watch()
			r := w.request(w.function("touch "+w.flag("ran"), 0o755))
			w.place(r)
			next(t, "claim", asked)
			if !w.cancel(r).Known {
				t.Error("the attempt is not known")
			}
			answer <- true
			if granted {
				if report := next(t, "report", w.reports); report.Outcome != api.Cancelled || !report.Started {
					t.Errorf("report %+v", report)
				}
				w.output(r) // has an end
			}
			if err := stop(); err != nil {
				t.Error(err)
			}
			if exists(w.flag("ran")) || w.box.count() != 0 || len(w.reports) != 0 {
				t.Errorf("ran: %v; %d sandboxes, %d reports are left", exists(w.flag("ran")), w.box.count(), len(w.reports))
			}
		})
	}
}

func TestRefusedClaimLeavesNothing(t *testing.T) {
	w := newWorld(t)
	w.granting(func(api.Claim) api.ClaimReply { return api.ClaimReply{Why: "not yours"} })
	w.watch()
	r := w.request(w.function("touch "+w.flag("ran"), 0o755))
	w.place(r)
	if claim := next(t, "claim", w.claims); claim.AttemptRef != r.AttemptRef || claim.Sandbox != "cold" || claim.SandboxMicros <= 0 {
		t.Errorf("claim %+v", claim)
	}
	w.eventually("removal of the sandbox", func() bool { return w.box.count() == 0 })
	if exists(w.flag("ran")) || w.reportFiles() != 0 || len(w.reports) != 0 {
		t.Error("something of it ran or was reported")
	}
}

func TestDuplicateDeliveryRunsOnce(t *testing.T) {
	w := newWorld(t)
	w.watch()
	r := w.request(w.function("echo ran >>"+w.flag("log")+"; "+until(w.flag("on"), w.flag("go")), 0o755))
	w.place(r)
	w.eventually("start", func() bool { return exists(w.flag("on")) })
	w.place(r)
	other := w.request(w.function("exit 0", 0o755))
	w.place(other)
	if report := next(t, "report of what came behind it", w.reports); report.AttemptRef != other.AttemptRef {
		t.Errorf("report %+v", report)
	}
	if err := os.WriteFile(w.flag("go"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if report := next(t, "report", w.reports); report.Outcome != api.Succeeded {
		t.Errorf("report %+v", report)
	}
	if text, _ := os.ReadFile(w.flag("log")); string(text) != "ran\n" {
		t.Errorf("it ran as %q", text)
	}
}

// TestTwoUsersMayUseOneID: users make the ids of their executions.
func TestTwoUsersMayUseOneID(t *testing.T) {
	w := newWorld(t, func(o *Options) { o.ReportGrace = 50 * time.Millisecond })
	stop := w.watch()
	first := w.request(w.function(until(w.flag("on1"), w.flag("go")), 0o755))
	second := first
	second.Owner, second.Request.Source = "bob", w.function(until(w.flag("on2"), w.flag("go"))+"; exit 3", 0o755)
	w.place(first)
	w.place(second)
	w.eventually("start of both", func() bool { return exists(w.flag("on1")) && exists(w.flag("on2")) })
	w.orchestrate(false)
	if err := os.WriteFile(w.flag("go"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	w.eventually("both reports on disk", func() bool { return w.reportFiles() == 2 })
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	// As a file is called that was written before owners were part of the names.
	reports := filepath.Join(w.opts.StateDir, "reports")
	if err := os.Rename(filepath.Join(reports, "bob."+second.ID+".1.json"), filepath.Join(reports, second.ID+".1.json")); err != nil {
		t.Fatal(err)
	}
	w.orchestrate(true)
	w.watch()
	codes := map[string]int{}
	for range 2 {
		report := next(t, "report", w.reports)
		codes[report.Owner] = report.ExitCode
	}
	if codes[owner] != 0 || codes["bob"] != 3 {
		t.Errorf("exit codes %v", codes)
	}
	w.eventually("no report on disk", func() bool { return w.reportFiles() == 0 })
}

func TestUselessRequestIsThrownAway(t *testing.T) {
	w := newWorld(t)
	w.watch()
	next(t, "hello", w.hellos)
	for _, raw := range []string{"{", `{"owner":"ada"}`, `{"nobody":"knows"}`} {
		if err := w.nc.Publish(events.RunSubject(name, owner, api.NewID()), []byte(raw)); err != nil {
			t.Fatal(err)
		}
	}
	if _, report := w.run("true"); report.Outcome != api.Succeeded {
		t.Errorf("report %+v", report)
	}
}

func TestReportOutlivesOrchestratorAndWatcher(t *testing.T) {
	w := newWorld(t, func(o *Options) { o.ReportGrace = 50 * time.Millisecond })
	stop := w.watch()
	r := w.request(w.function(until(w.flag("on"), w.flag("go")), 0o755))
	w.place(r)
	w.eventually("start", func() bool { return exists(w.flag("on")) })
	w.orchestrate(false)
	if err := os.WriteFile(w.flag("go"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	w.eventually("report on disk", func() bool { return w.reportFiles() == 1 })
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	if len(w.leaves) != 0 || w.reportFiles() != 1 {
		t.Errorf("it left with a report untaken, %d on disk", w.reportFiles())
	}
	for len(w.holds) > 0 {
		<-w.holds
	}
	w.orchestrate(true)
	w.opts.ReportGrace = patience // this one has all the time to say goodbye
	stop = w.watch()              // takes over the lease of its dead self at once
	if held := next(t, "hello", w.holds); len(held) > 1 || len(held) == 1 && held[0] != r.AttemptRef {
		t.Errorf("hello names %v", held)
	}
	if report := next(t, "report", w.reports); report.AttemptRef != r.AttemptRef || report.Outcome != api.Succeeded {
		t.Errorf("report %+v", report)
	}
	w.eventually("report gone", func() bool { return w.reportFiles() == 0 })
	if err := stop(); err != nil {
		t.Error(err)
	}
	if len(w.leaves) != 1 {
		t.Errorf("%d goodbyes", len(w.leaves))
	}
	if _, err := w.leaseOf(); err == nil {
		t.Error("the lease still stands")
	}
}

func (w *world) leaseOf() (api.Lease, error) {
	kv, err := w.js.KeyValue(w.t.Context(), streams.BucketLeases)
	if err != nil {
		w.t.Fatal(err)
	}
	var lease api.Lease
	entry, err := kv.Get(w.t.Context(), api.LeaseKey(name))
	if err == nil {
		err = json.Unmarshal(entry.Value(), &lease)
	}
	return lease, err
}

func TestOutputIsWholeAcrossARestart(t *testing.T) {
	w := newWorld(t, func(o *Options) { o.LeaseTTL = time.Minute })
	stop := w.watch()
	const blocks, lines = 40, 20_000 // about 5 MB
	script := fmt.Sprintf(`i=0; while [ $i -lt %d ]; do i=$((i+1)); seq $((i*%[2]d)) $((i*%[2]d+%[2]d-1)); echo err $i >&2; `+
		`[ $i = 10 ] && touch %[3]s; sleep 0.02; done; exit 0`, blocks, lines, w.flag("on"))
	r := w.request(w.function(script, 0o755))
	r.Request.Limits.OutputBytes = 1 << 30
	w.place(r)
	w.eventually("start", func() bool { return exists(w.flag("on")) })
	w.restart()
	// Not IsConnected alone: that the connection is broken may not be noticed yet.
	w.eventually("reconnect", func() bool { return w.nc.IsConnected() && w.nc.ConnectedServerId() == w.server.ID() })
	w.ensure() // the leases are in memory
	report := next(t, "report", w.reports)
	if report.Outcome != api.Succeeded || report.Output.Cut != "" {
		t.Errorf("report %+v", report)
	}
	var out, errs []byte
	for i := 1; i <= blocks; i++ {
		for n := i * lines; n < (i+1)*lines; n++ {
			out = append(strconv.AppendInt(out, int64(n), 10), '\n')
		}
		errs = fmt.Appendln(errs, "err", i)
	}
	stdout, stderr, end := w.output(r)
	if stdout != string(out) || stderr != string(errs) {
		t.Errorf("%d and %d bytes, want %d and %d", len(stdout), len(stderr), len(out), len(errs))
	}
	if end.SHA256 != report.Output.SHA256 {
		t.Errorf("end %+v, report %+v", end, report.Output)
	}
	next(t, "hello", w.hellos)
	next(t, "hello after the reconnect", w.hellos)
	if err := stop(); err != nil { // before the server, which is newer
		t.Error(err)
	}
}

func TestNameInUse(t *testing.T) {
	w := newWorld(t) // with a lease that a busy machine renews in time
	w.watch()
	next(t, "hello", w.hellos)
	second := w.opts
	second.StateDir = filepath.Join(w.dir, "other")
	other, err := New(second)
	if err != nil {
		t.Fatal(err)
	}
	if err := other.Run(t.Context()); !errors.Is(err, ErrNameTaken) {
		t.Errorf("a second watcher under the name: %v", err)
	}
	third, err := New(w.opts)
	if err != nil {
		t.Fatal(err)
	}
	if err := third.Run(t.Context()); !errors.Is(err, ErrStateInUse) {
		t.Errorf("a second watcher in the folder: %v", err)
	}
}

func TestLostLeaseEndsRuns(t *testing.T) {
	w := newWorld(t, func(o *Options) { o.LeaseTTL = 2 * time.Second })
	w.watch()
	r := w.request(w.function("trap '' TERM; "+until(w.flag("on"), w.flag("never")), 0o755))
	w.place(r)
	w.eventually("start", func() bool { return exists(w.flag("on")) })
	if err := w.js.DeleteKeyValue(t.Context(), streams.BucketLeases); err != nil {
		t.Fatal(err)
	}
	report := next(t, "report", w.reports)
	expect(t, report, api.Failed, events.ReasonShutdown, "lost its connection")
	if report.Signal != "SIGKILL" {
		t.Errorf("report %+v", report)
	}
	for len(w.hellos) > 0 {
		<-w.hellos
	}
	w.ensure()
	next(t, "hello", w.hellos)
	if _, report := w.run("true"); report.Outcome != api.Succeeded {
		t.Errorf("report %+v", report)
	}
}

func TestDrainWaits(t *testing.T) {
	w := newWorld(t)
	stop := w.watch()
	r := w.request(w.function(until(w.flag("on"), w.flag("go")), 0o755))
	w.place(r)
	w.eventually("start", func() bool { return exists(w.flag("on")) })
	stopped := make(chan error)
	go func() { stopped <- stop() }()
	w.eventually("lease that drains", func() bool { l, err := w.leaseOf(); return err == nil && l.Draining })
	w.place(w.request(w.function("touch "+w.flag("late"), 0o755)))
	if err := os.WriteFile(w.flag("go"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if report := next(t, "report", w.reports); report.Outcome != api.Succeeded {
		t.Errorf("report %+v", report)
	}
	if err := next(t, "end", stopped); err != nil {
		t.Error(err)
	}
	next(t, "goodbye", w.leaves)
	if exists(w.flag("late")) {
		t.Error("something new ran while it drained")
	}
}

func TestDrainEndsWhatDoesNotEnd(t *testing.T) {
	w := newWorld(t, func(o *Options) { o.Grace = 20 * time.Millisecond })
	stop := w.watch()
	r := w.request(w.function("trap '' TERM; "+until(w.flag("on"), w.flag("never")), 0o755))
	w.place(r)
	w.eventually("start", func() bool { return exists(w.flag("on")) })
	if err := stop(); err != nil {
		t.Error(err)
	}
	expect(t, next(t, "report", w.reports), api.Failed, events.ReasonShutdown, "stopped")
	next(t, "goodbye", w.leaves)
}

func TestUnclaimedRequestIsGivenBackOnDrain(t *testing.T) {
	w := newWorld(t, func(o *Options) { o.ReportGrace = 50 * time.Millisecond })
	stop := w.watch()
	next(t, "hello", w.hellos)
	w.orchestrate(false)
	r := w.request(w.function("touch "+w.flag("ran"), 0o755))
	w.place(r)
	w.eventually("sandbox", func() bool { return w.box.count() == 1 })
	if err := stop(); err != nil {
		t.Error(err)
	}
	if w.box.count() != 0 || w.reportFiles() != 0 || exists(w.flag("ran")) {
		t.Error("something of it is left")
	}
	w.orchestrate(true)
	w.watch()
	if report := next(t, "report", w.reports); report.AttemptRef != r.AttemptRef || report.Outcome != api.Succeeded {
		t.Errorf("report %+v", report)
	}
}

func TestCommandThatCannotBeKilled(t *testing.T) {
	w := newWorld(t, func(o *Options) { o.KillWait = 50 * time.Millisecond; o.MaxHeld = 2 })
	w.box.immortal.Store(true)
	stop := w.watch()
	_, report := w.run("echo on", func(r *api.RunRequest) { r.Request.Limits.TimeoutMillis = 50 })
	expect(t, report, api.Failed, events.ReasonSandbox, "not even by SIGKILL")
	if w.box.count() != 1 {
		t.Error("the sandbox was removed under it")
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
}

// A report may be taken before it is on disk: then nothing of it stays there.
func TestAReportThatIsTakenWhileItIsSavedIsRemoved(t *testing.T) {
	w := newWorld(t)
	watcher, err := New(w.opts)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- watcher.Run(ctx) }()
	next(t, "hello", w.hellos)
	saved := make(chan struct{})
	report := api.Report{AttemptRef: w.request(w.function("true", 0o755)).AttemptRef, Outcome: api.Failed}
	delivered := make(chan struct{})
	go func() { defer close(delivered); watcher.deliver(report, make(chan struct{}), saved) }()
	next(t, "report", w.reports)
	if err := watcher.reports.save(report); err != nil {
		t.Error(err)
	}
	close(saved)
	<-delivered
	if n := w.reportFiles(); n != 0 {
		t.Errorf("%d reports are left", n)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// A containerd that dies while a watcher starts is started again: that is no reason not to.
func TestAWatcherStartsWhileItsRuntimeIsAway(t *testing.T) {
	w := newWorld(t)
	away := fmt.Errorf("look for a container: %w", sandbox.ErrUnavailable)
	w.box.reap = []error{away, away}
	w.watch()
	next(t, "hello", w.hellos)
}

func TestAWatcherThatCannotRemoveWhatAnEarlierOneLeftDoesNotStart(t *testing.T) {
	w := newWorld(t)
	w.box.reap = []error{errors.New("a mount is busy")}
	if err := w.watch()(); err == nil || !strings.Contains(err.Error(), "a mount is busy") {
		t.Errorf("it ended with %v", err)
	}
}
