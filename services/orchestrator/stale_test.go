package orchestrator

import (
	"slices"
	"testing"
	"time"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/projections/executions"
	"github.com/hermes-serverless/hermes/projections/functions"
	"github.com/hermes-serverless/hermes/services/api"
)

var piRef = events.FunctionRef{Owner: "ana", Name: "pi", Version: "1.0.0"}

// heard is the next notice to a watcher.
func (w *watch) heard(when string) api.Stale {
	w.t.Helper()
	select {
	case said := <-w.told:
		return said
	case <-time.After(patience):
		w.t.Fatalf("%s, the watcher %s is told nothing", when, w.name)
		return api.Stale{}
	}
}

// hearsOf: the next notice to a watcher is of this leader, and of these versions.
func (w *watch) hearsOf(when string, leader string, number uint64, versions ...events.FunctionRef) {
	w.t.Helper()
	if said := w.heard(when); said.Leader != leader || said.Number != number || !slices.Equal(said.Functions, versions) {
		w.t.Errorf("%s, %s is told %+v, want number %d of %s and %v", when, w.name, said, number, leader, versions)
	}
}

// led starts an orchestrator, and returns it when it has begun anew.
func (w *world) led() (s *Service, l *leader, stop func()) {
	w.t.Helper()
	s, stop = w.orchestrate()
	w.eventually("it leads", func() bool { return s.leader.Load() != nil })
	return s, s.leader.Load(), stop
}

// update builds the version of the function anew, of the same artifact, with so much memory.
func (w *world) update(memory int64) {
	w.t.Helper()
	subject := events.FunctionSubject("ana", "pi")
	blob := events.Blob{Digest: "sha256:" + zeros, SizeBytes: 1}
	build, at := api.NewID(), w.lastOf(subject)
	at = w.append(w.opts.Functions, subject, at, events.FunctionRegistered{
		Version: "1.0.0", Base: "host", Build: build, Bundle: blob, Reuses: "A", Replaces: true,
		Config: events.FunctionConfig{Language: "cpp", Scope: "public", Handler: "a.out", Limits: events.Limits{MemoryBytes: memory}},
	})
	w.append(w.opts.Functions, subject, at, events.FunctionBuilt{Version: "1.0.0", Build: build, BuiltBy: "A", Artifact: blob})
}

// lastOf is the sequence of the last event of a function.
func (w *world) lastOf(subject string) (last uint64) {
	w.t.Helper()
	for record, err := range w.opts.Functions.Read(w.t.Context(), subject, 0) {
		if err != nil {
			w.t.Fatal(err)
		}
		last = record.Sequence
	}
	return last
}

// runs takes a run to its end on the watcher.
func (w *watch) runs() api.RunRequest {
	w.t.Helper()
	w.run()
	request := w.next()
	if reply := w.claim(request.AttemptRef); !reply.Granted {
		w.t.Fatal(reply.Why)
	}
	w.report(request.AttemptRef, api.Succeeded)
	return request
}

// TestAWatcherIsToldWhatIsStale: of what it was given, once, whatever has become of it, and nobody else is.
func TestAWatcherIsToldWhatIsStale(t *testing.T) {
	w := newWorld(t)
	w.register()
	_, l, _ := w.led()
	w1, w2 := w.watcher("w1", 1), w.watcher("w2", 0)
	if reply := w1.greeting(); reply.Leader != l.id {
		t.Errorf("a hello is answered by %q, which is %q", reply.Leader, l.id)
	}
	w2.hello()
	if request := w1.runs(); request.Outdated {
		t.Errorf("a run of what is current: %+v", request)
	}
	w.update(200)
	w1.hearsOf("its limits have changed", l.id, 1, piRef)
	if request := w1.runs(); request.Outdated || request.Request.Limits.MemoryBytes != 200 {
		t.Errorf("a run of what it is now: %+v", request)
	}
	w.append(w.opts.Functions, events.FunctionSubject("ana", "pi"), w.lastOf(events.FunctionSubject("ana", "pi")), events.FunctionDeleted{Versions: []string{"1.0.0"}})
	w1.hearsOf("it was deleted", l.id, 2, piRef)
	if reply := w1.greeting(); reply.Notices != 2 {
		t.Errorf("a hello is answered that %d were sent", reply.Notices)
	}
	if reply := w2.greeting(); reply.Notices != 0 || len(w2.told) > 0 {
		t.Errorf("who was given nothing is told %d", reply.Notices)
	}
	w1.refuses("the artifact of what was deleted", events.Blob{Digest: uploaded, SizeBytes: 1})
}

// TestWhatWaitsOverAChangeIsOutdated: it runs as it was asked for, and the watcher keeps nothing for it.
func TestWhatWaitsOverAChangeIsOutdated(t *testing.T) {
	w := newWorld(t)
	w.register()
	_, l, _ := w.led()
	w1 := w.watcher("w1", 1).hello()
	w.run()
	running := w1.start()
	w.run()
	w.update(200)
	w1.hearsOf("its limits have changed", l.id, 1, piRef)
	w.run()
	w1.report(running, api.Succeeded)
	before := w1.next()
	if !before.Outdated || before.Request.Limits.MemoryBytes == 200 {
		t.Errorf("asked for before: %+v", before)
	}
	w1.claim(before.AttemptRef)
	w1.report(before.AttemptRef, api.Succeeded)
	after := w1.next()
	if after.Outdated || after.Request.Limits.MemoryBytes != 200 {
		t.Errorf("asked for after: %+v", after)
	}
	// The next change overtakes a request: the notice is said again, behind it.
	l.mu.Lock()
	l.state.execs[key{after.Owner, after.ID}].outdated = true
	l.mu.Unlock()
	l.sendRun(t.Context(), "w1", after)
	w1.hearsOf("a request was sent as the version changed", l.id, 2, piRef)
}

