package projector_test

import (
	"context"
	"fmt"
	"reflect"
	"sync"
	"testing"
	"time"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/events/log"
	"github.com/hermes-serverless/hermes/events/log/jslog"
	"github.com/hermes-serverless/hermes/events/streams"
	"github.com/hermes-serverless/hermes/projections/bases"
	"github.com/hermes-serverless/hermes/projections/executions"
	"github.com/hermes-serverless/hermes/projections/fleet"
	"github.com/hermes-serverless/hermes/projections/functions"
	"github.com/hermes-serverless/hermes/projections/projector"
	"github.com/hermes-serverless/hermes/projections/projector/views"
	"github.com/hermes-serverless/hermes/projections/users"
)

func TestViewsOfExecutions(t *testing.T) {
	js := projector.Connect(t)
	p := projector.NewExecutions(js)
	l := jslog.New(js, streams.Executions)
	w := projector.NewWriter(l, 1)
	last := w.Write(t, 600)
	far, near := views.New(js, l), views.New(js, l, p)
	projector.Start(t, p)
	for _, v := range []*views.Views{far, near} {
		if err := v.WaitForExecutions(t.Context(), last); err != nil {
			t.Fatal(err)
		}
	}
	for owner, count := range w.Count {
		var numbers []int64
		for before, more := int64(0), true; more; {
			var page []executions.Execution
			var err error
			if page, more, err = far.ListExecutions(t.Context(), owner, before, 7); err != nil {
				t.Fatal(err)
			}
			for _, e := range page {
				numbers = append(numbers, e.Number)
				before = e.Number
				if byID, err := far.ExecutionByID(t.Context(), owner, e.ID); err != nil || !reflect.DeepEqual(byID, e) {
					t.Fatalf("by id: %+v, %v, want %+v", byID, err, e)
				}
			}
		}
		if int64(len(numbers)) != count || numbers[0] != count || numbers[count-1] != 1 {
			t.Errorf("%s has %v, want %d down to 1", owner, numbers, count)
		}
	}
	if none, more, err := far.ListExecutions(t.Context(), "nobody", 0, 7); err != nil || more || len(none) != 0 {
		t.Errorf("nobody has %v, %v, %v", none, more, err)
	}
	if none, err := far.Execution(t.Context(), "alice", 1e6); err != nil || none.Status != "" {
		t.Errorf("a number that is not there: %+v, %v", none, err)
	}
	if none, err := far.ExecutionByID(t.Context(), "bob", "nothing"); err != nil || none.Status != "" {
		t.Errorf("an id that is not there: %+v, %v", none, err)
	}
}

