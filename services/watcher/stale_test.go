package watcher

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/services/api"
	"github.com/hermes-serverless/hermes/services/watcher/pool"
	"github.com/hermes-serverless/hermes/services/watcher/sandbox"
)

// answers is what hellos are answered with from now on.
func (w *world) answers(leader string, notices uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.leader, w.notices = leader, notices
}

// says sends the watcher a notice.
func (w *world) says(leader string, number uint64, versions ...string) {
	w.t.Helper()
	said := api.Stale{Leader: leader, Number: number}
	for _, v := range versions {
		said.Functions = append(said.Functions, events.FunctionRef{Owner: owner, Name: "f", Version: v})
	}
	raw, err := json.Marshal(said)
	if err == nil {
		err = w.nc.Publish(api.StaleSubject(name), raw)
	}
	if err == nil {
		err = w.nc.Flush()
	}
	if err != nil {
		w.t.Fatal(err)
	}
}

// keeping starts a watcher that hears the leader L, and keeps a sandbox for the versions 1 to 3 each.
func keeping(t *testing.T) (w *world, artifact events.Blob, stop func() error) {
	t.Helper()
	w = newWorld(t, func(o *Options) { o.Warm = 8 })
	w.answers("L", 0)
	stop = w.watch()
	next(t, "hello", w.hellos)
	artifact = w.function("echo hello", 0o755)
	for _, v := range []string{"1", "2", "3"} {
		if claim := w.runs(artifact, v); claim.Sandbox != "cold" {
			t.Errorf("the first run of %s says %q", v, claim.Sandbox)
		}
	}
	w.keeps("after a run of each", 3)
	return w, artifact, stop
}

// runs runs a version to its end.
func (w *world) runs(artifact events.Blob, version string, change ...func(*api.RunRequest)) api.Claim {
	w.t.Helper()
	_, claim := w.start(artifact, append(change, func(r *api.RunRequest) { r.Request.Function.Version = version })...)
	if report := next(w.t, "report", w.reports); report.Outcome != api.Succeeded {
		w.t.Errorf("report %+v", report)
	}
	return claim
}

// keeps waits until so many sandboxes wait, and there are no others.
func (w *world) keeps(when string, n int) {
	w.t.Helper()
	w.eventually(fmt.Sprintf("%s, it keeps %d", when, n), func() bool {
		return w.box.count() == n && w.watcher.Stats().Sandboxes.Waiting == n
	})
}

func TestWhatIsStaleIsThrownAway(t *testing.T) {
	for what, c := range map[string]struct {
		says func(*world)
		left int
		next string // how the next run of version 2 comes by its sandbox
	}{
		"a version":     {func(w *world) { w.says("L", 1, "2") }, 2, "cold"},
		"two":           {func(w *world) { w.says("L", 1, "2", "3") }, 1, "cold"},
		"one by one":    {func(w *world) { w.says("L", 1, "2"); w.says("L", 2, "3") }, 1, "cold"},
		"another's":     {func(w *world) { w.says("L", 1, "4"); w.says("L", 2, "1") }, 2, "warm"},
		"everything":    {func(w *world) { w.says("L", 1) }, 0, "cold"},
		"one is missed": {func(w *world) { w.says("L", 2, "3") }, 0, "cold"},
		"a new leader":  {func(w *world) { w.says("M", 1, "3") }, 0, "cold"},
		"what is no notice, and then one": {func(w *world) {
			if err := w.nc.Publish(api.StaleSubject(name), []byte("x")); err != nil {
				w.t.Error(err)
			}
			w.says("L", 1, "2")
		}, 2, "cold"},
	} {
		t.Run(what, func(t *testing.T) {
			w, artifact, _ := keeping(t)
			c.says(w)
			w.keeps(what, c.left)
			if claim := w.runs(artifact, "2"); claim.Sandbox != c.next {
				t.Errorf("the next run has a sandbox that is %s, want %s", claim.Sandbox, c.next)
			}
		})
	}
}

// TestWhatWasMissedIsThrownAway: over a cut connection notices are lost, and the hello behind it tells.
func TestWhatWasMissedIsThrownAway(t *testing.T) {
	for what, c := range map[string]struct {
		leader  string
		notices uint64
		left    int
	}{
		"nothing": {"L", 0, 3}, "a notice": {"L", 1, 0}, "a leader": {"M", 0, 0},
	} {
		t.Run(what, func(t *testing.T) {
			w, _, stop := keeping(t)
			w.answers(c.leader, c.notices)
			w.restart()
			next(t, "hello", w.hellos)
			if c.left > 0 {
				// What it makes of the answer is seen when the next notice has been heard.
				w.says("L", c.notices+1, "1")
				c.left--
			}
			w.keeps("behind the cut", c.left)
			if err := stop(); err != nil { // the server ends first
				t.Error(err)
			}
		})
	}
}

// TestAHelloAndANoticeOvertakeEachOther: what a hello spoke of is not missed, and an old answer changes nothing.
func TestAHelloAndANoticeOvertakeEachOther(t *testing.T) {
	w, artifact, _ := keeping(t)
	w.says("L", 1, "1")
	w.keeps("told of one", 2)
	w.watcher.compareNotices(api.HelloReply{Leader: "L", Notices: 0})
	w.watcher.compareNotices(api.HelloReply{})
	w.keeps("after an old answer", 2)
	w.watcher.compareNotices(api.HelloReply{Leader: "L", Notices: 2})
	w.keeps("the hello is first", 0)
	w.runs(artifact, "2")
	w.keeps("after a run", 1)
	w.says("L", 2, "2") // of before that run
	w.says("L", 3, "1")
	w.eventually("the last is heard", func() bool {
		n := &w.watcher.notices
		n.mu.Lock()
		defer n.mu.Unlock()
		return n.number == 3
	})
	w.keeps("the notice that was spoken of is late", 1)
}