// TestANewLeaderLetsWatchersBeginAnew: it does not know what was given before its time, nor what has changed
// while nobody led.
func TestANewLeaderLetsWatchersBeginAnew(t *testing.T) {
	w := newWorld(t)
	w.register()
	_, first, stop := w.led()
	w1 := w.watcher("w1", 1).hello()
	w1.runs()
	w.run()
	running := w1.start()
	w.eventually("the fleet is seen", func() bool {
		watchers, err := w.opts.Views.Watchers(t.Context())
		return err == nil && len(watchers) == 1
	})
	stop()
	w.answer()
	w.run() // waits
	w.update(200)
	_, second, _ := w.led()
	if second.id == first.id {
		t.Fatal("two leaders are one")
	}
	w1.hearsOf("another leads", second.id, 1)
	if reply := w1.greeting(running); reply.Leader != second.id || reply.Notices != 1 {
		t.Errorf("a hello is answered %+v", reply)
	}
	w1.report(running, api.Succeeded)
	if request := w1.next(); !request.Outdated {
		t.Errorf("asked for before the change, placed behind it: %+v", request)
	}
}

// TestWhatIsOutdated is what a leader makes of a change that it sees, and of one that it finds.
func TestWhatIsOutdated(t *testing.T) {
	at := time.Unix(1000, 0)
	run := func(id string, of events.FunctionRef, artifact string, asked time.Time) executions.Execution {
		return executions.Execution{
			Owner: "bob", ID: id, Sequence: 1, Status: executions.Running, Watcher: "w1", RequestedAt: asked,
			Request: events.ExecutionRequested{Kind: events.KindRun, Function: of, Source: blob(artifact)},
		}
	}
	other := piRef
	other.Version = "1.0.1"
	build := run("build", piRef, "1", at.Add(-1))
	build.Request.Kind = events.KindBuild
	fill := func() *state {
		s := newState()
		for _, e := range []executions.Execution{
			run("before", piRef, "1", at.Add(-1)), run("after", piRef, "2", at), run("another artifact", piRef, "1", at.Add(1)), run("another version", other, "1", at.Add(-1)), build,
		} {
			s.load(e)
		}
		return s
	}
	outdated := func(s *state) (ids []string) {
		for k, e := range s.execs {
			if e.outdated {
				ids = append(ids, k.id)
			}
		}
		slices.Sort(ids)
		return ids
	}
	kept := func(s *state) (all []given) { return s.lately["w1"] }
	want, left := []string{"another artifact", "before"}, []given{{other, digestOf("1")}}

	s := fill()
	built := change{func(e executions.Execution) bool { return runsBuild(e, blob("2"), at) }, at}
	told := s.outdate([]events.FunctionRef{piRef}, built)
	if got := outdated(s); !slices.Equal(got, want) {
		t.Errorf("seen: %v, want %v", got, want)
	}
	if len(told) != 1 || !slices.Equal(told["w1"], []events.FunctionRef{piRef}) || !slices.Equal(kept(s), left) {
		t.Errorf("told %v, and %v are kept", told, kept(s))
	}
	// An event of what is outdated makes it no watcher's again; a later run does.
	later := run("before", piRef, "1", at.Add(-1))
	later.Sequence = 2
	s.load(later)
	if !slices.Equal(kept(s), left) {
		t.Errorf("an outdated run goes on, and %v are kept", kept(s))
	}
	if again := s.outdate([]events.FunctionRef{piRef}, built); len(again) != 0 {
		t.Errorf("told again: %v", again)
	}
	// What was asked for before, and is heard of now.
	s.load(run("late", piRef, "1", at.Add(-2)))
	s.load(run("in time", piRef, "2", at.Add(2)))
	if got, want := outdated(s), append(want, "late"); !slices.Equal(got, want) {
		t.Errorf("heard of late: %v, want %v", got, want)
	}
	s.outdate([]events.FunctionRef{other}, change{built.isCurrent, at.Add(changedFor + 1)})
	if _, remembered := s.changed[piRef]; remembered || len(s.changed) != 1 {
		t.Errorf("%d changes are remembered", len(s.changed))
	}

	s = fill()
	s.compare(map[string]functions.Function{events.FunctionSubject("ana", "pi"): {Versions: map[string]functions.Version{
		piRef.Version: {Artifact: blob("2"), BuiltAt: at}, other.Version: {Artifact: blob("1"), BuiltAt: at.Add(-2)},
	}}})
	if got := outdated(s); !slices.Equal(got, want) {
		t.Errorf("found: %v, want %v", got, want)
	}
	s = fill()
	if s.compare(nil); len(outdated(s)) != 4 || len(kept(s)) != 0 {
		t.Errorf("everything was deleted: %v, and %v are kept", outdated(s), kept(s))
	}
}
