package usage

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/events/leaktest"
	"github.com/hermes-serverless/hermes/events/log"
	"github.com/hermes-serverless/hermes/events/log/memlog"
	"github.com/hermes-serverless/hermes/events/natstest"
	"github.com/hermes-serverless/hermes/projections/executions"
	"github.com/hermes-serverless/hermes/projections/quotas"
	"github.com/hermes-serverless/hermes/services/api"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

// world is the logs, and a clock.
type world struct {
	t                            *testing.T
	executions, functions, users *memlog.Log
	conn                         *nats.Conn
	defaults                     quotas.Limits

	mu  sync.Mutex
	now time.Time
	// checkpoint is how far the view has come; everything if it is 0.
	checkpoint uint64
}

func newWorld(t *testing.T, at string) *world {
	t.Helper()
	now, err := time.Parse(time.DateTime, at)
	if err != nil {
		t.Fatal(err)
	}
	return &world{t: t, executions: memlog.New(), functions: memlog.New(), users: memlog.New(), conn: natstest.Connect(t).Conn(), now: now}
}

func (w *world) clock() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.now
}

func (w *world) pass(much time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now = w.now.Add(much)
}

// start runs a service until the test ends.
func (w *world) start() *Service {
	w.t.Helper()
	s := New(Options{
		Conn: w.conn, Executions: w.executions, Functions: w.functions, Users: w.users, Views: w, Since: w.since, History: w.history,
		Defaults: w.defaults, Build: events.Limits{CPUMillis: 4000, MemoryBytes: 4 << 30}, Version: "0.0.1", Now: w.clock,
	})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	w.t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			w.t.Error(err)
		}
	})
	for _, moment := range []chan struct{}{s.ready, s.today} {
		select {
		case <-moment:
		case err := <-ended:
			ended <- err
			w.t.Fatalf("it ended: %v", err)
		case <-time.After(time.Minute):
			w.t.Fatal("it is never ready")
		}
	}
	return s
}

// Active implements Views.
func (w *world) Active(ctx context.Context) ([]executions.Execution, uint64, error) {
	states, last := map[string]executions.Execution{}, uint64(0)
	for r, err := range w.executions.Read(ctx, executionsFilter, 0) {
		if err != nil {
			return nil, 0, err
		}
		if w.checkpoint > 0 && r.Sequence > w.checkpoint {
			break
		}
		if states[r.Subject], err = executions.Fold(states[r.Subject], r); err != nil {
			return nil, 0, err
		}
		last = r.Sequence
	}
	var live []executions.Execution
	for _, e := range states {
		if !e.Status.Final() {
			live = append(live, e)
		}
	}
	return live, last, nil
}

func (w *world) since(ctx context.Context, moment time.Time) (uint64, error) {
	for r, err := range w.executions.Read(ctx, executionsFilter, 0) {
		if err != nil || !r.Time.Before(moment) {
			return r.Sequence, err
		}
	}
	return 0, nil
}

func (w *world) history(ctx context.Context, owner, id string, before uint64) (e executions.Execution, err error) {
	for r, err := range w.executions.Read(ctx, events.ExecutionSubject(owner, id), 0) {
		if err != nil || r.Sequence >= before {
			return e, err
		}
		if e, err = executions.Fold(e, r); err != nil {
			return e, err
		}
	}
	return e, nil
}

func id(n int) string { return fmt.Sprintf("%026d", n) }

func (w *world) append(l log.Log, subject string, data events.Data) {
	w.t.Helper()
	last, err := l.Head(w.t.Context(), subject)
	if err != nil {
		w.t.Fatal(err)
	}
	if _, err := l.Append(w.t.Context(), subject, last, events.Event{ID: api.NewID(), Source: "test", Time: w.clock(), Data: data}); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) execution(n int, data events.Data) {
	w.t.Helper()
	w.append(w.executions, events.ExecutionSubject("ana", id(n)), data)
}

func (w *world) bound(f quotas.Figure, n int64) {
	w.t.Helper()
	w.append(w.users, events.UserSubject("ana"), quotas.With(events.UserQuotaSet{}, f, n))
}

func run(gpus int) events.ExecutionRequested {
	return events.ExecutionRequested{Kind: events.KindRun, GPUs: gpus, Retries: 1, Limits: events.Limits{CPUMillis: 500, MemoryBytes: 7}}
}

