package orchestrator

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/events/streams"
	"github.com/hermes-serverless/hermes/projections/executions"
	"github.com/hermes-serverless/hermes/services/api"
)

func TestRunToItsEnd(t *testing.T) {
	w := newWorld(t)
	w.orchestrate()
	w.register()
	w1 := w.watcher("w1", 1).hello()
	id := w.run()
	if _, err := ask[api.Accepted](w, api.OpRun, api.Run{ID: id, Function: events.FunctionRef{Name: "pi"}}); err != nil {
		t.Errorf("the same request again: %v", err)
	}
	ref := w1.start()
	if reply := w1.claim(ref); !reply.Granted {
		t.Errorf("the same claim again: refused: %s", reply.Why)
	}
	if reply := w1.report(ref, api.Succeeded); reply.Why != "" {
		t.Errorf("the report was of no use: %s", reply.Why)
	}
	if reply := w1.report(ref, api.Failed); reply.Why == "" {
		t.Error("a second report was taken")
	}
	e, err := ask[api.Execution](w, api.OpExecutionWait, api.ExecutionWait{ExecutionRef: api.ExecutionRef{ID: id}, WaitMillis: 10_000})
	if err != nil || e.Status != executions.Success || e.Number != 1 || e.Watcher != "w1" {
		t.Errorf("ended %+v, %v", e, err)
	}
	// Who has heard of the end finds it in the list, without asking for a sequence.
	page, err := ask[api.Executions](w, api.OpExecutionList, api.ExecutionList{})
	if err != nil || len(page.Executions) != 1 || page.Executions[0].Status != executions.Success {
		t.Errorf("list: %+v, %v", page, err)
	}
	if e.Request.Env["LEVEL"] != "3" || page.Executions[0].Request.Env != nil {
		t.Errorf("the environment is %v in inspect, %v in a list", e.Request.Env, page.Executions[0].Request.Env)
	}
}

// TestWaitForWhatWasAccepted: it exists from then on, however short the wait, and whatever the view
// has seen.
func TestWaitForWhatWasAccepted(t *testing.T) {
	w := newWorld(t)
	w.orchestrate()
	w.register()
	for range 50 {
		wait := api.ExecutionWait{ExecutionRef: api.ExecutionRef{ID: w.run()}, WaitMillis: 0}
		if e, err := ask[api.Execution](w, api.OpExecutionWait, wait); err != nil || e.Status != executions.Queued {
			t.Fatalf("it is told %q, %v; want queued", e.Status, err)
		}
	}
}

func TestWaitForWhatIsAboutToBe(t *testing.T) {
	w := newWorld(t)
	w.orchestrate()
	w.register()
	w1 := w.watcher("w1", 1).hello()
	id := api.NewID()
	got := make(chan api.Execution, 1)
	go func() {
		e, err := ask[api.Execution](w, api.OpExecutionWait, api.ExecutionWait{ExecutionRef: api.ExecutionRef{ID: id}, WaitMillis: 8000})
		if err != nil {
			t.Errorf("waiting for an id that nobody has seen: %v", err)
		}
		got <- e
	}()
	if _, err := ask[api.Accepted](w, api.OpRun, api.Run{ID: id, Function: events.FunctionRef{Name: "pi"}}); err != nil {
		t.Fatal(err)
	}
	w1.report(w1.start(), api.Succeeded)
	if e := <-got; e.Status != executions.Success || e.Number != 1 {
		t.Errorf("it is told %s, number %d", e.Status, e.Number)
	}
	never := api.ExecutionWait{ExecutionRef: api.ExecutionRef{ID: api.NewID()}, WaitMillis: 1}
	if _, err := ask[api.Execution](w, api.OpExecutionWait, never); !api.IsKind(err, api.NotFound) {
		t.Errorf("waiting for what never is: %v", err)
	}
}

