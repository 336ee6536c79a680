package orchestrator

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/projections/executions"
	"github.com/hermes-serverless/hermes/services/api"
	"github.com/hermes-serverless/hermes/services/blobs"
)

// digestOf is a digest that is told from others by a letter.
func digestOf(letter string) string { return "sha256:" + strings.Repeat(letter, 64) }

func blob(letter string) events.Blob { return events.Blob{Digest: digestOf(letter), SizeBytes: 1} }

// TestWhatAWatcherMayRead: its own executions' content while they are placed or run, artifacts a little
// longer, and bases.
func TestWhatAWatcherMayRead(t *testing.T) {
	in := blob("2")
	run := events.ExecutionRequested{Kind: events.KindRun, Source: blob("1"), Input: events.Input{Blob: &in}, Base: events.HostBase}
	build := events.ExecutionRequested{Kind: events.KindBuild, Source: blob("3"), Base: events.BaseRef{Name: "gcc", Digest: digestOf("4")}.String()}
	sequence := uint64(0)
	exec := func(id string, r events.ExecutionRequested, status executions.Status, watcher string) executions.Execution {
		sequence++
		return executions.Execution{Owner: "ana", ID: id, Sequence: sequence, Status: status, Watcher: watcher, Request: r}
	}
	ended := func(s *state, id string) {
		s.execs[key{"ana", id}].exec.Status = executions.Success
		s.index(s.execs[key{"ana", id}])
	}
	for what, c := range map[string]struct {
		then func(*state)
		may  string // the letters of what w1 may read
	}{
		"nothing is placed": {func(s *state) { s.load(exec("a", run, executions.Queued, "")) }, ""},
		"placed": {func(s *state) {
			s.load(exec("a", run, executions.Queued, ""))
			s.place(key{"ana", "a"}, put{watcher: "w1"}, time.Time{})
		}, "12"},
		"placed on another": {func(s *state) {
			s.load(exec("a", run, executions.Queued, ""))
			s.place(key{"ana", "a"}, put{watcher: "w2"}, time.Time{})
		}, ""},
		"taken back: its artifact only": {func(s *state) {
			s.load(exec("a", run, executions.Queued, ""))
			s.place(key{"ana", "a"}, put{watcher: "w1"}, time.Time{})
			s.unplace(key{"ana", "a"}, "w1")
		}, "1"},
		"running":                  {func(s *state) { s.load(exec("a", run, executions.Running, "w1")) }, "12"},
		"running elsewhere":        {func(s *state) { s.load(exec("a", run, executions.Running, "w2")) }, ""},
		"ended: its artifact only": {func(s *state) { s.load(exec("a", run, executions.Running, "w1")); ended(s, "a") }, "1"},
		"a build, on a base":       {func(s *state) { s.load(exec("b", build, executions.Running, "w1")) }, "34"},
		"an ended build: nothing":  {func(s *state) { s.load(exec("b", build, executions.Running, "w1")); ended(s, "b") }, ""},
		"another's build, and a run": {func(s *state) {
			s.load(exec("b", build, executions.Running, "w2"))
			s.load(exec("a", run, executions.Running, "w1"))
		}, "12"},
		"a base": {func(s *state) { s.architectures[digestOf("5")] = "amd64" }, "5"},
	} {
		s := newState()
		c.then(s)
		got := ""
		for _, letter := range strings.Split("0123456789", "") {
			if s.mayRead("w1", digestOf(letter)) {
				got += letter
			}
		}
		if got != c.may {
			t.Errorf("%s: may read %q, want %q", what, got, c.may)
		}
	}
}

func TestOnlySoManyArtifactsAreRead(t *testing.T) {
	s := newState()
	name := func(i int) string { return fmt.Sprintf("sha256:%064d", i) }
	use := func(i int) {
		s.remember(&entry{placed: "w1", exec: executions.Execution{Status: executions.Queued, Request: events.ExecutionRequested{Kind: events.KindRun, Source: events.Blob{Digest: name(i)}}}})
	}
	for i := range mostLately {
		use(i)
	}
	use(0) // again: it is the latest now
	use(mostLately)
	if !s.mayRead("w1", name(0)) || s.mayRead("w1", name(1)) || !s.mayRead("w1", name(mostLately)) {
		t.Errorf("of %d, %v may be read", mostLately+1, s.lately["w1"])
	}
	for i := range 2 * mostGiven {
		use(i)
	}
	if n := len(s.lately["w1"]); n != mostGiven || s.lately["w1"][0].digest != name(mostGiven) {
		t.Errorf("%d are remembered, from %s", n, s.lately["w1"][0].digest)
	}
}

