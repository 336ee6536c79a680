package registry

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/events/log/memlog"
	"github.com/hermes-serverless/hermes/projections/executions"
	"github.com/hermes-serverless/hermes/projections/functions"
	"github.com/hermes-serverless/hermes/services/api"
	"github.com/hermes-serverless/hermes/services/manifest"
)

var noon = time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)

func blobNo(n int) events.Blob {
	return events.Blob{Digest: fmt.Sprintf("sha256:%064x", n), SizeBytes: int64(n)}
}

func config(scope string) events.FunctionConfig {
	return events.FunctionConfig{Language: "cpp", Scope: scope, Handler: "a.out"}
}

func registered(version, build string, bundle int) events.FunctionRegistered {
	return events.FunctionRegistered{Version: version, Config: config("public"), Bundle: blobNo(bundle), Base: events.HostBase, Build: build}
}

func replacing(r events.FunctionRegistered) events.FunctionRegistered { r.Replaces = true; return r }

func reusing(r events.FunctionRegistered, by string) events.FunctionRegistered {
	r.Reuses = by
	return r
}

func built(version, build string) events.FunctionBuilt {
	return events.FunctionBuilt{Version: version, Build: build, Artifact: blobNo(1000), BuiltBy: build}
}

func builtBy(version, build, by string) events.FunctionBuilt {
	b := built(version, build)
	b.BuiltBy = by
	return b
}