func TestQueueShowsPositions(t *testing.T) {
	w := newWorld(t)
	w.orchestrate()
	w.register()
	w.watcher("w1", 1).hello()
	first := w.run()
	w.eventually("the first is placed", func() bool { return w.placed() == 1 })
	second, third := w.run(), w.run()
	for id, want := range map[string]int{first: 0, second: 1, third: 2} {
		w.eventually("the position is known", func() bool {
			e, err := ask[api.Execution](w, api.OpExecutionInspect, api.ExecutionRef{ID: id})
			return err == nil && e.Position == want
		})
		// Who waits is told, too.
		e, err := ask[api.Execution](w, api.OpExecutionWait, api.ExecutionWait{ExecutionRef: api.ExecutionRef{ID: id}, WaitMillis: 1})
		if err != nil || e.Position != want {
			t.Errorf("wait: position %d, want %d, %v", e.Position, want, err)
		}
	}
}

// placed counts the run requests that are out.
func (w *world) placed() int {
	w.t.Helper()
	s, err := w.js.Stream(w.t.Context(), streams.Runs)
	if err != nil {
		w.t.Fatal(err)
	}
	return int(s.CachedInfo().State.Msgs)
}

func TestQueueIsInTheServersOrder(t *testing.T) {
	w := newWorld(t)
	w.orchestrate()
	w.register()
	w1 := w.watcher("w1", 1).hello()
	first := w.run()
	w.eventually("the first is placed", func() bool { return w.placed() == 1 })
	second := w.run()
	// An id from a clock that is years behind.
	early := "01AAAAAAAAAAAAAAAAAAAAAAAA"
	if _, err := ask[api.Accepted](w, api.OpRun, api.Run{ID: early, Function: events.FunctionRef{Name: "pi"}}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{first, second, early} {
		ref := w1.start()
		if ref.ID != want {
			t.Fatalf("placed %s, want %s", ref.ID, want)
		}
		w1.report(ref, api.Succeeded)
	}
}

func TestCancelWhileQueued(t *testing.T) {
	w := newWorld(t)
	w.orchestrate()
	w.register()
	w1 := w.watcher("w1", 1).hello()
	id := w.run()
	request := w1.next()
	if _, err := ask[api.Execution](w, api.OpExecutionCancel, api.ExecutionRef{ID: id}); err != nil {
		t.Fatal(err)
	}
	w.eventually("it is cancelled", func() bool { return w.state(id).Status == executions.Cancelled })
	w.eventually("the run request is withdrawn", func() bool { return w.placed() == 0 })
	if reply := w1.claim(request.AttemptRef); reply.Granted {
		t.Error("a cancelled execution was granted")
	}
	if _, err := ask[api.Execution](w, api.OpExecutionCancel, api.ExecutionRef{ID: id}); !api.IsKind(err, api.State) {
		t.Errorf("cancel of an ended one: %v", err)
	}
	if _, err := ask[api.Execution](w, api.OpExecutionCancel, api.ExecutionRef{Number: 99}); !api.IsKind(err, api.NotFound) {
		t.Errorf("cancel of an unknown one: %v", err)
	}
}

func TestCancelWhileRunning(t *testing.T) {
	w := newWorld(t)
	w.orchestrate()
	w.register()
	w1 := w.watcher("w1", 1).hello()
	told := make(chan *nats.Msg, 10)
	sub, err := w.nc.ChanSubscribe(api.CancelSubject("w1"), told)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = sub.Unsubscribe() }()
	id := w.run()
	ref := w1.start()
	if _, err := ask[api.Execution](w, api.OpExecutionCancel, api.ExecutionRef{ID: id}); err != nil {
		t.Fatal(err)
	}
	// The first one is lost on purpose: the leader must ask again.
	for range 2 {
		var cancel api.CancelRun
		if err := json.Unmarshal((<-told).Data, &cancel); err != nil || cancel.AttemptRef != ref {
			t.Errorf("told to cancel %+v, %v", cancel, err)
		}
	}
	w1.report(ref, api.Cancelled)
	if got := w.state(id).Status; got != executions.Cancelled {
		t.Errorf("ended %s", got)
	}
}

func TestClaimsAreFenced(t *testing.T) {
	w := newWorld(t)
	w.orchestrate()
	w.register()
	w1, w2 := w.watcher("w1", 1).hello(), w.watcher("w2", 1)
	w2.machine.Bases = nil
	w2.hello()
	w.run()
	request := w1.next()
	if w2.claim(request.AttemptRef).Granted {
		t.Error("a watcher was granted what is placed on another")
	}
	stale := *w1
	stale.session = api.NewID()
	if stale.claim(request.AttemptRef).Granted {
		t.Error("another session was granted a claim")
	}
	if again := w1.next(); again.AttemptRef != request.AttemptRef || !w1.claim(again.AttemptRef).Granted {
		t.Error("the right one was refused")
	}
	if w2.report(request.AttemptRef, api.Succeeded).Why == "" {
		t.Error("a watcher ended another's attempt")
	}
}