func started(attempt int) events.ExecutionStarted {
	return events.ExecutionStarted{Attempt: attempt, Watcher: "w"}
}

// wantRefused checks that the error is the quota's, and what it says.
func wantRefused(t *testing.T, err error, message, hint string) {
	t.Helper()
	e, ok := api.AsError(err)
	if !ok || e.Kind != api.LimitReached || e.Name != api.QuotaExceeded {
		t.Errorf("the error is %v, want the quota's", err)
		return
	}
	if e.Message != message || !strings.Contains(e.Hint, hint) {
		t.Errorf("it says %q (%q), want %q (…%s…)", e.Message, e.Hint, message, hint)
	}
}

// TestPlacesInTheQueue: those that were given away count from that moment on, whatever the log has.
func TestPlacesInTheQueue(t *testing.T) {
	w := newWorld(t, "2026-03-01 12:00:00")
	w.defaults[quotas.Queued] = 2
	s := w.start()
	back, err := s.Admit(t.Context(), "ana", id(1), run(0))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Admit(t.Context(), "ana", id(2), run(0)); err != nil {
		t.Fatal(err)
	}
	full := "ana may have 2 executions in the queue: 2 used, and 1 more asked for"
	_, err = s.Admit(t.Context(), "ana", id(3), run(0))
	wantRefused(t, err, full, "it frees up when an execution starts or is cancelled; `hermes quota` shows yours")
	if _, err := s.Admit(t.Context(), "bob", id(3), run(0)); err != nil {
		t.Errorf("somebody else is refused: %v", err)
	}
	back(0)
	if _, err := s.Admit(t.Context(), "ana", id(3), run(0)); err != nil {
		t.Errorf("what was given back is not free: %v", err)
	}
	w.execution(2, run(0))
	w.execution(3, run(0))
	_, err = s.Admit(t.Context(), "ana", id(4), run(0))
	wantRefused(t, err, full, "")
	// Whatever has happened until now is known when something is refused.
	w.execution(3, started(1))
	if _, err := s.Admit(t.Context(), "ana", id(4), run(0)); err != nil {
		t.Errorf("one has started, and: %v", err)
	}
	// A request of which nobody knows whether it was stored keeps its place for a while.
	_, err = s.Admit(t.Context(), "ana", id(5), run(0))
	wantRefused(t, err, full, "")
	w.pass(2 * reservedFor)
	if _, err := s.Admit(t.Context(), "ana", id(5), run(0)); err != nil {
		t.Errorf("an old reservation is not forgotten: %v", err)
	}
}

// TestARepeatedRequestHoldsNothing: when the log had it before, it shows it no more.
func TestARepeatedRequestHoldsNothing(t *testing.T) {
	w := newWorld(t, "2026-03-01 12:00:00")
	w.defaults[quotas.Queued] = 1
	s := w.start()
	for _, data := range []events.Data{run(0), started(1), events.ExecutionSucceeded{Attempt: 1}} {
		w.execution(1, data)
	}
	if err := s.catchUp(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		n      int
		stored uint64
	}{{1, 1}, {2, 4}} {
		settle, err := s.Admit(t.Context(), "ana", id(c.n), run(0))
		if err != nil {
			t.Fatalf("%d: %v", c.n, err)
		}
		settle(c.stored)
	}
	// The log has not shown the second yet.
	_, err := s.Admit(t.Context(), "ana", id(3), run(0))
	wantRefused(t, err, "ana may have 1 executions in the queue: 1 used, and 1 more asked for", "")
}

// TestManyAtOnce: of many that ask at the same moment as many get a place as there are.
func TestManyAtOnce(t *testing.T) {
	w := newWorld(t, "2026-03-01 12:00:00")
	w.defaults[quotas.Queued] = 10
	s := w.start()
	var work sync.WaitGroup
	var mu sync.Mutex
	admitted := 0
	for n := range 100 {
		work.Go(func() {
			if _, err := s.Admit(t.Context(), "ana", id(n), run(0)); err != nil {
				return
			}
			mu.Lock()
			admitted++
			mu.Unlock()
			if n%2 == 0 { // the others are on their way
				w.execution(n, run(0))
			}
		})
	}
	work.Wait()
	if admitted != 10 {
		t.Errorf("%d were admitted, want 10", admitted)
	}
}