func TestWaitForEndsWithTheContext(t *testing.T) {
	js := projector.Connect(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if err := views.New(js, nil).WaitForFunctions(ctx, 5); err == nil {
		t.Error("waited for nothing and got it")
	}
}

// TestActiveIsExact compares what Active says, while events arrive, with a fold of the log up to
// the very sequence that it names.
func TestActiveIsExact(t *testing.T) {
	js := projector.Connect(t)
	p := projector.NewExecutions(js)
	projector.Start(t, p)
	l := jslog.New(js, streams.Executions)
	w := projector.NewWriter(l, 2)
	projector.WaitUntil(t, p, w.Write(t, 50))
	v := views.New(js, l, p)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var wg sync.WaitGroup
	wg.Go(func() {
		for ctx.Err() == nil {
			w.Write(t, 5)
		}
	})
	want := &folded{live: map[string]executions.Execution{}}
	for range 50 {
		live, at, err := v.Active(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		want.to(t, l, at)
		if len(live) != len(want.live) {
			t.Errorf("%d live at %d, want %d", len(live), at, len(want.live))
		}
		for _, e := range live {
			if e.Number == 0 {
				t.Errorf("%s has no number", e.ID)
			}
			e.Number = 0
			if !reflect.DeepEqual(e, want.live[e.ID]) {
				t.Errorf("at %d: %+v, want %+v", at, e, want.live[e.ID])
			}
		}
	}
	cancel()
	wg.Wait()
}

// folded is the live executions after a sequence.
type folded struct {
	live map[string]executions.Execution
	at   uint64
}

func (f *folded) to(t *testing.T, l log.Log, to uint64) {
	t.Helper()
	if to < f.at {
		t.Fatalf("Active is at %d, and was at %d", to, f.at)
	}
	for r, err := range l.Read(t.Context(), ">", f.at+1) {
		if err != nil {
			t.Fatal(err)
		}
		if r.Sequence > to {
			break
		}
		_, id, err := events.ParseExecutionSubject(r.Subject)
		if err != nil {
			t.Fatal(err)
		}
		e, err := executions.Fold(f.live[id], r)
		if err != nil {
			t.Fatal(err)
		}
		if f.live[id] = e; e.Status.Final() {
			delete(f.live, id)
		}
		f.at = r.Sequence
	}
}

// TestViewsOfTheRest follows a function, a watcher and a user through their projections.
func TestViewsOfTheRest(t *testing.T) {
	js := projector.Connect(t)
	v := views.New(js, nil)
	n := 0
	write := func(stream, subject string, data ...events.Data) {
		l := jslog.New(js, stream)
		last, err := l.Head(t.Context(), subject)
		for _, d := range data {
			if err != nil {
				t.Fatal(err)
			}
			n++
			last, err = l.Append(t.Context(), subject, last, events.Event{ID: fmt.Sprint(n), Source: "test", Time: time.Unix(int64(n), 0), Data: d})
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	write(streams.Functions, events.FunctionSubject("alice", "vadd"),
		events.FunctionRegistered{Version: "1.0.0", Build: "B"}, events.FunctionBuilt{Version: "1.0.0", Build: "B"})
	write(streams.Functions, events.FunctionSubject("bob", "sort"), events.FunctionRegistered{Version: "1.0.0", Build: "C"})
	write(streams.Functions, events.FunctionSubject("alice", "gone"),
		events.FunctionRegistered{Version: "1.0.0", Build: "D"}, events.FunctionDeleted{Versions: []string{"1.0.0"}})
	write(streams.Fleet, events.WatcherSubject("w1"), events.WatcherJoined{Machine: events.Machine{Slots: 2}})
	write(streams.Users, events.UserSubject("alice"), events.UserRegistered{}, events.UserKeyEnrolled{PublicKey: "U1"})
	write(streams.Users, events.UserSubject("bob"), events.UserRegistered{}, events.UserUnregistered{})
	write(streams.Bases, events.BaseSubject("gcc"), events.BaseImported{Image: events.Blob{Digest: "sha256:1"}})
	write(streams.Bases, events.BaseSubject("gone"), events.BaseImported{Image: events.Blob{Digest: "sha256:2"}}, events.BaseRemoved{Images: []string{"sha256:2"}})
	write(streams.Bases, events.LanguageSubject("cpp"), events.LanguageBaseSet{Base: "gcc"})
	for _, o := range []projector.Options{
		{Log: jslog.New(js, streams.Functions), Projection: functions.Projection},
		{Log: jslog.New(js, streams.Bases), Projection: bases.Projection},
		{Log: jslog.New(js, streams.Fleet), Projection: fleet.Projection},
		{Log: jslog.New(js, streams.Users), Projection: users.Projection},
	} {
		o.JS = js
		p := projector.New(o)
		projector.Start(t, p)
		head, err := o.Log.Head(t.Context(), ">")
		if err != nil {
			t.Fatal(err)
		}
		if err := v.WaitFor(t.Context(), p.Bucket(), head); err != nil {
			t.Fatal(err)
		}
		projector.WantVerified(t, p)
	}
	if all, err := v.ListFunctions(t.Context(), ""); err != nil || len(all) != 2 || all[0].Name != "vadd" || all[1].Owner != "bob" {
		t.Errorf("functions: %+v, %v", all, err)
	}
	if own, err := v.ListFunctions(t.Context(), "alice"); err != nil || len(own) != 1 {
		t.Errorf("functions of alice: %+v, %v", own, err)
	}
	if f, err := v.Function(t.Context(), "alice", "vadd"); err != nil || len(f.Versions) != 1 {
		t.Errorf("function: %+v, %v", f, err)
	}
	if f, err := v.Function(t.Context(), "alice", "gone"); err != nil || f.Exists() {
		t.Errorf("deleted function: %+v, %v", f, err)
	}
	if all, err := v.Watchers(t.Context()); err != nil || len(all) != 1 || !all[0].Present() {
		t.Errorf("watchers: %+v, %v", all, err)
	}
	if u, err := v.User(t.Context(), "alice"); err != nil || len(u.Keys) != 1 {
		t.Errorf("user: %+v, %v", u, err)
	}
	if all, err := v.Users(t.Context()); err != nil || len(all) != 1 {
		t.Errorf("users: %+v, %v", all, err)
	}
	if all, err := v.Bases(t.Context()); err != nil || len(all) != 1 || all[0].Name != "gcc" {
		t.Errorf("bases: %+v, %v", all, err)
	}
	if all, err := v.Languages(t.Context()); err != nil || len(all) != 1 || all[0].Base != "gcc" {
		t.Errorf("languages: %+v, %v", all, err)
	}
	if q, err := v.Quarantined(t.Context(), streams.BucketUsers); err != nil || len(q) != 0 {
		t.Errorf("quarantined: %+v, %v", q, err)
	}
}