// TestNotKnownYetIsNoRefusal: a leader that has found a run request, and not followed its execution yet.
func TestNotKnownYetIsNoRefusal(t *testing.T) {
	l := newLeader(&parts{Options: Options{Log: slog.New(slog.DiscardHandler)}})
	l.early[key{"ana", "a"}] = put{watcher: "w1"}
	if err := l.admitRead("w1", digestOf("1")); !api.IsKind(err, api.Unavailable) {
		t.Errorf("w1: %v", err)
	}
	if err := l.admitRead("w2", digestOf("1")); !api.IsKind(err, api.Unauthorized) {
		t.Errorf("w2: %v", err)
	}
}

func TestAWatcherIsSentSoMuchAtOnce(t *testing.T) {
	var r reads
	for range mostReads {
		if !r.begin("w1") {
			t.Fatal("refused too early")
		}
	}
	if r.begin("w1") || !r.begin("w2") {
		t.Error("the bound is not each watcher's")
	}
	r.end("w2")
	if r.end("w1"); !r.begin("w1") || len(r.of) != 1 {
		t.Errorf("%v", r.of)
	}
}

// read reads a blob for a watcher, as soon as there is an answer.
func (w *watch) read(of events.Blob) (content string, err error) {
	w.t.Helper()
	var got bytes.Buffer
	remote := blobs.NewRemote(func(ctx context.Context, digest string, after uint64) ([]byte, uint64, error) {
		return api.ReadBlob(ctx, w.nc, w.name, digest, after)
	})
	w.eventually("a read is answered", func() bool {
		got.Reset()
		err = remote.Get(w.t.Context(), of, &got)
		return !api.IsKind(err, api.Unavailable)
	})
	return got.String(), err
}

// refuses says that the watcher is told neither the content nor that it exists.
func (w *watch) refuses(what string, of events.Blob) {
	w.t.Helper()
	if got, err := w.read(of); !api.IsKind(err, api.Unauthorized) || got != "" {
		w.t.Errorf("%s: %s read %q, %v", what, w.name, got, err)
	}
	if _, err := api.StatBlob(w.t.Context(), w.nc, w.name, of.Digest); !api.IsKind(err, api.Unauthorized) {
		w.t.Errorf("%s: the size for %s: %v", what, w.name, err)
	}
}

func (w *watch) reads(what string, of events.Blob) {
	w.t.Helper()
	if got, err := w.read(of); err != nil || got != string(theArchive) {
		w.t.Errorf("%s: %s read %q, %v", what, w.name, got, err)
	}
	if got, err := api.StatBlob(w.t.Context(), w.nc, w.name, of.Digest); err != nil || got != of {
		w.t.Errorf("%s: the size for %s: %v, %v", what, w.name, got, err)
	}
}

// registerOf puts a built function into the log whose artifact is the archive.
func (w *world) registerOf(name string) events.Blob {
	w.t.Helper()
	subject, artifact := events.FunctionSubject("ana", name), blobOf(theArchive)
	config := events.FunctionConfig{Language: "cpp", Scope: "public", Handler: "a.out"}
	at := w.append(w.opts.Functions, subject, 0, events.FunctionRegistered{Version: "1.0.0", Base: "host", Build: "B", Bundle: artifact, Reuses: "A", Config: config})
	w.append(w.opts.Functions, subject, at, events.FunctionBuilt{Version: "1.0.0", Build: "B", BuiltBy: "A", Artifact: artifact})
	return artifact
}

func TestAWatcherReadsWhatIsPlacedOnIt(t *testing.T) {
	w := newWorld(t)
	artifact := w.registerOf("pi")
	if _, _, err := api.ReadBlob(t.Context(), w.nc, "w1", artifact.Digest, 0); !api.IsKind(err, api.Unavailable) {
		t.Errorf("where nobody leads: %v", err)
	}
	_, stop := w.orchestrate()
	w1, w2 := w.watcher("w1", 1).hello(), w.watcher("w2", 0).hello()
	w1.refuses("before anything is placed", artifact)

	input := events.Blob{Digest: uploaded, SizeBytes: 1}
	id := api.NewID()
	_, err := ask[api.Accepted](w, api.OpRun, api.Run{ID: id, Function: events.FunctionRef{Name: "pi"}, Input: events.Input{Blob: &input}})
	if err != nil {
		t.Fatal(err)
	}
	request := w1.next()
	if request.ID != id {
		t.Fatalf("placed %+v", request)
	}
	w1.reads("placed", artifact)
	if _, err := w1.read(input); !api.IsKind(err, api.NotFound) {
		t.Errorf("the input, which is not stored: %v", err)
	}
	w2.refuses("placed on another", artifact)
	w2.refuses("another's input", input)
	w1.refuses("nobody's", blob("7"))
	w1.refuses("nobody's, but for a letter", blob("f"))

	stop()
	w.orchestrate()
	w1.reads("placed by the leader before", artifact)
	w2.refuses("placed on another by the leader before", artifact)

	w1.hello()
	if reply := w1.claim(request.AttemptRef); !reply.Granted {
		t.Fatal(reply.Why)
	}
	w1.reads("running", artifact)
	w1.report(request.AttemptRef, api.Succeeded)
	w1.reads("a function that ran a moment ago", artifact)
	w1.refuses("the input of what has ended", input)
	w2.refuses("what ran elsewhere", artifact)
}

