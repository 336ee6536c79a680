package registry

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/services/api"
)

func TestDeployBuildListDelete(t *testing.T) {
	w := newWorld(t)
	w.start()
	build := api.NewID()
	bundle := w.stored(goodConfig, "all:")
	answer, err := w.deploy("ana", bundle, build, false)
	must(t, err)
	if answer.Function.String() != "ana/pi:1.0.0" || answer.Reused || answer.Sequence != 1 {
		t.Fatalf("%+v", answer)
	}
	again, err := w.deploy("ana", bundle, build, false)
	if err != nil || again != answer {
		t.Fatalf("the same request again: %+v, %v", again, err)
	}
	e := wantName(t, deployError(w.deploy("ana", bundle, api.NewID(), true)), api.BuildInProgress)
	if !strings.Contains(e.Message, build) {
		t.Fatalf("the build is not named: %v", e)
	}

	waiting := make(chan []api.Function, 1)
	go func() {
		rows, err := w.inspect("ana", api.FunctionInspect{Name: "pi", Build: build})
		if err != nil {
			t.Error(err)
		}
		waiting <- rows
	}()
	w.execute("ana", build, buildOf("pi")...)
	w.execute("ana", build, succeeded())
	if rows := <-waiting; len(rows) != 1 || rows[0].Status != ready || rows[0].Digest != blobNo(1000).Digest {
		t.Fatalf("%+v", rows)
	}
	wantName(t, deployError(w.deploy("ana", bundle, api.NewID(), false)), api.FunctionAlreadyExists)

	reused, err := w.deploy("ana", bundle, api.NewID(), true)
	if err != nil || !reused.Reused || reused.BuiltBy != build {
		t.Fatalf("%+v, %v", reused, err)
	}
	if got := w.types(); got != "registered built registered built" {
		t.Fatal(got)
	}
	list, err := api.Call[api.Functions](t.Context(), w.client("eve"), api.OpFunctionList, api.FunctionList{Owner: "ana"})
	if err != nil || len(list.Functions) != 1 || list.Functions[0].Status != ready {
		t.Fatalf("%+v, %v", list, err)
	}
	for _, want := range []int{1, 0} {
		gone, err := api.Call[api.Functions](t.Context(), w.client("ana"), api.OpFunctionDelete, api.FunctionDelete{Name: "pi"})
		if err != nil || len(gone.Functions) != want || gone.Functions == nil {
			t.Fatalf("%+v, %v", gone, err)
		}
	}
	_, err = w.inspect("ana", api.FunctionInspect{Name: "pi"})
	wantName(t, err, api.NoSuchFunction)
}

func TestArgsAndEnvAreKeptAndInspected(t *testing.T) {
	w := newWorld(t)
	w.start()
	config := strings.Replace(goodConfig, "{", `{"args": ["-v"], "env": {"LEVEL": "3"}, "pids": 7, "tmp": "1MiB",`, 1)
	_, err := w.deploy("ana", w.stored(config, "all:"), api.NewID(), false)
	must(t, err)
	rows, err := w.inspect("ana", api.FunctionInspect{Name: "pi"})
	must(t, err)
	row := rows[0]
	if len(row.Args) != 1 || row.Args[0] != "-v" || row.Env["LEVEL"] != "3" || row.Limits.PIDs != 7 || row.Limits.TmpBytes != 1<<20 {
		t.Errorf("%+v", row)
	}
	list, err := api.Call[api.Functions](t.Context(), w.client("ana"), api.OpFunctionList, api.FunctionList{})
	if err != nil || list.Functions[0].Args != nil || list.Functions[0].Env != nil {
		t.Errorf("a list tells what may be too large for one: %+v, %v", list, err)
	}
}

func deployError(_ api.Deployed, err error) error { return err }