// TestAnImageGoesWhereItsMachinesAre: also one that was imported while the leader leads, and what no
// machine of the fleet can run ends with the reason.
func TestAnImageGoesWhereItsMachinesAre(t *testing.T) {
	w := newWorld(t)
	ref := func(arch string) events.BaseRef {
		digest := "sha256:" + strings.Repeat(arch[:1]+"0", 32)
		w.append(w.opts.Bases, events.BaseSubject("on"+arch), 0, events.BaseImported{Image: events.Blob{Digest: digest}, Architecture: arch})
		return events.BaseRef{Name: "on" + arch, Digest: digest}
	}
	before := ref("arm64")
	w.orchestrate()
	pc, arm := w.watcher("a", 4), w.watcher("b", 4)
	pc.machine.Bases, arm.machine.Bases = []string{"host", events.ImageBases("amd64")}, []string{"host", events.ImageBases("arm64")}
	pc.hello()
	arm.hello()
	request := func(base events.BaseRef) string {
		id := api.NewID()
		w.append(w.opts.Executions, events.ExecutionSubject("ana", id), 0, events.ExecutionRequested{Kind: events.KindRun, Base: base.String()})
		return id
	}
	for range 2 { // neither is chosen by chance, twice
		if id := request(before); arm.next().ID != id {
			t.Error("another execution is placed there")
		}
	}
	nowhere := ref("ceasar")
	w.eventually("it is known where the image can run", func() bool {
		id := request(nowhere)
		e, err := api.Call[api.Execution](t.Context(), api.NewClient(w.nc, "ana"), api.OpExecutionWait, api.ExecutionWait{
			ExecutionRef: api.ExecutionRef{ID: id}, WaitMillis: 2000})
		return err == nil && e.Status.Final() && strings.Contains(e.Message, "which is for ceasar")
	})
}

// TestWhoPreparesIsHeard: what the watcher of a queued execution does is told to its owner, as a
// terminal can show it; of other watchers nobody hears.
func TestWhoPreparesIsHeard(t *testing.T) {
	w := newWorld(t)
	w.orchestrate()
	w.register()
	w1, w2 := w.watcher("w1", 1).hello(), w.watcher("w2", 1)
	w2.machine.Bases = nil
	w2.hello()
	id := w.run()
	request := w1.next()
	doing := func() string {
		e, err := api.Call[api.Execution](t.Context(), api.NewClient(w.nc, "ana"), api.OpExecutionInspect, api.ExecutionRef{ID: id})
		if err != nil {
			t.Fatal(err)
		}
		return e.Doing
	}
	say := func(w *watch, doing string) {
		tell[api.PreparingReply](w, api.OpPreparing, api.Preparing{AttemptRef: request.AttemptRef, Doing: doing})
	}
	say(w2, "forging")
	if got := doing(); got != "" {
		t.Errorf("another watcher is heard: %q", got)
	}
	say(w1, "fetching the base gcc: \x1b[2J30 %\n"+strings.Repeat("x", 300))
	if got := doing(); !strings.HasPrefix(got, "fetching the base gcc: [2J30 %xxx") || len(got) != maxDoing {
		t.Errorf("its owner hears %q", got)
	}
	if !w1.claim(request.AttemptRef).Granted {
		t.Fatal("the claim was refused")
	}
	if got := doing(); got != "" {
		t.Errorf("when it runs its owner hears %q", got)
	}
}

// TestWhoPreparesIsNotPassedOver: an execution is not placed anew while its watcher prepares it.
func TestWhoPreparesIsNotPassedOver(t *testing.T) {
	s := newState()
	placed := time.Unix(1000, 0)
	k := key{owner: "ana", id: "01"}
	s.load(executions.Execution{Owner: "ana", ID: "01", Status: executions.Queued, Sequence: 1})
	s.place(k, put{watcher: "w1"}, placed)
	s.prepares(k, "w2", "x", placed.Add(time.Hour))
	if e := s.execs[k]; e.placedAt != placed || s.doing(k) != "" {
		t.Errorf("another watcher is heard: %+v", e)
	}
	s.prepares(k, "w1", "x", placed.Add(time.Hour))
	if e := s.execs[k]; e.placedAt != placed.Add(time.Hour) || s.doing(k) != "x" {
		t.Errorf("its watcher is not heard: %+v", e)
	}
	s.unplace(k, "w1")
	s.place(k, put{watcher: "w2"}, placed)
	if got := s.doing(k); got != "" {
		t.Errorf("another watcher does %q", got)
	}
}

