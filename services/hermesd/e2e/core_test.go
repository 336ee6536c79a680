package e2e

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/projections/executions"
	"github.com/hermes-serverless/hermes/services/api"
	"github.com/hermes-serverless/hermes/services/watcher/cuda"
)

// slots is how many executions an instance under test can run at once, on all its watchers.
const slots = 4

// world is an instance and one of its users.
type world struct {
	*user
	client *api.Client
}

// core is what must work however the parts of an instance are put together.
func core(t *testing.T, w world) {
	t.Run("Deploy", func(t *testing.T) { deployAll(t, w) })
	if t.Failed() {
		return // nothing else can work
	}
	t.Run("Queue", func(t *testing.T) { queue(t, w) })
	t.Run("Run", func(t *testing.T) {
		together(t, map[string]func(*testing.T){
			"Exits": func(t *testing.T) { exits(t, w) }, "Async": func(t *testing.T) { async(t, w) },
			"Ignored": func(t *testing.T) { ignoredTerm(t, w) }, "Limits": func(t *testing.T) { limits(t, w) },
			"Input": func(t *testing.T) { largeInput(t, w) }, "Streams": func(t *testing.T) { streamsApart(t, w) },
			"Dialogue": func(t *testing.T) { dialogue(t, w) },
		})
	})
	t.Run("Warm", func(t *testing.T) { warm(t, w) })
	t.Run("Builds", func(t *testing.T) {
		together(t, map[string]func(*testing.T){
			"Reused": func(t *testing.T) { reused(t, w) }, "Update": func(t *testing.T) { update(t, w) },
			"Broken": func(t *testing.T) { broken(t, w) }, "Delete": func(t *testing.T) { deleted(t, w) },
		})
	})
}

// together runs tests at the same time, however many processors there are: most of them wait.
func together(t *testing.T, tests map[string]func(*testing.T)) {
	t.Helper()
	var all sync.WaitGroup
	for _, name := range slices.Sorted(maps.Keys(tests)) {
		all.Go(func() { t.Run(name, tests[name]) })
	}
	all.Wait()
}

// deploy brings a folder to the server and returns the row of its version.
func (w world) deploy(t *testing.T, dir string, flags ...string) api.Function {
	t.Helper()
	r := w.succeed(t, append([]string{"function", "deploy", dir, "--json"}, flags...)...)
	var rows []api.Function
	if err := json.Unmarshal([]byte(r.stdout), &rows); err != nil || len(rows) != 1 || rows[0].Status != "ready" {
		t.Fatalf("deploy: %v\n%s", err, r.stdout)
	}
	return rows[0]
}

// inspect has the input of an execution, which lists leave out.
func (w world) inspect(t *testing.T, id string) api.Execution {
	t.Helper()
	return ask[api.Execution](t, w.client, api.OpExecutionInspect, api.ExecutionRef{ID: id})
}

// find returns the newest execution of a function with this input.
func (w world) find(t *testing.T, function, input string) api.Execution {
	t.Helper()
	list := ask[api.Executions](t, w.client, api.OpExecutionList, api.ExecutionList{Limit: 500})
	for _, e := range list.Executions {
		if e.Request.Kind == events.KindRun && e.Request.Function.Name == function {
			if e = w.inspect(t, e.ID); isInput(e.Request.Input, input) {
				return e
			}
		}
	}
	t.Fatalf("no execution of %s in the list", function)
	return api.Execution{}
}

func isInput(in events.Input, input string) bool {
	if in.Blob != nil {
		return in.Blob.SizeBytes == int64(len(input))
	}
	return string(in.Inline) == input
}

// check runs a function as a person does, and asks for what it printed again when it has ended.
func (w world) check(t *testing.T, function, input string, want result) api.Execution {
	t.Helper()
	live := w.hermes(t, []byte(input), "function", "run", function)
	same(t, "live", live, want)
	e := w.find(t, function, input)
	want.code = 0 // now of the command that asks
	same(t, "inspect --result", w.succeed(t, "execution", "inspect", fmt.Sprint(e.Number), "--result"), want)
	same(t, "logs", w.succeed(t, "execution", "logs", fmt.Sprint(e.Number)), want)
	o, err := tryOutput(w.client, e.ID)
	must(t, err)
	checkSums(t, e.Execution, o)
	return e
}