// given folds a history of ana/pi; the fold refuses an impossible one.
func given(t *testing.T, history []events.Data) functions.Function {
	t.Helper()
	f := functions.Function{Owner: "ana", Name: "pi"}
	for i, data := range history {
		var err error
		f, err = functions.Fold(f, events.Record{
			Event:   events.Event{ID: fmt.Sprint(i), Source: "test", Time: noon, Data: data},
			Subject: events.FunctionSubject("ana", "pi"), Sequence: uint64(i + 1),
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return f
}

type history = []events.Data

func TestDecideDeploy(t *testing.T) {
	ref := events.FunctionRef{Owner: "ana", Name: "pi", Version: "1.0.0"}
	command := func(build string, bundle int, update bool) deploy {
		return deploy{Function: ref, Config: config("public"), Bundle: blobNo(bundle), Base: events.HostBase, Build: build, Update: update}
	}
	failedBuild := events.FunctionBuildFailed{Version: "1.0.0", Build: "B1", Reason: "make", Message: "no"}
	for _, c := range []struct {
		name   string
		given  history
		when   deploy
		then   history
		reused string
		fails  string
	}{
		{name: "a new one", when: command("B1", 1, false), then: history{registered("1.0.0", "B1", 1)}},
		{name: "a new one with update", when: command("B1", 1, true), then: history{registered("1.0.0", "B1", 1)}},
		{name: "the same again while it is built", given: history{registered("1.0.0", "B1", 1)}, when: command("B1", 1, false)},
		{name: "the same again when it is built", given: history{registered("1.0.0", "B1", 1), built("1.0.0", "B1")}, when: command("B1", 1, false)},
		{name: "the same again when it failed", given: history{registered("1.0.0", "B1", 1), failedBuild}, when: command("B1", 1, false)},
		{name: "another bundle under the id of a failure", given: history{registered("1.0.0", "B1", 1), failedBuild}, when: command("B1", 2, false), fails: api.IDInUse},
		{name: "another try after a failure", given: history{registered("1.0.0", "B1", 1), failedBuild}, when: command("B2", 1, false),
			then: history{registered("1.0.0", "B2", 1)}},
		{name: "another bundle under the same id", given: history{registered("1.0.0", "B1", 1)}, when: command("B1", 2, false), fails: api.IDInUse},
		{name: "while another builds", given: history{registered("1.0.0", "B1", 1)}, when: command("B2", 1, true), fails: api.BuildInProgress},
		{name: "it exists", given: history{registered("1.0.0", "B1", 1), built("1.0.0", "B1")}, when: command("B2", 2, false), fails: api.FunctionAlreadyExists},
		{name: "an update", given: history{registered("1.0.0", "B1", 1), built("1.0.0", "B1")}, when: command("B2", 2, true),
			then: history{replacing(registered("1.0.0", "B2", 2))}},
		{name: "an update while an update builds", given: history{registered("1.0.0", "B1", 1), built("1.0.0", "B1"), replacing(registered("1.0.0", "B2", 2))},
			when: command("B3", 3, true), fails: api.BuildInProgress},
		{name: "an update with the same bundle", given: history{registered("1.0.0", "B1", 1), built("1.0.0", "B1")}, when: command("B2", 1, true),
			then:   history{reusing(replacing(registered("1.0.0", "B2", 1)), "B1"), builtBy("1.0.0", "B2", "B1")},
			reused: "B1"},
		{name: "the bundle of another version", given: history{registered("0.9.0", "B1", 1), built("0.9.0", "B1")}, when: command("B2", 1, false),
			then:   history{reusing(registered("1.0.0", "B2", 1), "B1"), builtBy("1.0.0", "B2", "B1")},
			reused: "B1"},
		{name: "the same again after a reuse",
			given: history{registered("0.9.0", "B1", 1), built("0.9.0", "B1"), reusing(registered("1.0.0", "B2", 1), "B1"), builtBy("1.0.0", "B2", "B1")},
			when:  command("B2", 1, false), reused: "B1"},
		{name: "the same again after half of a reuse",
			given:  history{registered("0.9.0", "B1", 1), built("0.9.0", "B1"), reusing(registered("1.0.0", "B2", 1), "B1")},
			when:   command("B2", 1, false),
			then:   history{builtBy("1.0.0", "B2", "B1")},
			reused: "B1"},
		{name: "after it was deleted", given: history{registered("1.0.0", "B1", 1), built("1.0.0", "B1"), events.FunctionDeleted{Versions: []string{"1.0.0"}}},
			when: command("B2", 1, false), then: history{registered("1.0.0", "B2", 1)}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, answer, err := decideDeploy(given(t, c.given), c.when)
			if name := errorName(err); name != c.fails {
				t.Fatalf("error %v, want %q", err, c.fails)
			}
			if diff := cmp.Diff([]events.Data(c.then), got); diff != "" {
				t.Fatal(diff)
			}
			given(t, append(c.given, got...)) // the fold takes it
			want := api.Deployed{Function: ref, Reused: c.reused != "", BuiltBy: c.reused}
			if err == nil && answer != want {
				t.Fatalf("answer %+v, want %+v", answer, want)
			}
		})
	}
}

func errorName(err error) string {
	if err == nil {
		return ""
	}
	if e, ok := api.AsError(err); ok {
		return e.Name
	}
	return "not an *api.Error: " + err.Error()
}

func TestDecideDeployBoundsVersions(t *testing.T) {
	f := functions.Function{Owner: "ana", Name: "pi", Versions: map[string]functions.Version{}}
	for i := range functions.MaxVersions {
		f.Versions[fmt.Sprintf("0.0.%d", i)] = functions.Version{}
	}
	command := deploy{Function: events.FunctionRef{Owner: "ana", Name: "pi", Version: "1.0.0"}, Build: "B1", Bundle: blobNo(1), Base: events.HostBase}
	if _, _, err := decideDeploy(f, command); errorName(err) != versionsLimitReached {
		t.Fatal(err)
	}
	command.Function.Version, command.Update = "0.0.1", true
	if _, _, err := decideDeploy(f, command); err != nil {
		t.Fatal(err)
	}
}

// after folds what was decided.
func after(t *testing.T, f functions.Function, decided ...events.Data) functions.Function {
	t.Helper()
	f, err := foldDecided(f, decided...)
	must(t, err)
	return f
}

func buildNo(i int) deploy {
	return deploy{
		Function: events.FunctionRef{Owner: "ana", Name: "pi", Version: fmt.Sprintf("0.0.%d", i)},
		Config:   config("public"), Build: fmt.Sprint("B", i), Bundle: blobNo(i), Base: events.HostBase,
	}
}

func failedBuild(id, message string) executions.Execution {
	return executions.Execution{ID: id, Owner: "ana", Status: executions.Error, Reason: "make", Message: message,
		Request: events.ExecutionRequested{Kind: events.KindBuild}}
}

func TestFailedVersionsAreBounded(t *testing.T) {
	f := functions.Function{Owner: "ana", Name: "pi"}
	for i := range functions.MaxVersions {
		decided, _, err := decideDeploy(f, buildNo(i))
		must(t, err)
		f = after(t, f, decided...)
		if i%100 != 0 { // some go on
			f = after(t, f, decideBuildEnded(f, failedBuild(buildNo(i).Build, "no")))
		}
	}
	_, _, err := decideDeploy(f, buildNo(functions.MaxVersions))
	if e := wantName(t, err, versionsLimitReached); !strings.Contains(e.Hint, "hermes function delete pi VERSION") {
		t.Fatal(e.Hint)
	}
	again := buildNo(1)
	again.Build = "again"
	decided, _, err := decideDeploy(f, again)
	must(t, err)
	f = after(t, f, decided...)
	for _, id := range []string{"B0", "B100", "B200", "B300", "B400", "again"} {
		f = after(t, f, decideBuildEnded(f, failedBuild(id, "no")))
	}
	deleted, _ := decideDelete(f, "0.0.7")
	f = after(t, f, deleted)
	decided, _, err = decideDeploy(f, buildNo(functions.MaxVersions))
	must(t, err)
	after(t, f, decided...)
}

// maxPayload is the largest message that NATS takes.
const maxPayload = 1 << 20

func TestAFunctionFitsIntoOneMessage(t *testing.T) {
	wide := strings.Repeat("<", 255) // each is 6 bytes in JSON
	long, longest := strings.Repeat(wide, 400), strings.Repeat("x", maxMessageBytes-2)
	for name, c := range map[string]struct {
		handler string
		given   map[string]string
		end     func(f functions.Function, build deploy) events.Data
	}{
		"all are built": {wide, nil, func(_ functions.Function, b deploy) events.Data { return built(b.Function.Version, b.Build) }},
		"all are given much": {"a", map[string]string{"A": strings.Repeat("x", 60<<10)}, func(_ functions.Function, b deploy) events.Data {
			return built(b.Function.Version, b.Build)
		}},
		"all fail": {wide, nil, func(f functions.Function, b deploy) events.Data {
			return decideBuildEnded(f, failedBuild(b.Build, long))
		}},
		// What they leave is larger than what they are.
		"all go on, then fail": {"a", nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			f := functions.Function{Owner: "ana", Name: "pi"}
			for i := range 2000 {
				command := buildNo(i)
				command.Config.Handler, command.Config.Env = c.handler, c.given
				decided, _, err := decideDeploy(f, command)
				if err != nil {
					wantName(t, err, versionsLimitReached)
					break
				}
				if f = after(t, f, decided...); c.end != nil {
					f = after(t, f, c.end(f, command))
				}
			}
			for _, p := range f.Pending {
				f = after(t, f, decideBuildEnded(f, failedBuild(p.Build, longest)))
			}
			raw, err := json.Marshal(f)
			if err != nil || len(raw) > maxStateBytes || maxStateBytes > maxPayload/2 {
				t.Fatal(len(raw), err)
			}
			deleted, _ := decideDelete(f, "0.0.0")
			f = after(t, f, deleted)
			_, _, err = decideDeploy(f, buildNo(5000))
			must(t, err)
		})
	}
}

func TestClip(t *testing.T) {
	for in, want := range map[string]string{
		"": "", "make failed": "make failed", strings.Repeat("x", maxMessageBytes-2): strings.Repeat("x", maxMessageBytes-2),
		strings.Repeat("x", 1<<20): strings.Repeat("x", maxMessageBytes*3/4) + " …",
	} {
		if got := clip(in); got != want {
			t.Errorf("%d bytes: got %q", len(in), got)
		}
	}
	for _, in := range []string{strings.Repeat("é", 5000), strings.Repeat("\xff", 5000), strings.Repeat("<", 5000)} {
		if got := clip(in); storedBytes(got) > maxMessageBytes || !utf8.ValidString(got) {
			t.Errorf("%q", got)
		}
	}
}

func TestWhatDoesNotFoldIsNotAppended(t *testing.T) {
	log := memlog.New()
	s := New(Options{Functions: log})
	_, err := s.commit(t.Context(), "ana", "pi", func(functions.Function) ([]events.Data, error) {
		return []events.Data{registered("1.0.0", "B1", 1), built("1.0.0", "B2")}, nil
	})
	var impossible *events.ImpossibleError
	if !errors.As(err, &impossible) {
		t.Fatalf("got %v", err)
	}
	if head, err := log.Head(t.Context(), functionsFilter); head != 0 || err != nil {
		t.Fatal(head, err)
	}
}

func TestDecideBuildEnded(t *testing.T) {
	artifact := blobNo(1000)
	pending := history{registered("1.0.0", "B1", 1)}
	end := func(status executions.Status, change func(*executions.Execution)) executions.Execution {
		e := executions.Execution{ID: "B1", Owner: "ana", Status: status, Request: events.ExecutionRequested{Kind: events.KindBuild}}
		if change != nil {
			change(&e)
		}
		return e
	}
	failed := func(reason, message string) events.Data {
		return events.FunctionBuildFailed{Version: "1.0.0", Build: "B1", Reason: reason, Message: message}
	}
	good := func(e *executions.Execution) { e.Artifact = &artifact }
	for _, c := range []struct {
		name  string
		given history
		when  executions.Execution
		then  events.Data
	}{
		{"it succeeded", pending, end(executions.Success, good), built("1.0.0", "B1")},
		{"without an artifact", pending, end(executions.Success, nil), failed("artifact", "the build ended well but left no artifact")},
		{"it failed", pending, end(executions.Error, func(e *executions.Execution) { e.Reason, e.Message = "make", "make failed" }), failed("make", "make failed")},
		{"it was cancelled", pending, end(executions.Cancelled, func(e *executions.Execution) { e.CancelRequestedBy = "ana" }), failed("cancelled", "the build was cancelled by ana")},
		{"it took too long", pending, end(executions.Timeout, func(e *executions.Execution) { e.Request.Limits.TimeoutMillis = 5 }), failed("timeout", "the build took longer than 5ms")},
		{"it was lost", pending, end(executions.Lost, func(e *executions.Execution) { e.Message = "silent" }), failed("lost", "the watcher that built it was lost: silent")},
		{"it goes on", pending, end(executions.Running, nil), nil},
		{"it was told before", append(pending, built("1.0.0", "B1")), end(executions.Success, good), nil},
		{"the version was deleted", append(pending, events.FunctionDeleted{Versions: []string{"1.0.0"}}), end(executions.Success, good), nil},
		{"another build is pending", history{registered("1.0.0", "B2", 1)}, end(executions.Success, good), nil},
		{"a run has the id", pending, end(executions.Success, func(e *executions.Execution) { e.Request.Kind = events.KindRun; good(e) }), nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := decideBuildEnded(given(t, c.given), c.when)
			if diff := cmp.Diff(c.then, got); diff != "" {
				t.Fatal(diff)
			}
			if got != nil {
				given(t, append(c.given, got))
			}
		})
	}
}