func TestWhatIsRefused(t *testing.T) {
	w := newWorld(t, "2026-03-01 12:00:00")
	s := w.start()
	blob := func(name string, n int64) *events.Blob { return &events.Blob{Digest: "sha256:" + name, SizeBytes: n} }
	w.append(w.users, events.UserSubject("ana"), events.UserRegistered{})
	w.execution(1, run(1))
	w.execution(1, started(1))
	w.pass(time.Minute)
	w.execution(1, events.ExecutionSucceeded{Attempt: 1, Output: events.Output{StdoutBytes: 600, StderrBytes: 400}})
	large := run(0)
	large.Input.Blob = blob("a", 3<<20)
	for name, c := range map[string]struct {
		figure        quotas.Figure
		most          int64
		ask           events.ExecutionRequested
		message, hint string
	}{
		"memory":      {quotas.Memory, 5, run(0), "ana may have 5 B of memory in use, and 7 B asked for can never fit", `ask for less by "memory" in hermes.config.json`},
		"cores":       {quotas.CPU, 250, run(0), "ana may have 0.25 cores in use, and 0.5 asked for can never fit", `ask for less by "cpus"`},
		"GPUs":        {quotas.GPUs, 1, run(2), "ana may have 1 GPUs in use, and 2 asked for can never fit", "use fewer GPUs"},
		"no GPUs":     {quotas.GPUs, events.QuotaNothing, run(1), "ana may have 0 GPUs in use, and 1 asked for can never fit", "ask the operator"},
		"GPU-seconds": {quotas.GPUTime, 60, run(1), "ana may have 60 GPU-seconds a day: 60 used", "at 00:00 UTC, in 11h59m"},
		"output":      {quotas.Output, 1000, run(0), "ana may have 1000 B of output a day: 1000 B used", "at 00:00 UTC, in 11h59m"},
		"stored":      {quotas.Stored, 1 << 20, large, "ana may have 1.0 MiB of stored bundles, artifacts and inputs, and 3.0 MiB asked for can never fit", "send less"},
	} {
		t.Run(name, func(t *testing.T) {
			w.bound(c.figure, c.most)
			if err := s.catchUp(t.Context()); err != nil {
				t.Fatal(err)
			}
			_, err := s.Admit(t.Context(), "ana", id(9), c.ask)
			wantRefused(t, err, c.message, c.hint)
			w.bound(c.figure, events.QuotaUnbounded)
			back, err := s.Admit(t.Context(), "ana", id(9), c.ask)
			if err != nil {
				t.Fatalf("without the bound: %v", err)
			}
			back(0)
		})
	}
	// On the next day there is as much again.
	w.bound(quotas.Output, 1000)
	w.pass(12 * time.Hour)
	if _, err := s.Admit(t.Context(), "ana", id(10), run(0)); err != nil {
		t.Error(err)
	}
}