func TestEveryWatcherReadsBases(t *testing.T) {
	w := newWorld(t)
	image := blobOf(theArchive)
	w.append(w.opts.Bases, events.BaseSubject("gcc"), 0, events.BaseImported{Image: image, Architecture: "amd64"})
	w.orchestrate()
	w.watcher("w1", 1).reads("a base", image)
}

func TestBadReadsOfAWatcher(t *testing.T) {
	w := newWorld(t)
	artifact := w.registerOf("pi")
	w.orchestrate()
	w1 := w.watcher("w1", 1).hello()
	w.run()
	w1.next()
	w1.reads("placed", artifact)
	for _, after := range []uint64{uint64(len(theArchive)), 1 << 63} {
		if data, _, err := api.ReadBlob(t.Context(), w.nc, "w1", artifact.Digest, after); err != nil || len(data) != 0 {
			t.Errorf("behind the end, %d: %q, %v", after, data, err)
		}
	}
	for what, raw := range map[string]string{
		"a cursor below none": fmt.Sprintf(`{"digest":%q,"after":-1}`, artifact.Digest), "no digest": `{}`, "what is no digest": `{"digest":"sha256:../x"}`, "no JSON": "x",
	} {
		for _, op := range []string{api.OpBlobRead, api.OpBlobStat} {
			if m, err := api.Request(t.Context(), w.nc, api.WatchSubject("w1", op), []byte(raw)); !api.IsKind(err, api.Invalid) {
				t.Errorf("%s, %s: %v, %v", op, what, m, err)
			}
		}
	}
}

// TestAWatcherHandsOverNothingOfOthers: what a report names and its watcher has not brought itself is left
// out, whatever it is said to be.
func TestAWatcherHandsOverNothingOfOthers(t *testing.T) {
	w := newWorld(t)
	s, _ := w.orchestrate()
	w.eventually("it leads", func() bool { return s.leader.Load() != nil })
	own, anas := blobOf(theArchive), events.Blob{Digest: uploaded, SizeBytes: 1}
	for what, c := range map[string]struct {
		watcher string
		blob    events.Blob
		kept    bool
	}{
		"its own":           {"w1", own, true},
		"a user's":          {"w1", anas, false},
		"another watcher's": {"w2", own, false},
		"a user's by name":  {"ana", anas, false},
	} {
		r := api.Report{
			Artifact: &c.blob, Results: &events.Results{Archive: &c.blob, Files: 1},
			Given: &events.Given{Input: events.Input{Blob: &c.blob}, Bytes: 3},
		}
		if err := s.leader.Load().dropForeign(t.Context(), c.watcher, &r); err != nil {
			t.Fatal(err)
		}
		if kept := r.Artifact != nil; kept != c.kept {
			t.Errorf("%s: the artifact is kept: %t", what, kept)
		}
		if kept := r.Results.Archive != nil && r.Results.Cut == ""; kept != c.kept || !kept && r.Results.Cut != cannotBe {
			t.Errorf("%s: the results are %+v", what, r.Results)
		}
		if kept := r.Given.Input.Blob != nil && r.Given.Cut == ""; kept != c.kept || r.Given.Bytes != 3 {
			t.Errorf("%s: what was typed is %+v", what, r.Given)
		}
	}
	empty := api.Report{Results: &events.Results{}, Given: &events.Given{Input: events.Input{Inline: []byte("x")}}}
	if err := s.leader.Load().dropForeign(t.Context(), "w2", &empty); err != nil || empty.Results.Cut != "" || empty.Given.Cut != "" {
		t.Errorf("without content: %+v %+v, %v", empty.Results, empty.Given, err)
	}
}