func TestDecideReuse(t *testing.T) {
	half := history{registered("0.9.0", "B1", 1), built("0.9.0", "B1"), reusing(registered("1.0.0", "B2", 1), "B1")}
	if diff := cmp.Diff(events.Data(builtBy("1.0.0", "B2", "B1")), decideReuse(given(t, half), "1.0.0")); diff != "" {
		t.Fatal(diff)
	}
	gone := append(half, events.FunctionDeleted{Versions: []string{"0.9.0"}})
	got, ok := decideReuse(given(t, gone), "1.0.0").(events.FunctionBuildFailed)
	if !ok || got.Reason != events.ReasonArtifact {
		t.Fatal(got)
	}
	given(t, append(gone, got))
	if got := decideReuse(given(t, history{registered("1.0.0", "B1", 1)}), "1.0.0"); got != nil {
		t.Fatal(got)
	}
}

func TestDecideDelete(t *testing.T) {
	all := history{
		registered("1.0.0", "B1", 1), built("1.0.0", "B1"), registered("1.10.0", "B2", 2), registered("1.9.0", "B3", 3),
		events.FunctionBuildFailed{Version: "1.9.0", Build: "B3"},
	}
	for version, want := range map[string][]string{"": {"1.0.0", "1.9.0", "1.10.0"}, "1.10.0": {"1.10.0"}, "1.9.0": {"1.9.0"}, "2.0.0": nil} {
		got, rows := decideDelete(given(t, all), version)
		if len(rows) != len(want) || rows == nil {
			t.Errorf("%q: rows %v", version, rows)
		}
		if want == nil {
			if got != nil {
				t.Errorf("%q: %v", version, got)
			}
			continue
		}
		if diff := cmp.Diff(events.Data(events.FunctionDeleted{Versions: want}), got); diff != "" {
			t.Errorf("%q: %s", version, diff)
		}
		given(t, append(all, got))
	}
}