func TestRestartedWatcherLosesWhatItDoesNotHold(t *testing.T) {
	w := newWorld(t)
	w.orchestrate()
	w.register()
	w1 := w.watcher("w1", 2).hello()
	lost, kept := w.run(), w.run()
	refs := map[string]api.AttemptRef{}
	for range 2 {
		ref := w1.start()
		refs[ref.ID] = ref
	}
	w1.session = api.NewID()
	w1.hello(refs[kept])
	if got := w.state(lost).Status; got != executions.Lost {
		t.Errorf("what it does not hold is %s", got)
	}
	if why := w1.report(refs[kept], api.Succeeded).Why; why != "" || w.state(kept).Status != executions.Success {
		t.Errorf("what it holds is %s, its report: %q", w.state(kept).Status, why)
	}
	if w1.report(refs[lost], api.Succeeded).Why == "" {
		t.Error("a lost attempt was ended twice")
	}
}

func TestLateHelloLosesNothing(t *testing.T) {
	w := newWorld(t)
	w.orchestrate()
	w.register()
	w1 := w.watcher("w1", 1).hello()
	w1.hello()
	id := w.run()
	ref := w1.start()
	w1.hellos = 0
	w1.hello() // the first one again, which knows nothing of the attempt
	if got := w.state(id).Status; got != executions.Running {
		t.Errorf("a hello of before the claim made it %s", got)
	}
	w1.hellos = 9
	w1.report(ref, api.Succeeded)
	if drop := w1.greet(ref); len(drop) != 1 || drop[0] != ref {
		t.Errorf("of an attempt that has ended it is told to drop %v", drop)
	}
}

func TestSilentWatcherIsLost(t *testing.T) {
	w := newWorld(t)
	s, _ := w.orchestrate()
	w.register()
	w1 := w.watcher("w1", 1).hello()
	running := w.run()
	w1.start()
	waiting := w.run()
	// As if it had been silent for long: the leader's clock is not the test's to wait for.
	w.eventually("a leader leads", func() bool { return s.leader.Load() != nil })
	l := s.leader.Load()
	l.mu.Lock()
	l.state.nodes["w1"].seen = time.Now().Add(-time.Minute)
	l.mu.Unlock()
	w.eventually("its attempt is lost", func() bool { return w.state(running).Status == executions.Lost })
	w2 := w.watcher("w2", 1).hello()
	if ref := w2.start(); ref.ID != waiting {
		t.Errorf("the next watcher got %s", ref.ID)
	}
	if w1.claim(api.AttemptRef{Owner: "ana", ID: waiting, Attempt: 1}).Granted {
		t.Error("the lost watcher was granted a claim")
	}
}

func TestNextLeaderGoesOn(t *testing.T) {
	w := newWorld(t)
	_, stopFirst := w.orchestrate()
	w.register()
	w1 := w.watcher("w1", 2).hello()
	running, placed, waiting := w.run(), w.run(), w.run()
	refs := []api.AttemptRef{w1.start()}
	w.eventually("the second is placed", func() bool { return w.placed() == 1 })
	w.orchestrate()
	stopFirst()
	w1.hello(refs...)
	if reply := w1.report(refs[0], api.Succeeded); reply.Why != "" {
		t.Errorf("the next leader does not take the report: %s", reply.Why)
	}
	for range 2 {
		refs = append(refs, w1.start())
	}
	for _, ref := range refs[1:] {
		w1.report(ref, api.Succeeded)
	}
	for _, id := range []string{running, placed, waiting} {
		if got := w.state(id); got.Status != executions.Success || got.Attempt != 1 {
			t.Errorf("%s ended %s in attempt %d", id, got.Status, got.Attempt)
		}
	}
}