// same compares what a command did. Lines of hermes itself on stderr tell of the end, and are not
// the function's.
func same(t *testing.T, what string, got, want result) {
	t.Helper()
	var stderr strings.Builder
	for line := range strings.Lines(got.stderr) {
		if !strings.HasPrefix(line, "hermes: ") {
			stderr.WriteString(line)
		}
	}
	if got.stdout != want.stdout || stderr.String() != want.stderr || got.code != want.code {
		t.Errorf("%s: exit code %d, want %d; %d bytes on stdout, want %d; %d on stderr, want %d:\n%.500s%.500s", what,
			got.code, want.code, len(got.stdout), len(want.stdout), stderr.Len(), len(want.stderr), got.stdout, got.stderr)
	}
}

// deployAll goes in two parts, as a user may upload only so much at once.
func deployAll(t *testing.T, w world) {
	together(t, map[string]func(*testing.T){
		"acts":              func(t *testing.T) { w.deploy(t, writeActs(t, "acts", nil)) },
		"brief":             func(t *testing.T) { w.deploy(t, writeActs(t, "brief", map[string]any{"timeout": "500ms"})) },
		"small":             func(t *testing.T) { w.deploy(t, writeActs(t, "small", map[string]any{"memory": "16MiB"})) },
		"cuda":              func(t *testing.T) { withoutCUDA(t, w, "cuda") },
		"gpu-pi-montecarlo": func(t *testing.T) { withoutCUDA(t, w, "gpu-pi-montecarlo") },
	})
	tests := map[string]func(*testing.T){"pi-montecarlo": func(t *testing.T) { piMontecarlo(t, w) }}
	for name, c := range map[string]struct{ input, output string }{
		"cpp":          {"one\ntwo\n", "one\ntwo\n"},
		"waiter":       {"0.25 1\n", "0.25 s of 1 s\n0.5 s of 1 s\n0.75 s of 1 s\n1 s of 1 s\n"},
		"char-printer": {"x 300000\n", strings.Repeat("x", 300000)},
		"reduce-sum":   {"1 2 3.5\n-10\n", "-3.5\n"},
	} {
		tests[name] = func(t *testing.T) {
			w.deploy(t, w.initTemplate(t, name))
			w.check(t, name, c.input, result{stdout: c.output})
		}
	}
	together(t, tests)
}

func (w world) initTemplate(t *testing.T, name string) string {
	t.Helper()
	dir := t.TempDir()
	w.succeed(t, "function", "init", dir, "--name", name, "--template", name)
	return filepath.Join(dir, name)
}

// piMontecarlo must find in a container what the same program finds beside it.
func piMontecarlo(t *testing.T, w world) {
	const input = "200000\n"
	dir := w.initTemplate(t, "pi-montecarlo")
	w.deploy(t, dir)
	if out, err := exec.Command("make", "-C", dir).CombinedOutput(); err != nil {
		t.Fatalf("make: %v\n%s", err, out)
	}
	native := exec.Command(filepath.Join(dir, "a.out"))
	native.Stdin = strings.NewReader(input)
	want, err := native.Output()
	must(t, err)
	w.check(t, "pi-montecarlo", input, result{stdout: string(want)})
}

func withoutCUDA(t *testing.T, w world, name string) {
	if cuda.Find(t.Context()).Bin != "" {
		t.Skip("this machine has a CUDA toolkit")
	}
	r := w.hermes(t, nil, "function", "deploy", w.initTemplate(t, name))
	if r.code != 1 || !strings.Contains(r.stderr, "no watcher of the fleet has a CUDA toolkit") {
		t.Errorf("exit code %d\n%s%s", r.code, r.stdout, r.stderr)
	}
}