func TestRows(t *testing.T) {
	private := registered("1.10.0", "B2", 2)
	private.Config.Scope = "private"
	f := given(t, history{
		registered("1.9.0", "B1", 1), built("1.9.0", "B1"), replacing(registered("1.9.0", "B4", 4)),
		private, registered("0.1.0", "B3", 3), events.FunctionBuildFailed{Version: "0.1.0", Build: "B3", Reason: "make", Message: "no"},
		registered("1.0.0", "B5", 1), built("1.0.0", "B5"),
		replacing(registered("1.0.0", "B6", 6)), events.FunctionBuildFailed{Version: "1.0.0", Build: "B6", Reason: "clean", Message: "no"},
		registered("0.2.0", "B7", 7), events.FunctionBuildFailed{Version: "0.2.0", Build: "B7", Reason: "cancelled", Message: "by ana"},
	})
	show := func(caller string) (shown []string) {
		for _, r := range Rows(f, caller) {
			shown = append(shown, fmt.Sprintln(r.FunctionVersion, r.Status, r.Build, r.Digest != "", r.Scope, r.Reason))
		}
		return shown
	}
	want := []string{
		"0.1.0 failed B3 false public make\n", "0.2.0 cancelled B7 false public cancelled\n", "1.0.0 ready B5 true public clean\n",
		"1.9.0 updating B4 true public \n", "1.10.0 building B2 false private \n",
	}
	if diff := cmp.Diff(want, show("ana")); diff != "" {
		t.Error(diff)
	}
	others := []string{"1.0.0 ready  true public \n", "1.9.0 updating  true public \n"}
	if diff := cmp.Diff(others, show("eve")); diff != "" {
		t.Error(diff)
	}
}