func TestUnplaceableEndsAtOnce(t *testing.T) {
	w := newWorld(t)
	w.orchestrate()
	w.register()
	w1 := w.watcher("w1", 1)
	w1.machine.Bases = []string{"other"}
	w1.hello()
	id := w.run()
	w.eventually("it has failed", func() bool { return w.state(id).Status == executions.Error })
	if e := w.state(id); e.Reason != events.ReasonUnplaceable || !strings.Contains(e.Message, "base") {
		t.Errorf("ended with %s: %s", e.Reason, e.Message)
	}
}

func TestWhatAnAbsentMachineCanRunWaits(t *testing.T) {
	w := newWorld(t)
	w.orchestrate()
	w.register()
	able := w.watcher("able", 1).hello()
	tell[api.LeaveReply](able, api.OpLeave, api.Leave{Session: able.session})
	unable := w.watcher("unable", 1)
	unable.machine.Bases = []string{"other"}
	unable.hello()
	id := w.run()
	w.eventually("it waits", func() bool {
		e, err := ask[api.Execution](w, api.OpExecutionInspect, api.ExecutionRef{ID: id})
		return err == nil && e.Position == 1
	})
	able.session = api.NewID()
	if ref := able.hello().start(); ref.ID != id {
		t.Errorf("the machine that came back got %s", ref.ID)
	}
}

func TestRefusedClaimIsPlacedAnew(t *testing.T) {
	w := newWorld(t)
	w.orchestrate()
	w.register()
	w1 := w.watcher("w1", 1).hello()
	id := w.run()
	request := w1.next()
	stale := *w1
	stale.session = api.NewID()
	if stale.claim(request.AttemptRef).Granted {
		t.Fatal("a session that was never heard of was granted a claim")
	}
	if ref := w1.start(); ref.ID != id {
		t.Errorf("started %s", ref.ID)
	}
}

// viewsBehind are views that have seen nothing yet.
type viewsBehind struct{ Views }

func (viewsBehind) Active(context.Context) ([]executions.Execution, uint64, error) {
	return nil, 0, nil
}