// TestNothingIsKeptForWhatIsOutdated: neither a new sandbox nor the one that was used.
func TestNothingIsKeptForWhatIsOutdated(t *testing.T) {
	w := newWorld(t, func(o *Options) { o.Warm = 8 })
	w.answers("L", 0)
	w.watch()
	next(t, "hello", w.hellos)
	flag := filepath.Join(t.TempDir(), "go")
	artifact := w.function("while [ ! -e "+flag+" ]; do sleep 0.01; done", 0o755)

	t.Run("it is told in the request", func(t *testing.T) {
		if err := os.WriteFile(flag, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			claim := w.runs(artifact, "1", reuse, func(r *api.RunRequest) { r.Outdated = true })
			if claim.Sandbox != "cold" {
				t.Errorf("the sandbox is %s", claim.Sandbox)
			}
			w.keeps("behind an outdated run", 0)
		}
	})
	t.Run("it is told while it runs", func(t *testing.T) {
		for _, kind := range []func(*api.RunRequest){reuse, func(*api.RunRequest) {}} {
			if err := os.Remove(flag); err != nil {
				t.Fatal(err)
			}
			w.start(artifact, kind)
			w.mu.Lock()
			w.notices++
			number := w.notices
			w.mu.Unlock()
			w.says("L", number, "1.0.0")
			w.eventually("it is heard", func() bool {
				all := w.watcher.held.all()
				return len(all) == 1 && all[0].outdated.Load()
			})
			if err := os.WriteFile(flag, nil, 0o600); err != nil {
				t.Fatal(err)
			}
			next(t, "report", w.reports)
			w.keeps("behind a run of before", 0)
		}
	})
}

// TestTakenAsItBecameOutdated: what was thrown away is not begun again by a run of before.
func TestTakenAsItBecameOutdated(t *testing.T) {
	w := newWorld(t, func(o *Options) { o.Warm = 8 })
	w.watch()
	next(t, "hello", w.hellos)
	artifact := w.function("echo hello", 0o755)
	making, made := make(chan bool, 1), make(chan bool)
	w.box.mu.Lock()
	w.box.fail = func() error {
		if w.box.isFirst() {
			return nil
		}
		select {
		case making <- true:
		default: // it is known already
		}
		<-made
		return nil
	}
	w.box.mu.Unlock()
	w.runs(artifact, "1.0.0")
	<-making // for the next
	a, p, taken := newAttempt(w.request(artifact), time.Now()), &prepared{}, make(chan error, 1)
	go func() { taken <- w.watcher.takeBox(t.Context(), a, p) }()
	w.eventually("it waits for that", func() bool { return w.watcher.Stats().Sandboxes.Adopted == 1 })
	a.outdated.Store(true)
	close(made)
	if err := <-taken; err != nil || p.Box == nil {
		t.Fatalf("%v, %+v", err, p)
	}
	w.watcher.discard(p)
	w.keeps("afterwards", 0)
}

// isFirst: nothing was made yet.
func (r *runtime) isFirst() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.made) == 0
}

// TestNothingStaleIsKept plays a leader, a network that loses and a watcher, and looks at what is kept
// whenever the watcher has heard as much as the leader has said.
func TestNothingStaleIsKept(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := &Watcher{held: newHeld()}
		w.spares = pool.New(pool.Options[spareKey]{
			Make:    func(context.Context, spareKey) (pool.Ready, error) { return pool.Ready{}, sandbox.ErrUnavailable },
			Discard: func(pool.Ready) {}, Most: 8, MostEach: 1, Makers: 1, Idle: time.Hour, Log: slog.New(slog.DiscardHandler),
		})
		defer w.spares.Close()
		leader, number := "L", uint64(0)
		version := rapid.Map(rapid.SampledFrom([]string{"1", "2", "3"}), func(v string) events.FunctionRef {
			return events.FunctionRef{Owner: owner, Name: "f", Version: v}
		})
		// build is what each version is now; a key says by its base what it was made for.
		build := map[events.FunctionRef]int{}
		key := func(f events.FunctionRef) spareKey { return spareKey{function: f, base: fmt.Sprint(build[f])} }
		check := func(t *rapid.T) {
			w.spares.Forget(func(k spareKey) bool {
				if k != key(k.function) {
					t.Errorf("kept for build %s of %s, which is %d", k.base, k.function, build[k.function])
				}
				return false
			})
		}
		hello := func(t *rapid.T) { w.compareNotices(api.HelloReply{Leader: leader, Notices: number}); check(t) }
		t.Repeat(map[string]func(*rapid.T){
			"run": func(t *rapid.T) { w.spares.Take(context.Background(), key(version.Draw(t, "version"))) },
			"change": func(t *rapid.T) {
				f := version.Draw(t, "version")
				build[f]++
				number++
				if rapid.Bool().Draw(t, "heard") {
					w.heard(leader, number, []events.FunctionRef{f})
				} else {
					hello(t)
				}
				check(t)
			},
			"changes that are lost": func(t *rapid.T) {
				for range rapid.IntRange(1, 3).Draw(t, "times") {
					build[version.Draw(t, "version")]++
					number++
				}
				f := version.Draw(t, "version")
				build[f]++
				if number++; rapid.Bool().Draw(t, "a notice comes first") {
					w.heard(leader, number, []events.FunctionRef{f})
				}
				hello(t)
			},
			"a leader goes over a change": func(t *rapid.T) {
				build[version.Draw(t, "version")]++
				leader, number = leader+"'", uint64(rapid.IntRange(0, 2).Draw(t, "said already"))
				hello(t)
			},
			"a hello": hello,
		})
	})
}