func TestRowsTellArgsAndEnvToTheOwnerAlone(t *testing.T) {
	one := registered("1.0.0", "B1", 1)
	one.Config.Args, one.Config.Env = []string{"-v"}, map[string]string{"LEVEL": "3"}
	one.Config.ReuseSandbox = true
	f := given(t, history{one, built("1.0.0", "B1")})
	if row := Rows(f, "ana")[0]; row.Env["LEVEL"] != "3" || len(row.Args) != 1 || row.Sandbox != "reuse" {
		t.Errorf("ana sees %+v", row)
	}
	if row := Rows(f, "eve")[0]; row.Env != nil || row.Args != nil {
		t.Errorf("eve sees %+v", row)
	}
}

func TestCheckLimits(t *testing.T) {
	maxima := events.Limits{TimeoutMillis: 5_400_000, MemoryBytes: 512 << 20}
	file := func(limits string) []byte { return []byte("{" + limits + ",\n" + strings.TrimPrefix(goodConfig, "{")) }
	if err := checkLimits(file(`"timeout": "90m", "cpus": 99999`), maxima); err != nil {
		t.Fatal(err)
	}
	maxima.CPUMillis, maxima.PIDs, maxima.TmpBytes, maxima.OutputBytes = 500, 4096, 16<<30, 100<<20
	err := checkLimits(file(`"timeout": "2h",
"memory": "2GiB", "cpus": 1.25,
"pids": 5000, "tmp": "17409MiB",
"output": "1GiB"`), maxima)
	e, _ := api.AsError(err)
	want := "hermes.config.json:1: timeout: 2h is asked for, at most 1h30m is allowed\n" +
		"hermes.config.json:2: memory: 2GiB is asked for, at most 512MiB is allowed\n" +
		"hermes.config.json:2: cpus: 1.25 is asked for, at most 0.5 is allowed\n" +
		"hermes.config.json:3: pids: 5000 is asked for, at most 4096 is allowed\n" +
		"hermes.config.json:3: tmp: 17409MiB is asked for, at most 16GiB is allowed\n" +
		"hermes.config.json:4: output: 1GiB is asked for, at most 100MiB is allowed"
	if e == nil || e.Name != api.InvalidConfig || e.Detail != want || strings.Contains(e.Message, "timeout") {
		t.Fatalf("%+v", e)
	}
}

func TestNearest(t *testing.T) {
	names := []string{"pi-montecarlo", "mandelbrot", "pi"}
	for in, want := range map[string]string{"pi-montcarlo": "pi-montecarlo", "p": "pi", "man": "mandelbrot", "mandelbort": "mandelbrot", "zzz": ""} {
		if got := nearest(in, names); got != want {
			t.Errorf("%s: %q, want %q", in, got, want)
		}
	}
}

func TestCheckNetwork(t *testing.T) {
	outbound := manifest.Manifest{Config: events.FunctionConfig{Network: events.NetworkOutbound}, NetworkLine: 7}
	for _, c := range []struct {
		m       manifest.Manifest
		allowed bool
	}{{manifest.Manifest{}, false}, {manifest.Manifest{}, true}, {outbound, true}} {
		if err := checkNetwork(c.m, c.allowed); err != nil {
			t.Errorf("%+v: %v", c, err)
		}
	}
	e, _ := api.AsError(checkNetwork(outbound, false))
	if e == nil || e.Name != api.InvalidConfig || !strings.HasPrefix(e.Message, `hermes.config.json:7: network: "outbound"`) || !strings.Contains(e.Hint, "--allow-network") {
		t.Errorf("%+v", e)
	}
}