func TestAFailedBuildIsShown(t *testing.T) {
	w := newWorld(t)
	w.start()
	build := api.NewID()
	must(t, deployError(w.deploy("ana", w.stored(goodConfig, "all:"), build, false)))
	w.execute("ana", build, buildOf("pi")...)
	w.execute("ana", build, events.ExecutionFailed{Attempt: 1, Reason: events.ReasonMake, Message: "make failed", ExitCode: 2})
	rows, err := w.inspect("ana", api.FunctionInspect{Name: "pi", Build: build})
	if err != nil || len(rows) != 1 || rows[0].Status != failed || rows[0].Reason != "make" || rows[0].Build != build {
		t.Fatalf("%+v, %v", rows, err)
	}
}

func TestBuildsThatEndedWhileNobodyFollowed(t *testing.T) {
	w := newWorld(t)
	done, open, other := api.NewID(), api.NewID(), api.NewID()
	append := func(owner, name string, data events.Data) {
		subject := events.FunctionSubject(owner, name)
		last, _ := w.functions.Head(t.Context(), subject)
		_, err := w.functions.Append(t.Context(), subject, last, events.Event{ID: api.NewID(), Source: "test", Time: noon, Data: data})
		must(t, err)
	}
	append("ana", "done", registered("1.0.0", done, 1))
	append("ana", "open", registered("1.0.0", open, 1))
	append("ana", "half", registered("0.9.0", other, 1))
	append("ana", "half", built("0.9.0", other))
	append("ana", "half", reusing(registered("1.0.0", api.NewID(), 1), other))
	w.functions.Inject(events.FunctionSubject("ana", "odd"), events.Message{Header: map[string]string{"ce-type": "io.hermes.odd"}})
	w.execute("ana", done, buildOf("done")...)
	w.execute("ana", done, succeeded())
	w.execute("ana", open, buildOf("open")...)
	// A build whose log makes no sense keeps nobody else from an end.
	mad := api.NewID()
	append("ana", "mad", registered("1.0.0", mad, 1))
	w.execute("ana", mad, succeeded())
	w.start()
	status := func(name string) string {
		rows, err := w.inspect("ana", api.FunctionInspect{Name: name, Version: "1.0.0"})
		must(t, err)
		return rows[0].Status
	}
	for _, name := range []string{"done", "half"} {
		w.eventually(name, func() bool { return status(name) == ready })
	}
	if got := status("open"); got != building {
		t.Fatal(got)
	}
	// Its request lies before the point from which the log is followed.
	w.execute("ana", open, succeeded())
	w.eventually("open", func() bool { return status("open") == ready })
}

func TestSeveralRegistriesTellAnEndOnce(t *testing.T) {
	w := newWorld(t)
	w.start()
	w.start()
	w.start()
	for i := range 10 {
		name := fmt.Sprint("f", i)
		build := api.NewID()
		must(t, deployError(w.deploy("ana", w.stored(strings.Replace(goodConfig, `"pi"`, `"`+name+`"`, 1), ""), build, false)))
		w.execute("ana", build, buildOf(name)...)
		w.execute("ana", build, succeeded())
		rows, err := w.inspect("ana", api.FunctionInspect{Name: name, Build: build})
		if err != nil || rows[0].Status != ready {
			t.Fatal(rows, err)
		}
	}
	if got := w.types(); got != strings.TrimSpace(strings.Repeat("registered built ", 10)) {
		t.Fatal(got)
	}
}