// warm: behind a run the next sandbox is prepared, and what it prints is as ever.
func warm(t *testing.T, w world) {
	eventually(t, "a run in a prepared sandbox", func() bool {
		return w.check(t, "acts", "exit 0\n", result{stdout: "exiting\n"}).Sandbox == "warm"
	})
}

// queue fills all slots, cancels what waits and then what runs.
func queue(t *testing.T, w world) {
	watched := w.start(t, "heed\n", "function", "run", "acts")
	watched.waitFor(t, watched.stdout, "begun\n") // which is seen while it runs
	refs := []api.ExecutionRef{{ID: w.find(t, "acts", "heed\n").ID}}
	for len(refs) < slots {
		refs = append(refs, api.ExecutionRef{ID: w.runAsync(t, "acts", "heed\n")})
	}
	for _, ref := range refs {
		w.awaitOutput(t, ref, "begun\n")
	}
	waiting := api.ExecutionRef{ID: w.runAsync(t, "acts", "exit 0\n")}
	e, err := tryUntil(w.client, waiting, func(e api.Execution) bool { return e.Position == 1 })
	if err != nil || e.Status != executions.Queued {
		t.Errorf("behind %d that run: %s at position %d, %v", slots, e.Status, e.Position, err)
	}
	if r := w.succeed(t, "execution", "inspect", fmt.Sprint(e.Number), "--json"); !strings.Contains(r.stdout, `"position": 1`) {
		t.Errorf("inspect does not show the position:\n%s", r.stdout)
	}
	w.succeed(t, "execution", "cancel", fmt.Sprint(e.Number))
	if e := await(t, w.client, waiting); e.Status != executions.Cancelled || e.Attempt != 0 {
		t.Errorf("cancelled in the queue: %s after %d attempts", e.Status, e.Attempt)
	}
	for _, ref := range refs {
		w.succeed(t, "execution", "cancel", ref.ID)
	}
	for _, ref := range refs {
		e := await(t, w.client, ref)
		o, err := tryOutput(w.client, ref.ID)
		must(t, err)
		if e.Status != executions.Cancelled || e.ExitCode != 7 || o.stdout != "begun\nheeded\n" {
			t.Errorf("SIGTERM was to be heeded: %s with %d and %q", e.Status, e.ExitCode, o.stdout)
		}
	}
	if code := watched.wait(t); code != 130 || watched.read(watched.stdout) != "begun\nheeded\n" {
		t.Errorf("who watched a cancelled one: exit code %d, %q", code, watched.read(watched.stdout))
	}
}

// runAsync starts a run with the program and returns its id.
func (w world) runAsync(t *testing.T, function, input string) string {
	t.Helper()
	r := w.hermes(t, []byte(input), "function", "run", function, "--async", "--json")
	var started struct {
		ID    string `json:"id"`
		RunID int64  `json:"runID"`
	}
	if err := json.Unmarshal([]byte(r.stdout), &started); err != nil || r.code != 0 || started.RunID < 1 {
		t.Fatalf("run --async: %d, %v\n%s%s", r.code, err, r.stdout, r.stderr)
	}
	return started.ID
}

// awaitOutput returns when an execution has printed this.
func (w world) awaitOutput(t *testing.T, ref api.ExecutionRef, text string) {
	t.Helper()
	eventually(t, fmt.Sprintf("%q printed by %s", text, ref.ID), func() bool {
		o, err := tryOutput(w.client, ref.ID)
		return err == nil && strings.Contains(o.stdout, text)
	})
}

