package orchestrator

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/events/log/jslog"
	"github.com/hermes-serverless/hermes/events/streams"
	"github.com/hermes-serverless/hermes/services/api"
)

// drain asks for pages until there is nothing more.
func drain(t *testing.T, w *world, user string, request api.EventsRequest) ([]api.ListedEvent, string) {
	t.Helper()
	var all []api.ListedEvent
	for {
		page, err := askAs[api.Events](w, user, api.OpEvents, request)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, page.Events...)
		if request.Cursor = page.Cursor; !page.More {
			return all, page.Cursor
		}
	}
}

func TestEventsAreTheOwnersInTheirOrder(t *testing.T) {
	w := newWorld(t)
	w.orchestrate()
	w.register()
	begin := time.Now().Add(-time.Minute)
	w1 := w.watcher("w1", 1).hello()
	for _, user := range []string{"ana", "bob", "ana"} {
		w.runAs(user, api.NewID())
		w1.report(w1.start(), api.Succeeded)
	}
	for user, want := range map[string]string{
		"ana": "registered 0,built 0,requested 1,started 1,succeeded 1,requested 2,started 2,succeeded 2",
		"bob": "requested 1,started 1,succeeded 1",
		"eve": "",
	} {
		for _, limit := range []int{0, 1, 2} {
			all, cursor := drain(t, w, user, api.EventsRequest{Since: begin, Limit: limit})
			var got []string
			for _, e := range all {
				got = append(got, shortType(e)+" "+string('0'+rune(e.Number)))
				if e.Function.Name != "pi" || !strings.Contains(e.Subject, "."+user+".") {
					t.Errorf("%s is shown %+v", user, e)
				}
				if user == "bob" && strings.Contains(string(e.Data), "LEVEL") {
					t.Errorf("bob is shown ana's configuration: %s", e.Data)
				}
			}
			if strings.Join(got, ",") != want {
				t.Errorf("by %d, %s is shown %s, want %s", limit, user, got, want)
			}
			if rest, _ := drain(t, w, user, api.EventsRequest{Cursor: cursor}); len(rest) > 0 {
				t.Errorf("behind the last there is %+v", rest)
			}
		}
	}
	ended := api.EventsRequest{Since: begin, Types: []events.Type{"io.hermes.execution.v1.succeeded"}, Function: events.FunctionRef{Name: "pi", Version: "1.0.0"}}
	if all, _ := drain(t, w, "ana", ended); len(all) != 2 {
		t.Errorf("%d executions of pi succeeded, want 2", len(all))
	}
	if all, _ := drain(t, w, "ana", api.EventsRequest{Since: begin, Function: events.FunctionRef{Name: "e"}}); len(all) != 0 {
		t.Errorf("a function that never was has the events %+v", all)
	}
	if all, _ := drain(t, w, "ana", api.EventsRequest{}); len(all) != 0 {
		t.Errorf("from now on there is %+v", all)
	}
}

func shortType(e api.ListedEvent) string {
	return string(e.Type[strings.LastIndex(string(e.Type), ".")+1:])
}

// TestEventsAreHeardAsTheyHappen waits for each while a stranger's happen too.
func TestEventsAreHeardAsTheyHappen(t *testing.T) {
	w := newWorld(t)
	w.orchestrate()
	w.register()
	w1 := w.watcher("w1", 2).hello()
	request := api.EventsRequest{WaitMillis: 8000}
	first, err := ask[api.Events](w, api.OpEvents, api.EventsRequest{})
	if err != nil {
		t.Fatal(err)
	}
	request.Cursor = first.Cursor
	go func() {
		for range 2 {
			w.runAs("bob", api.NewID())
			w.runAs("ana", api.NewID())
			w1.report(w1.start(), api.Succeeded)
			w1.report(w1.start(), api.Succeeded)
		}
	}()
	var got []string
	for len(got) < 6 {
		page, err := ask[api.Events](w, api.OpEvents, request)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range page.Events {
			got = append(got, shortType(e))
		}
		request.Cursor = page.Cursor
	}
	if want := []string{"requested", "started", "succeeded", "requested", "started", "succeeded"}; !slices.Equal(got, want) {
		t.Errorf("heard %v", got)
	}
}

// TestEventsAreSearchedFar: a request that picks nothing looks on, and at no more than it may.
func TestEventsAreSearchedFar(t *testing.T) {
	w := newWorld(t)
	w.answer()
	begin := time.Now().Add(-time.Minute)
	w.fill(600)
	w.eventually("it answers", func() bool { _, err := ask[api.Events](w, api.OpEvents, api.EventsRequest{}); return err == nil })
	request := api.EventsRequest{Since: begin, Types: []events.Type{events.ExecutionLost{}.Type()}}
	page, err := ask[api.Events](w, api.OpEvents, request)
	if err != nil || len(page.Events) > 0 || page.More {
		t.Errorf("of some thousand events %d are found, more %v, %v", len(page.Events), page.More, err)
	}
}