// TestUploadsCountWhatIsStored: what is stored already, and what is on its way, is not counted twice.
func TestUploadsCountWhatIsStored(t *testing.T) {
	w := newWorld(t, "2026-03-01 12:00:00")
	w.defaults[quotas.Stored] = 100
	s := w.start()
	a, b := events.Blob{Digest: "sha256:a", SizeBytes: 60}, events.Blob{Digest: "sha256:b", SizeBytes: 50}
	if err := s.AdmitUpload(t.Context(), "ana", a); err != nil {
		t.Fatal(err)
	}
	back, err := s.AdmitBuild(t.Context(), "ana", id(1), a)
	if err != nil {
		t.Fatal(err)
	}
	wantRefused(t, s.AdmitUpload(t.Context(), "ana", b), "ana may have 100 B of stored bundles, artifacts and inputs: 60 B used, and 50 B more asked for", "when versions of functions are deleted")
	if err := s.AdmitUpload(t.Context(), "ana", a); err != nil {
		t.Errorf("the same again: %v", err)
	}
	back()
	if err := s.AdmitUpload(t.Context(), "ana", b); err != nil {
		t.Errorf("with the first given back: %v", err)
	}
	w.append(w.functions, events.FunctionSubject("ana", "pi"), events.FunctionRegistered{Version: "1.0.0", Bundle: a, Build: "B"})
	if err := s.catchUp(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := s.AdmitUpload(t.Context(), "ana", b); !api.IsKind(err, api.LimitReached) {
		t.Errorf("with a function of it: %v", err)
	}
	w.append(w.functions, events.FunctionSubject("ana", "pi"), events.FunctionDeleted{Versions: []string{"1.0.0"}})
	if err := s.AdmitUpload(t.Context(), "ana", b); err != nil {
		t.Errorf("with the function deleted: %v", err)
	}
}

// TestARestartForgetsNothing: whenever in a history a service starts, whatever the view has seen, it
// has the figures of one that was there from the beginning.
func TestARestartForgetsNothing(t *testing.T) {
	w := newWorld(t, "2026-03-01 22:00:00")
	first := w.start()
	steps := []func(){
		func() { w.execution(1, run(2)) }, func() { w.execution(2, run(1)) }, func() { w.execution(1, started(1)) }, func() { w.pass(time.Hour) },
		func() { w.execution(2, started(1)) }, func() { w.pass(90 * time.Minute) }, // it is the next day
		func() { w.execution(1, events.ExecutionRetried{Attempt: 1, Watcher: "w"}) }, func() { w.execution(3, run(1)) },
		func() { w.pass(time.Minute) }, func() { w.execution(3, started(1)) }, func() { w.execution(1, started(2)) },
		func() { w.pass(10 * time.Minute) },
		func() {
			w.execution(2, events.ExecutionFailed{Attempt: 1, Reason: events.ReasonExit, Output: events.Output{StdoutBytes: 5}})
		},
		func() { w.execution(3, events.ExecutionTimedOut{Attempt: 1, Output: events.Output{StderrBytes: 9}}) },
		func() { w.pass(time.Minute) }, func() { w.execution(4, run(0)) },
		func() { w.execution(1, events.ExecutionLost{Attempt: 2, Watcher: "w"}) }, func() { w.pass(time.Hour) },
	}
	for i, step := range steps {
		step()
		want, err := first.Of(t.Context(), "ana")
		if err != nil {
			t.Fatal(err)
		}
		last, err := w.executions.Head(t.Context(), executionsFilter)
		if err != nil {
			t.Fatal(err)
		}
		for seen := range last {
			w.checkpoint = seen + 1
			got, err := w.start().Of(t.Context(), "ana")
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("after step %d, with the view at %d of %d:\n%s", i, seen+1, last, diff)
			}
		}
	}
	end, err := first.Of(t.Context(), "ana")
	if err != nil {
		t.Fatal(err)
	}
	// Of the day: 1 held 2 GPUs for 30 minutes and for 11, 2 one for 41, 3 one for 10.
	if got, want := *end.Quotas[quotas.GPUTime].Used, float64(60*(2*30+2*11+41+10)); got != want {
		t.Errorf("%v GPU-seconds, want %v", got, want)
	}
	if got := *end.Quotas[quotas.Output].Used; got != 14 {
		t.Errorf("%v bytes of output", got)
	}
}

// told asks for a user's quota until somebody answers: the service listens a moment after it is ready.
func (w *world) told(user string) (reply api.Quotas, err error) {
	w.t.Helper()
	for end := time.Now().Add(time.Minute); time.Now().Before(end); {
		reply, err = api.Call[api.Quotas](w.t.Context(), api.NewClient(w.conn, user), api.OpQuota, api.QuotaRequest{})
		if !api.IsKind(err, api.Unavailable) {
			break
		}
	}
	return reply, err
}

func TestUsersSeeTheirOwn(t *testing.T) {
	w := newWorld(t, "2026-03-01 12:00:00")
	w.defaults[quotas.Queued] = 7
	w.start()
	w.append(w.users, events.UserSubject("ana"), events.UserRegistered{})
	w.bound(quotas.CPU, 1500)
	w.execution(1, run(1))
	w.execution(1, started(1))
	w.execution(2, run(0))
	got, err := w.told("ana")
	if err != nil {
		t.Fatal(err)
	}
	told := map[string]string{}
	for _, q := range got.Quotas {
		limit, used := "none", "unknown"
		if q.Limit != nil {
			limit = api.QuotaText(q.Unit, *q.Limit)
		}
		if q.Used != nil {
			used = api.QuotaText(q.Unit, *q.Used)
		}
		told[q.Name] = fmt.Sprintf("%s of %s %s, by default %v", used, limit, q.Unit, q.IsDefault)
	}
	want := map[string]string{
		"concurrent": "1 of none executions, by default true", "queued": "1 of 7 executions, by default true", "cpus": "0.5 of 1.5 cores, by default false",
		"memory": "7 B of none bytes, by default true", "gpus": "1 of none GPUs, by default true", "gpu-seconds": "0 of none GPU-seconds a day, by default true",
		"stored": "0 B of none bytes, by default true", "output": "0 B of none bytes a day, by default true", "rate": "unknown of none requests a second, by default true",
	}
	if diff := cmp.Diff(want, told); diff != "" || got.User != "ana" {
		t.Errorf("%s is told\n%s", got.User, diff)
	}
	other, err := w.told("bob")
	if err != nil || other.User != "bob" || *other.Quotas[quotas.Queued].Used != 0 {
		t.Errorf("bob is told %+v, %v", other, err)
	}
}