func exits(t *testing.T, w world) {
	for input, c := range map[string]struct {
		result
		reason, signal string
	}{
		"exit 0\n": {result{stdout: "exiting\n"}, "", ""},
		"nice\n":   {result{stdout: fmt.Sprintf("nice %d\n", ownNice(t))}, "", ""}, // not hermesd's: see checkPriority
		"exit 3\n": {result{stdout: "exiting\n", code: 3}, events.ReasonExit, ""},
		"abort\n":  {result{stdout: "aborting\n", code: 134}, events.ReasonSignal, "SIGABRT"},
		"crash\n":  {result{stdout: "crashing\n", code: 139}, events.ReasonSignal, "SIGSEGV"},
	} {
		e := w.check(t, "acts", input, c.result)
		if e.Reason != c.reason || e.Signal != c.signal || e.ExitCode != c.code {
			t.Errorf("%q: reason %q, signal %q, code %d", input, e.Reason, e.Signal, e.ExitCode)
		}
	}
}

func async(t *testing.T, w world) {
	id := w.runAsync(t, "acts", "drip 5 10\n")
	if r := w.succeed(t, "execution", "logs", id, "-f"); r.stdout != numbered("drop", 5) {
		t.Errorf("logs -f: %q", r.stdout)
	}
	if e := await(t, w.client, api.ExecutionRef{ID: id}); e.Status != executions.Success {
		t.Errorf("it ended %s", e.Status)
	}
}

// ignoredTerm cancels what does not heed SIGTERM.
func ignoredTerm(t *testing.T, w world) {
	ref := api.ExecutionRef{ID: w.runAsync(t, "acts", "ignore\n")}
	w.awaitOutput(t, ref, "begun\n")
	w.succeed(t, "execution", "cancel", ref.ID)
	if e := await(t, w.client, ref); e.Status != executions.Cancelled || e.Signal != "SIGKILL" || e.ExitCode != 137 {
		t.Errorf("it ended %s with %q and %d", e.Status, e.Signal, e.ExitCode)
	}
}

func limits(t *testing.T, w world) {
	r := w.hermes(t, []byte("sleep 3600000\n"), "function", "run", "brief")
	if r.code != 124 || !strings.HasPrefix("begun\n", r.stdout) || !strings.Contains(r.stderr, "timeout") {
		t.Errorf("past its timeout: exit code %d, %q\n%s", r.code, r.stdout, r.stderr)
	}
	r = w.hermes(t, []byte("eat 64\n"), "function", "run", "small")
	if e := w.find(t, "small", "eat 64\n"); r.code != 137 || r.stdout != "" || e.Reason != events.ReasonOOM {
		t.Errorf("past its memory: exit code %d, reason %q, %q\n%s", r.code, e.Reason, r.stdout, r.stderr)
	}
	const input, limit = "print 12000000 5\n", 10 << 20
	r = w.hermes(t, []byte(input), "function", "run", "acts")
	e := w.find(t, "acts", input)
	if r.code != 137 || e.Reason != events.ReasonOutputLimit || !strings.HasPrefix(printed(12000000, 5), r.stdout) || len(r.stdout) != limit {
		t.Errorf("past its output: exit code %d, reason %q, %d bytes\n%s", r.code, e.Reason, len(r.stdout), tail(r.stderr))
	}
	if again := w.succeed(t, "execution", "inspect", fmt.Sprint(e.Number), "-r"); again.stdout != r.stdout {
		t.Errorf("past its output: %d bytes are stored, %d were seen", len(again.stdout), len(r.stdout))
	}
}

// largeInput is more than fits into a request, so that it travels as a blob.
func largeInput(t *testing.T, w world) {
	content := []byte(printed(5<<20, 6))
	input := "sum\n" + string(content)
	w.check(t, "acts", input, result{stdout: summed(content)})
	file := filepath.Join(t.TempDir(), "input")
	content = append([]byte{0, 255, '\r', '\n'}, content...)
	must(t, os.WriteFile(file, append([]byte("sum\n"), content...), 0o600))
	r := w.succeed(t, "function", "run", "acts", "-f", file)
	same(t, "-f", r, result{stdout: summed(content)})
}

func streamsApart(t *testing.T, w world) {
	// Each is whole and in its order; between two pipes there is none.
	w.check(t, "acts", "both 200\n", result{stdout: numbered("out", 200), stderr: numbered("err", 200)})
}