func TestRecoverySkipsWhatItCannotRead(t *testing.T) {
	w := newWorld(t)
	m := nats.NewMsg(events.ExecutionSubject("ana", someID))
	m.Header.Set(events.HeaderType, "io.hermes.execution.v9.from_the_future")
	if _, err := w.js.PublishMsg(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	w.opts.Views = viewsBehind{w.opts.Views}
	w.register()
	w.orchestrate()
	w1 := w.watcher("w1", 1).hello()
	id := w.run()
	if ref := w1.start(); ref.ID != id {
		t.Errorf("started %s", ref.ID)
	}
}

func TestOrphansAreLost(t *testing.T) {
	w := newWorld(t)
	subject := events.ExecutionSubject("ana", someID)
	w.append(w.opts.Executions, subject, 0, events.ExecutionRequested{Kind: events.KindRun, Base: "host"})
	w.append(w.opts.Executions, subject, 1, events.ExecutionStarted{Attempt: 1, Watcher: "ghost", Sandbox: "cold"})
	s, _ := w.orchestrate()
	w.eventually("a leader leads", func() bool { return s.leader.Load() != nil })
	// As if it had listened for long: the leader's clock is not the test's to wait for.
	l := newLeader(s.parts)
	l.since = time.Now().Add(-time.Hour)
	if err := l.recover(t.Context()); err != nil {
		t.Fatal(err)
	}
	l.loseOrphans(t.Context())
	if got := w.state(someID).Status; got != executions.Lost {
		t.Errorf("what a watcher holds that nobody knows is %s", got)
	}
}

func TestCancelSeesWhatTheLeaderHasNotFollowed(t *testing.T) {
	w := newWorld(t)
	w.orchestrate()
	w.register()
	for range 20 {
		id := w.run()
		// As an earlier leader may have stored it, or one whose answer was lost.
		w.append(w.opts.Executions, events.ExecutionSubject("ana", id), w.state(id).Sequence,
			events.ExecutionStarted{Attempt: 1, Watcher: "w1", Sandbox: "cold"})
		if _, err := ask[api.Execution](w, api.OpExecutionCancel, api.ExecutionRef{ID: id}); err != nil {
			t.Fatal(err)
		}
		if got := w.state(id); got.Status != executions.Running || got.CancelRequestedBy == "" {
			t.Fatalf("what runs and is to be cancelled is %+v", got)
		}
	}
}

func TestHelloDoesNotEndADrain(t *testing.T) {
	w := newWorld(t)
	s, _ := w.orchestrate()
	w1 := w.watcher("w1", 1).hello()
	l := s.leader.Load()
	l.mu.Lock()
	l.state.nodes["w1"].draining = true
	l.mu.Unlock()
	w1.hello()
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.state.nodes["w1"].draining {
		t.Error("a hello in a drain makes the watcher accept again")
	}
}

func TestStopAnswersWhoWaits(t *testing.T) {
	w := newWorld(t)
	s, stop := w.orchestrate()
	w.register()
	id := w.run()
	w.eventually("it leads", func() bool { return s.leader.Load() != nil })
	answered := make(chan error, 1)
	go func() {
		// Longer than anything here has patience for.
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		_, err := api.Call[api.Execution](ctx, api.NewClient(w.nc, "ana"), api.OpExecutionWait,
			api.ExecutionWait{ExecutionRef: api.ExecutionRef{ID: id}, WaitMillis: maxWait.Milliseconds()})
		answered <- err
	}()
	w.eventually("somebody waits", func() bool { return s.leader.Load().changes.listeners() > 0 })
	stop()
	if err := <-answered; err != nil {
		t.Errorf("who waited when the service stopped: %v", err)
	}
}

func TestBuildIsAskedForOnce(t *testing.T) {
	w := newWorld(t)
	_, stop := w.orchestrate()
	w1 := w.watcher("w1", 1).hello()
	build := api.NewID()
	w.append(w.opts.Functions, events.FunctionSubject("ana", "pi"), 0, events.FunctionRegistered{
		Version: "1.0.0", Base: "host", Build: build, Config: events.FunctionConfig{Language: "cpp", Handler: "a.out"},
	})
	ref := w1.start()
	if ref.ID != build || w.state(build).Request.Kind != events.KindBuild || w.state(build).Request.Limits != policy.Build {
		t.Errorf("asked for %+v", w.state(build).Request)
	}
	w1.report(ref, api.Succeeded)
	// Nobody has taken note of the end: the registration is still pending when the next one leads.
	stop()
	w.orchestrate()
	w1.hello()
	w.register2()
	w1.start()
	if got := w.state(build); got.Attempt != 1 || got.Status != executions.Success {
		t.Errorf("the build is %s in attempt %d", got.Status, got.Attempt)
	}
}

// register2 asks for another build, so that a test can see that everything before was looked at.
func (w *world) register2() {
	w.t.Helper()
	w.append(w.opts.Functions, events.FunctionSubject("ana", "other"), 0, events.FunctionRegistered{
		Version: "1.0.0", Base: "host", Build: api.NewID(), Config: events.FunctionConfig{Language: "cpp", Handler: "a.out"},
	})
}

func TestOutputIsPaged(t *testing.T) {
	w := newWorld(t)
	w.orchestrate()
	w.register()
	w1 := w.watcher("w1", 1).hello()
	id := w.run()
	ref := w1.start()
	want := w.print(ref, "w1", 20, 100<<10)
	// Output under another watcher's name is nobody's.
	w.print(ref, "w2", 1, 10)
	w1.report(ref, api.Succeeded)

	c := api.NewClient(w.nc, "ana")
	var got strings.Builder
	pages := 0
	for from := (api.ExecutionOutput{ExecutionRef: api.ExecutionRef{ID: id}}); ; pages++ {
		page, chunks, err := c.Output(t.Context(), from)
		if err != nil {
			t.Fatal(err)
		}
		for _, chunk := range chunks {
			got.Write(chunk.Data)
		}
		if page.End != nil {
			break
		}
		from.From, from.Cursor = page.Next, page.Cursor
	}
	if got.String() != want || pages < 2 {
		t.Errorf("%d bytes in %d pages, want %d", got.Len(), pages+1, len(want))
	}
	page, chunks, err := c.Output(t.Context(), api.ExecutionOutput{ExecutionRef: api.ExecutionRef{ID: id}, From: int64(len(want)) - 5})
	if err != nil || len(chunks) != 1 || string(chunks[0].Data) != want[len(want)-5:] || page.End == nil {
		t.Errorf("the last 5 bytes: %+v, %v", page, err)
	}
}

// An end message ahead of a chunk that never came must not keep the reader for ever.
func TestOutputWithAGapIsReadToItsEnd(t *testing.T) {
	w := newWorld(t)
	w.orchestrate()
	w.register()
	w1 := w.watcher("w1", 1).hello()
	id := w.run()
	ref := w1.start()
	publish := func(c api.Chunk) {
		if _, err := w.js.PublishMsg(t.Context(), c.Message(events.OutputSubject("w1", ref.Owner, ref.ID), ref.ID)); err != nil {
			t.Fatal(err)
		}
	}
	publish(api.Chunk{Attempt: 1, Stream: api.Stdout, Time: time.Now(), Data: []byte("one")})
	publish(api.Chunk{Attempt: 1, Stream: api.End, Offset: 6, Time: time.Now(), Data: []byte(`{"attempt":1,"stdoutBytes":6,"chunks":2}`)})
	report := api.Report{AttemptRef: ref, Started: true, Outcome: api.Succeeded, Output: events.Output{StdoutBytes: 6, Chunks: 2}}
	tell[api.ReportReply](w1, api.OpReport, report)
	page, chunks, err := api.NewClient(w.nc, "ana").Output(t.Context(), api.ExecutionOutput{ExecutionRef: api.ExecutionRef{ID: id}})
	if err != nil || len(chunks) != 1 || page.Next != 3 || page.End == nil || !strings.Contains(page.End.Cut, "3 bytes") {
		t.Errorf("%+v, end %+v, %d chunks, %v", page, page.End, len(chunks), err)
	}
}

// print publishes output as a watcher would, out of order and more than once, and the end.
func (w *world) print(ref api.AttemptRef, watcher string, chunks, size int) string {
	w.t.Helper()
	subject := events.OutputSubject(watcher, ref.Owner, ref.ID)
	all := strings.Builder{}
	publish := func(c api.Chunk) {
		m := c.Message(subject, ref.ID)
		m.Header.Del(nats.MsgIdHdr) // a repeat past the window in which the server drops it
		ctx, cancel := context.WithTimeout(w.t.Context(), patience)
		defer cancel()
		if _, err := w.js.PublishMsg(ctx, m, jetstream.WithExpectStream(streams.Output)); err != nil {
			w.t.Fatal(err)
		}
	}
	chunk := func(i int) api.Chunk {
		data := strings.Repeat(string(rune('a'+i%26)), size)
		return api.Chunk{Attempt: ref.Attempt, Stream: api.Stdout, Offset: int64(i * size), Time: time.Now(), Data: []byte(data)}
	}
	for i := range chunks {
		if i+1 < chunks {
			publish(chunk(i + 1)) // ahead of the one before it
		}
		publish(chunk(i))
		publish(chunk(i))
		all.Write(chunk(i).Data)
	}
	end, err := json.Marshal(api.OutputEnd{Attempt: ref.Attempt, StdoutBytes: int64(all.Len()), Chunks: int64(chunks)})
	if err != nil {
		w.t.Fatal(err)
	}
	publish(api.Chunk{Attempt: ref.Attempt, Stream: api.End, Offset: int64(all.Len()), Time: time.Now(), Data: end})
	return all.String()
}

func TestBadRequestsChangeNothing(t *testing.T) {
	w := newWorld(t)
	w.orchestrate()
	w.register()
	w.run()
	before, err := w.opts.Executions.Head(t.Context(), executionsFilter)
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name string
		run  api.Run
		want api.Kind
	}{
		{"no ULID", api.Run{ID: "1", Function: events.FunctionRef{Name: "pi"}}, api.Invalid},
		{"no name", api.Run{ID: api.NewID()}, api.Invalid},
		{"a wildcard as the owner", api.Run{ID: api.NewID(), Function: events.FunctionRef{Owner: "*", Name: "pi"}}, api.Invalid},
		{"an unknown function", api.Run{ID: api.NewID(), Function: events.FunctionRef{Name: "po"}}, api.NotFound},
		{"an unknown version", api.Run{ID: api.NewID(), Function: events.FunctionRef{Name: "pi", Version: "9.9.9"}}, api.NotFound},
		{"too much inline", api.Run{ID: api.NewID(), Function: events.FunctionRef{Name: "pi"}, Input: events.Input{Inline: make([]byte, 5000)}}, api.Invalid},
		{"a bad digest", api.Run{ID: api.NewID(), Function: events.FunctionRef{Name: "pi"}, Input: events.Input{Blob: &events.Blob{Digest: "x"}}}, api.Invalid},
		{"content of somebody else's", api.Run{ID: api.NewID(), Function: events.FunctionRef{Name: "pi"}, Input: events.Input{Blob: &events.Blob{Digest: "sha256:" + strings.Repeat("1", 64)}}}, api.NotFound},
		{"a negative timeout", api.Run{ID: api.NewID(), Function: events.FunctionRef{Name: "pi"}, TimeoutMillis: -1}, api.Invalid},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if _, err := ask[api.Accepted](w, api.OpRun, test.run); !api.IsKind(err, test.want) {
				t.Errorf("got %v, want the kind %s", err, test.want)
			}
		})
	}
	after, err := w.opts.Executions.Head(t.Context(), executionsFilter)
	if err != nil || after != before {
		t.Errorf("the log went from %d to %d, %v", before, after, err)
	}
}

