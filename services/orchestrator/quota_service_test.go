package orchestrator

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/events/log"
	"github.com/hermes-serverless/hermes/events/log/jslog"
	"github.com/hermes-serverless/hermes/events/streams"
	"github.com/hermes-serverless/hermes/projections/executions"
	"github.com/hermes-serverless/hermes/projections/quotas"
	"github.com/hermes-serverless/hermes/services/api"
	"github.com/hermes-serverless/hermes/services/usage"
)

// withQuotas lets users have quotas, and starts an orchestrator and a watcher that can run all at once.
func (w *world) withQuotas(defaults quotas.Limits) *watch {
	w.t.Helper()
	nc, _ := w.connect()
	s := usage.New(usage.Options{
		Conn: nc, Executions: w.opts.Executions, Functions: w.opts.Functions, Users: w.users(), Views: w.opts.Views,
		Since:    func(context.Context, time.Time) (uint64, error) { return 1, nil },
		History:  func(context.Context, string, string, uint64) (e executions.Execution, err error) { return e, nil },
		Defaults: defaults, Build: policy.Build, Version: "0.0.1", Log: w.opts.Log,
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
	w.opts.Quotas = s
	w.register()
	w.registerGPU("gpu", nil)
	w.orchestrate()
	watch := w.watcher("w", 10)
	watch.machine.GPUs = []events.GPU{{UUID: "a", MemoryBytes: 1 << 30}, {UUID: "b", MemoryBytes: 1 << 30}}
	return watch.hello()
}

func (w *world) users() log.Log { return jslog.New(w.js, streams.Users) }

// mayUse sets a figure of a user's quota, and waits until everybody has heard of it.
func (w *world) mayUse(user string, f quotas.Figure, n int64) {
	w.t.Helper()
	last, err := w.users().Head(w.t.Context(), events.UserSubject(user))
	if err != nil {
		w.t.Fatal(err)
	}
	if last == 0 {
		last = w.append(w.users(), events.UserSubject(user), 0, events.UserRegistered{})
	}
	set := quotas.With(events.UserQuotaSet{}, f, n)
	w.append(w.users(), events.UserSubject(user), last, set)
	w.eventually("the quota is heard of", func() bool {
		return w.opts.Quotas.Limits(user)[f] == quotas.Resolve(set, quotas.Limits{})[f]
	})
}

// try asks for a run of one of ana's functions.
func (w *world) try(user, function string) (string, error) {
	w.t.Helper()
	id := api.NewID()
	var err error
	w.eventually("somebody answers", func() bool {
		_, err = askAs[api.Accepted](w, user, api.OpRun, api.Run{ID: id, Function: events.FunctionRef{Owner: "ana", Name: function}})
		return !api.IsKind(err, api.Unavailable)
	})
	return id, err
}

func (w *world) mustTry(user, function string) string {
	w.t.Helper()
	id, err := w.try(user, function)
	if err != nil {
		w.t.Fatal(err)
	}
	return id
}

// waitsForQuota waits until inspect says that the execution waits for that, and checks that it says when it ends.
func (w *world) waitsForQuota(user, id, what string) {
	w.t.Helper()
	said := ""
	w.eventually("it waits for "+what, func() bool {
		e, err := askAs[api.Execution](w, user, api.OpExecutionInspect, api.ExecutionRef{ID: id})
		if err != nil {
			w.t.Fatal(err)
		}
		said = e.Waits
		return strings.Contains(said, what)
	})
	if !strings.HasPrefix(said, "your quota: you may have ") || !strings.Contains(said, "; it frees up ") {
		w.t.Errorf("it says %q", said)
	}
}

// TestOverWhatIsInUseWaits: for each of these bounds the next execution of the user waits, says so, lets
// others pass, and goes when one ends.
func TestOverWhatIsInUseWaits(t *testing.T) {
	run, gpu := policy.Defaults, "gpu"
	for name, c := range map[string]struct {
		figure   quotas.Figure
		most     int64
		function string
		says     string
	}{
		"concurrent": {quotas.Concurrent, 1, "pi", "1 executions at once (1 used, 1 asked for)"},
		"cores":      {quotas.CPU, run.CPUMillis*2 - 1, "pi", "cores in use"},
		"memory":     {quotas.Memory, run.MemoryBytes*2 - 1, "pi", "of memory in use"},
		"GPUs":       {quotas.GPUs, 1, gpu, "1 GPUs in use (1 used, 1 asked for)"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			watch := w.withQuotas(quotas.Limits{})
			w.mayUse("ana", c.figure, c.most)
			first, second := w.mustTry("ana", c.function), w.mustTry("ana", c.function)
			one := watch.start()
			if one.ID != first {
				t.Fatalf("%s started, not the first", one.ID)
			}
			w.waitsForQuota("ana", second, c.says)
			other := w.mustTry("bob", c.function)
			if started := watch.start(); started.ID != other {
				t.Errorf("%s started, not the other user's", started.ID)
			}
			watch.report(one, api.Succeeded)
			if started := watch.start(); started.ID != second {
				t.Errorf("%s started, not the second", started.ID)
			}
			if e, err := ask[api.Execution](w, api.OpExecutionInspect, api.ExecutionRef{ID: second}); err != nil || e.Waits != "" {
				t.Errorf("it runs, and waits for %q, %v", e.Waits, err)
			}
		})
	}
}

// TestARaisedQuotaLetsThemGo: nobody has to ask again.
func TestARaisedQuotaLetsThemGo(t *testing.T) {
	w := newWorld(t)
	watch := w.withQuotas(quotas.Limits{quotas.Concurrent: 1})
	w.mustTry("ana", "pi")
	watch.start()
	second := w.mustTry("ana", "pi")
	w.waitsForQuota("ana", second, "1 executions at once")
	w.mayUse("ana", quotas.Concurrent, 2)
	if started := watch.start(); started.ID != second {
		t.Errorf("%s started", started.ID)
	}
}

// TestWhatIsSpentForTheDay: what uses it up further is refused, what was accepted before waits, and what
// does not use it goes first.
func TestWhatIsSpentForTheDay(t *testing.T) {
	w := newWorld(t)
	watch := w.withQuotas(quotas.Limits{})
	w.mayUse("ana", quotas.Concurrent, 1)
	w.mustTry("ana", "pi")
	first := watch.start()
	waiting, later := w.mustTry("ana", "gpu"), w.mustTry("ana", "pi")
	w.waitsForQuota("ana", waiting, "1 executions at once")
	w.mayUse("ana", quotas.GPUTime, events.QuotaNothing)
	e, ok := api.AsError(second(w.try("ana", "gpu")))
	if !ok || e.Name != api.QuotaExceeded || e.Message != "ana may have 0 GPU-seconds a day, and this can never fit" {
		t.Errorf("the error is %v", e)
	}
	watch.report(first, api.Succeeded)
	if started := watch.start(); started.ID != later {
		t.Errorf("%s started, not the one without a GPU", started.ID)
	}
	told, err := ask[api.Execution](w, api.OpExecutionInspect, api.ExecutionRef{ID: waiting})
	if err != nil || !strings.Contains(told.Waits, "0 GPU-seconds a day, which it can never fit; cancel it") {
		t.Errorf("it waits for %q, %v", told.Waits, err)
	}
	w.mayUse("ana", quotas.GPUTime, 1000)
	if started := watch.start(); started.ID != waiting {
		t.Errorf("%s started", started.ID)
	}
}

func second[A any](_ A, err error) error { return err }

// TestOutputOfADay: it is known at the end, and refuses what comes after.
func TestOutputOfADay(t *testing.T) {
	w := newWorld(t)
	watch := w.withQuotas(quotas.Limits{quotas.Output: 10})
	w.mustTry("ana", "pi")
	ref := watch.start()
	if why := tell[api.ReportReply](watch, api.OpReport, api.Report{
		AttemptRef: ref, Started: true, Outcome: api.Succeeded, Output: events.Output{StdoutBytes: 7, StderrBytes: 4},
	}).Why; why != "" {
		t.Fatal(why)
	}
	w.eventually("the day's output is used up", func() bool {
		_, err := w.try("ana", "pi")
		e, refused := api.AsError(err)
		return refused && e.Name == api.QuotaExceeded && strings.HasPrefix(e.Message, "ana may have 10 B of output a day: 11 B used")
	})
	w.mustTry("bob", "pi")
}

// TestTheQueueIsBounded: what is over it is refused, the very same request never, and a cancel makes room.
func TestTheQueueIsBounded(t *testing.T) {
	w := newWorld(t)
	w.withQuotas(quotas.Limits{quotas.Queued: 2, quotas.Concurrent: 1})
	// Nobody claims: what has a place still waits for its start.
	first, second := w.mustTry("ana", "pi"), w.mustTry("ana", "pi")
	id, err := w.try("ana", "pi")
	e, ok := api.AsError(err)
	if !ok || e.Kind != api.LimitReached || e.Name != api.QuotaExceeded || e.Message != "ana may have 2 executions in the queue: 2 used, and 1 more asked for" {
		t.Errorf("the error is %v", err)
	}
	if w.state(id).Status != "" {
		t.Error("it was refused, and accepted")
	}
	w.runAs("ana", first) // again
	if _, err := ask[api.Execution](w, api.OpExecutionCancel, api.ExecutionRef{ID: second}); err != nil {
		t.Fatal(err)
	}
	w.eventually("the cancelled one is gone", func() bool { return w.state(second).Status == executions.Cancelled })
	w.mustTry("ana", "pi")
}

// TestARepeatedRequestTakesNoPlace of which the answer was lost, and which has ended since.
func TestARepeatedRequestTakesNoPlace(t *testing.T) {
	w := newWorld(t)
	watch := w.withQuotas(quotas.Limits{quotas.Queued: 1})
	first := w.mustTry("ana", "pi")
	watch.report(watch.start(), api.Succeeded)
	w.runAs("ana", first)
	w.mustTry("ana", "pi")
}

// notReady are the quotas of an instance that begins.
type notReady struct {
	unbounded
	asked, ready chan struct{}
}

func (q notReady) Ready(context.Context) error {
	close(q.asked)
	<-q.ready
	return nil
}

// TestNobodyLeadsBeforeTheQuotasAreKnown: places would be given away by the defaults.
func TestNobodyLeadsBeforeTheQuotasAreKnown(t *testing.T) {
	w := newWorld(t)
	q := notReady{asked: make(chan struct{}), ready: make(chan struct{})}
	w.opts.Quotas = q
	s, _ := w.orchestrate()
	w.eventually("it waits for the quotas", func() bool {
		select {
		case <-q.asked:
			return true
		default:
			return false
		}
	})
	if held, err := s.Leases.Get(t.Context(), leaderKey); !errors.Is(err, jetstream.ErrKeyNotFound) {
		t.Errorf("somebody leads: %v, %v", held, err)
	}
	close(q.ready)
	w.eventually("it leads", func() bool { return s.leader.Load() != nil })
}

// TestWhatNobodyAskedForIsWithinTheQuota: limits by default are lowered to it, those of a function's
// config never fit.
func TestWhatNobodyAskedForIsWithinTheQuota(t *testing.T) {
	w := newWorld(t)
	watch := w.withQuotas(quotas.Limits{quotas.Memory: policy.Defaults.MemoryBytes / 2})
	w.mustTry("ana", "pi")
	if got := watch.next().Request.Limits.MemoryBytes; got != policy.Defaults.MemoryBytes/2 {
		t.Errorf("it gets %d bytes of memory", got)
	}
}