func TestEventsRefuseWhatMeansNothing(t *testing.T) {
	w := newWorld(t)
	w.orchestrate()
	w.eventually("it answers", func() bool { _, err := ask[api.Events](w, api.OpEvents, api.EventsRequest{}); return err == nil })
	for name, request := range map[string]api.EventsRequest{
		"a cursor": {Cursor: "1"}, "a cursor with more": {Cursor: "1.2 3"}, "a type": {Types: []events.Type{"started"}},
		"a function": {Function: events.FunctionRef{Name: ">"}}, "a limit": {Limit: 501},
	} {
		if _, err := ask[api.Events](w, api.OpEvents, request); !api.IsKind(err, api.Invalid) {
			t.Errorf("%s that is none: %v", name, err)
		}
	}
	// The operator's connection may ask as anybody, and is not to be taken for a filter.
	if page, err := askAs[api.Events](w, "*", api.OpEvents, api.EventsRequest{}); !api.IsKind(err, api.Invalid) {
		t.Errorf("a wildcard for a user: %+v, %v", page, err)
	}
}

// TestOthersEventsAreTheOperatorsAlone: a user who asks is refused unless they are registered as an
// operator; the operator's own account has them all.
func TestOthersEventsAreTheOperatorsAlone(t *testing.T) {
	w := newWorld(t)
	w.orchestrate()
	w.register()
	begin := time.Now().Add(-time.Minute)
	w1 := w.watcher("w1", 1).hello()
	for _, user := range []string{"ana", "bob"} {
		w.runAs(user, api.NewID())
		w1.report(w1.start(), api.Succeeded)
	}
	userLog := jslog.New(w.js, streams.Users)
	for _, name := range []string{"root", "gone"} {
		w.append(userLog, events.UserSubject(name), 0, events.UserRegistered{Operator: true})
	}
	last, err := userLog.Head(t.Context(), events.UserSubject("gone"))
	if err != nil {
		t.Fatal(err)
	}
	w.append(userLog, events.UserSubject("gone"), last, events.UserDisabled{By: "root"})
	w.eventually("the view knows the operators", func() bool {
		u, err := w.opts.Views.User(t.Context(), "gone")
		return err == nil && u.Disabled
	})
	for _, owner := range []string{"bob", api.Everybody} {
		for _, user := range []string{"ana", "gone", "eve"} {
			if page, err := askAs[api.Events](w, user, api.OpEvents, api.EventsRequest{Owner: owner, Since: begin}); !api.IsKind(err, api.Unauthorized) {
				t.Errorf("%s is shown the events of %s: %+v, %v", user, owner, page, err)
			}
		}
	}
	if _, err := askAs[api.Events](w, "root", api.OpEvents, api.EventsRequest{Owner: "bob.>", Since: begin}); !api.IsKind(err, api.Invalid) {
		t.Errorf("an owner that is a filter: %v", err)
	}
	owners := func(all []api.ListedEvent) string {
		var got []string
		for _, e := range all {
			got = append(got, events.OwnerOf(e.Subject)+" "+shortType(e))
			if strings.HasPrefix(e.Subject, "hermes.execution.") && e.Number != 1 {
				t.Errorf("%s of %s has the number %d", e.Type, events.OwnerOf(e.Subject), e.Number)
			}
			if events.OwnerOf(e.Subject) == "bob" && strings.Contains(string(e.Data), "LEVEL") {
				t.Errorf("bob's event shows ana's configuration: %s", e.Data)
			}
		}
		return strings.Join(got, ",")
	}
	const ana = "ana registered,ana built,ana requested,ana started,ana succeeded"
	const bob = "bob requested,bob started,bob succeeded"
	for owner, want := range map[string]string{"bob": bob, api.Everybody: ana + "," + bob, "": ""} {
		all, _ := drain(t, w, "root", api.EventsRequest{Owner: owner, Since: begin})
		if got := owners(all); got != want {
			t.Errorf("of %q the operator among the users is shown %s, want %s", owner, got, want)
		}
		if owner == "" {
			want = ana + "," + bob
		}
		page, err := api.Call[api.Events](t.Context(), api.NewOperator(w.nc, "root"), api.OpEvents, api.EventsRequest{Owner: owner, Since: begin})
		if got := owners(page.Events); err != nil || got != want {
			t.Errorf("of %q the operator is shown %s, %v; want %s", owner, got, err, want)
		}
	}
}