// TestOutputBeginsWhereItIsAskedFor reads from every moment, from the end, and from an offset.
func TestOutputBeginsWhereItIsAskedFor(t *testing.T) {
	w := newWorld(t)
	w.orchestrate()
	w.register()
	w1 := w.watcher("w1", 1).hello()
	id := w.run()
	c := api.NewClient(w.nc, "ana")
	ref := api.ExecutionRef{ID: id}
	if page, _, err := c.Output(t.Context(), api.ExecutionOutput{ExecutionRef: ref, Latest: true}); err != nil || page.Begin != 0 || !page.Live {
		t.Errorf("in the queue: %+v, %v", page, err)
	}
	attempt := w1.start()
	before := time.Now()
	want := w.print(attempt, "w1", 10, 1000)
	output, err := w.js.Stream(t.Context(), streams.Output)
	if err != nil {
		t.Fatal(err)
	}
	// The messages of the stream say when each chunk was stored.
	stored := map[int64]time.Time{}
	for sequence := uint64(1); ; sequence++ {
		m, err := output.GetMsg(t.Context(), sequence)
		if err != nil {
			break
		}
		chunk, err := api.ParseChunk(&nats.Msg{Header: m.Header, Data: m.Data})
		if err != nil {
			t.Fatal(err)
		}
		if _, again := stored[chunk.Offset]; !again {
			stored[chunk.Offset] = m.Time
		}
	}
	read := func(ask api.ExecutionOutput) (api.OutputPage, string) {
		t.Helper()
		ask.ExecutionRef = ref
		page, chunks, err := c.Output(t.Context(), ask)
		if err != nil {
			t.Fatal(err)
		}
		var got strings.Builder
		for _, chunk := range chunks {
			got.Write(chunk.Data)
		}
		return page, got.String()
	}
	if page, got := read(api.ExecutionOutput{Since: before.Add(-time.Second)}); got != want || page.Begin != 0 {
		t.Errorf("since before it began: %d bytes from %d", len(got), page.Begin)
	}
	for offset, at := range stored {
		page, got := read(api.ExecutionOutput{Since: at})
		if page.Begin > offset || got != want[page.Begin:] {
			t.Errorf("since the chunk at %d: %d bytes from %d", offset, len(got), page.Begin)
		}
	}
	for name, ask := range map[string]api.ExecutionOutput{"the end": {Latest: true}, "a moment to come": {Since: time.Now().Add(time.Hour)}} {
		if page, got := read(ask); got != "" || page.Begin != int64(len(want)) {
			t.Errorf("from %s: %d bytes from %d", name, len(got), page.Begin)
		}
	}
	if page, got := read(api.ExecutionOutput{From: 1234}); got != want[1234:] || page.Begin != 1234 {
		t.Errorf("from an offset: %d bytes from %d", len(got), page.Begin)
	}
	both := api.ExecutionOutput{ExecutionRef: ref, Latest: true, From: 1}
	if _, _, err := c.Output(t.Context(), both); !api.IsKind(err, api.Invalid) {
		t.Errorf("from two places: %v", err)
	}
}