func TestRate(t *testing.T) {
	w := newWorld(t, "2026-03-01 12:00:00")
	w.defaults[quotas.Rate] = 5
	s := w.start()
	spend := func(user string) (n int) {
		for s.Rate(user) == nil {
			n++
		}
		return n
	}
	if n := spend("ana"); n != 5*burstSeconds {
		t.Errorf("%d requests at once", n)
	}
	wantRefused(t, s.Rate("ana"), "ana asks more often than the 5 requests a second that they may", "ask again in 200ms")
	if err := s.Rate("bob"); err != nil {
		t.Errorf("somebody else is refused: %v", err)
	}
	w.pass(time.Second)
	if n := spend("ana"); n != 5 {
		t.Errorf("%d requests after a second", n)
	}
	w.pass(time.Hour)
	if n := spend("ana"); n != 5*burstSeconds {
		t.Errorf("%d requests after an hour", n)
	}
	w.append(w.users, events.UserSubject("ana"), events.UserRegistered{})
	w.bound(quotas.Rate, events.QuotaNothing)
	if err := s.catchUp(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.pass(time.Hour)
	wantRefused(t, s.Rate("ana"), "ana may have 0 requests a second, and this can never fit", "ask the operator")
	// What is done to remove somebody is asked for in their name.
	w.append(w.users, events.UserSubject("ana"), events.UserDisabled{By: "root", Leaving: true})
	if err := s.catchUp(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := s.Rate("ana"); err != nil {
		t.Error(err)
	}
}

// TestNobodyIsAdmittedWhoIsGone: what a user asked for before they were disabled, or removed, gets no place.
func TestNobodyIsAdmittedWhoIsGone(t *testing.T) {
	w := newWorld(t, "2026-03-01 12:00:00")
	s := w.start()
	admit := func(n int) error {
		if err := s.catchUp(t.Context()); err != nil {
			t.Fatal(err)
		}
		_, err := s.Admit(t.Context(), "ana", id(n), run(0))
		return err
	}
	for n, step := range []struct {
		event events.Data
		gone  bool
	}{
		{events.UserRegistered{}, false}, {events.UserDisabled{By: "root"}, true}, {events.UserEnabled{By: "root"}, false},
		{events.UserDisabled{By: "ana", Leaving: true}, true}, {events.UserUnregistered{By: "ana"}, true},
	} {
		w.append(w.users, events.UserSubject("ana"), step.event)
		err := admit(n)
		if e, _ := api.AsError(err); step.gone != (err != nil) || step.gone && e.Name != api.UserDisabled {
			t.Errorf("after %s: %v", step.event.Type(), err)
		}
	}
	if _, err := s.Admit(t.Context(), "root", id(9), run(0)); err != nil {
		t.Errorf("one who never registered: %v", err)
	}
}

func TestRatesForget(t *testing.T) {
	r, now := newRates(), time.Unix(0, 0)
	for n := range maxRated {
		r.take(fmt.Sprint(n), 1, now)
	}
	r.take("late", 1, now.Add(burstSeconds*time.Second))
	if len(r.by) != 1 {
		t.Errorf("%d users are remembered", len(r.by))
	}
}

func TestBeforeItIsReady(t *testing.T) {
	s := New(Options{Now: time.Now})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Admit(ctx, "ana", id(1), run(0)); !api.IsKind(err, api.Unavailable) || errors.Is(err, context.Canceled) {
		t.Errorf("the error is %v", err)
	}
}