func TestOneOfManyDeploysWins(t *testing.T) {
	w := newWorld(t)
	w.start()
	w.start()
	bundle := w.stored(goodConfig, "all:")
	var wg sync.WaitGroup
	var mu sync.Mutex
	won := 0
	for range 20 {
		wg.Go(func() {
			_, err := w.deploy("ana", bundle, api.NewID(), false)
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				won++
			} else if e, ok := api.AsError(err); !ok || e.Name != api.BuildInProgress {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if got := w.types(); won != 1 || got != "registered" {
		t.Fatal(won, got)
	}
}

func TestALostRaceIsDecidedAgain(t *testing.T) {
	w := newWorld(t)
	races := 3
	w.options.Functions = racing{w.functions, func() bool { races--; return races >= 0 }}
	w.start()
	answer, err := w.deploy("ana", w.stored(goodConfig, "all:"), api.NewID(), false)
	if err != nil || answer.Sequence != 1 || races != -1 {
		t.Fatal(answer, err, races)
	}
}

func TestWhatCannotBeDeployed(t *testing.T) {
	w := newWorld(t)
	w.start()
	taken := api.NewID()
	w.execute("ana", taken, buildOf("other")...)
	good := w.stored(goodConfig, "all:")
	garbage := []byte("no archive at all")
	raw := events.Blob{Digest: "sha256:" + sum(garbage), SizeBytes: int64(len(garbage))}
	must(t, w.options.Blobs.Put(t.Context(), raw, strings.NewReader(string(garbage))))
	must(t, w.options.Blobs.AddHolder(t.Context(), "ana", raw.Digest))
	larger := good
	larger.SizeBytes++
	for _, c := range []struct {
		name, build string
		bundle      events.Blob
		want, says  string
	}{
		{"no such blob", api.NewID(), blobNo(7), api.NoSuchBlob, "was not uploaded"},
		{"bad digest", api.NewID(), events.Blob{Digest: "md5:1"}, api.InvalidArguments, "digest"},
		{"bad size", api.NewID(), larger, api.InvalidArguments, "bytes, not"},
		{"bad id", "1", good, api.InvalidArguments, "ULID"},
		{"an id of something else", taken, good, api.IDInUse, taken},
		{"no archive", api.NewID(), raw, api.InvalidBundle, "not compressed with zstd"},
		{"no config", api.NewID(), w.stored("", "all:"), api.InvalidBundle, "hermes.config.json"},
		{"bad config", api.NewID(), w.stored(`{"functionName": "Pi"}`, ""), api.InvalidConfig, "has 5 problems"},
		{"too long", api.NewID(), w.stored(strings.Replace(goodConfig, "{", `{"timeout": "2m",`, 1), ""), api.InvalidConfig, "more than this instance allows"},
	} {
		e := wantName(t, deployError(w.deploy("ana", c.bundle, c.build, false)), c.want)
		if !strings.Contains(e.Message, c.says) {
			t.Errorf("%s: %q does not say %q", c.name, e.Message, c.says)
		}
	}
	if got := w.types(); got != "" {
		t.Fatal(got)
	}
}

func TestToKnowADigestIsNotToHaveTheBundle(t *testing.T) {
	w := newWorld(t)
	w.start()
	bundle, raw := w.packed(goodConfig, "all:")
	must(t, w.client("ana").Upload(t.Context(), bundle, bytes.NewReader(raw), nil))
	must(t, deployError(w.deploy("ana", bundle, api.NewID(), false)))

	wantName(t, deployError(w.deploy("eve", bundle, api.NewID(), false)), api.NoSuchBlob)
	if u := w.begin("eve", bundle); u.Have {
		t.Fatal("eve is told that it is there")
	} else if _, err := w.send(u, raw[1:]); err != nil {
		t.Fatal(err)
	} else if _, err := w.send(u, raw[:1]); err == nil {
		t.Fatal("other content of the same length is taken")
	}
	wantName(t, deployError(w.deploy("eve", bundle, api.NewID(), false)), api.NoSuchBlob)

	must(t, w.client("eve").Upload(t.Context(), bundle, bytes.NewReader(raw), nil))
	must(t, deployError(w.deploy("eve", bundle, api.NewID(), false)))
}

func TestWhatIsNotThereIsExplained(t *testing.T) {
	w := newWorld(t)
	w.start()
	private := strings.NewReplacer(`"public"`, `"private"`, `"pi"`, `"secret"`).Replace(goodConfig)
	must(t, deployError(w.deploy("ana", w.stored(goodConfig, ""), api.NewID(), false)))
	must(t, deployError(w.deploy("ana", w.stored(private, ""), api.NewID(), false)))
	for _, c := range []struct {
		user, name, version string
		want, hint          string
	}{
		{"ana", "p", "", api.NoSuchFunction, "did you mean ana/pi?"},
		{"ana", "pj", "", api.NoSuchFunction, "did you mean ana/pi?"},
		{"ana", "secrets", "", api.NoSuchFunction, "did you mean ana/secret?"},
		{"eve", "secrets", "", api.NoSuchFunction, "function list"},
		{"eve", "secret", "", api.NoSuchFunction, "function list"},
		{"ana", "pi", "2.0.0", api.NoSuchVersion, "it has 1.0.0"},
		{"ana", "pi", "2", api.InvalidArguments, ""},
		{"ana", "*", "", api.InvalidArguments, ""},
	} {
		_, err := w.inspect(c.user, api.FunctionInspect{Owner: "ana", Name: c.name, Version: c.version})
		if e := wantName(t, err, c.want); !strings.Contains(e.Hint, c.hint) {
			t.Errorf("%s %s: hint %q", c.user, c.name, e.Hint)
		}
	}
	for _, c := range []struct{ owner, name, hint string }{
		{"anna", "pi", "did you mean ana/pi?"}, {"anna", "pj", "did you mean ana/pi?"},
		{"anna", "secret", "`hermes function list ana` shows"}, {"zoe", "pi", "`hermes function list` shows"},
	} {
		_, err := w.inspect("eve", api.FunctionInspect{Owner: c.owner, Name: c.name})
		if e := wantName(t, err, api.NoSuchFunction); !strings.Contains(e.Hint, c.hint) {
			t.Errorf("%s/%s: hint %q", c.owner, c.name, e.Hint)
		}
	}
	for owner, like := range map[string]string{"anna": "ana", "ana": "", "zoe": "", "eve": ""} {
		list, err := api.Call[api.Functions](t.Context(), w.client("eve"), api.OpFunctionList, api.FunctionList{Owner: owner})
		if err != nil || list.OwnerLike != like {
			t.Errorf("%s: %q, %v", owner, list.OwnerLike, err)
		}
	}
	_, err := api.Call[api.Functions](t.Context(), w.client("ana"), api.OpFunctionDelete, api.FunctionDelete{Name: "a.>"})
	wantName(t, err, api.InvalidArguments)
}

func TestNobodyWaitsForAServiceThatEnds(t *testing.T) {
	w := newWorld(t)
	stop := w.start()
	build := api.NewID()
	must(t, deployError(w.deploy("ana", w.stored(goodConfig, "all:"), build, false)))
	following := make(chan struct{})
	rows := make(chan []api.Function, 1)
	go func() {
		close(following)
		got, err := w.inspect("ana", api.FunctionInspect{Name: "pi", Build: build})
		if err != nil {
			t.Log(err) // the service was gone before it was asked
		}
		rows <- got
	}()
	<-following
	stop()
	if got := <-rows; len(got) > 0 && got[0].Status != building {
		t.Fatal(got)
	}
}

func TestFollowingStartsAgain(t *testing.T) {
	w := newWorld(t)
	var mu sync.Mutex
	fails := 1
	w.options.Functions = failing{racing{w.functions, func() bool { return false }}, func(e events.Event) error {
		mu.Lock()
		defer mu.Unlock()
		if _, isBuilt := e.Data.(events.FunctionBuilt); isBuilt && fails > 0 {
			fails--
			return errDown
		}
		return nil
	}}
	w.start()
	build := api.NewID()
	must(t, deployError(w.deploy("ana", w.stored(goodConfig, "all:"), build, false)))
	w.execute("ana", build, buildOf("pi")...)
	w.execute("ana", build, succeeded())
	rows, err := w.inspect("ana", api.FunctionInspect{Name: "pi", Build: build})
	if err != nil || rows[0].Status != ready || fails != 0 {
		t.Fatal(rows, err)
	}
}

// failing is a log that fails before it stores.
type failing struct {
	racing
	fail func(events.Event) error
}

func (f failing) Append(ctx context.Context, subject string, expected uint64, e events.Event) (uint64, error) {
	if err := f.fail(e); err != nil {
		return 0, err
	}
	return f.racing.Append(ctx, subject, expected, e)
}
