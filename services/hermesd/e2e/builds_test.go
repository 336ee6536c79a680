package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hermes-serverless/hermes/projections/executions"
	"github.com/hermes-serverless/hermes/services/api"
)

// script makes the files of a function that prints a word; before is a line of its Makefile.
func script(word, before string) map[string]string {
	return map[string]string{
		"Makefile": "all:\n\t@" + before + "\n\t@cp run.sh run && chmod +x run\nclean:\n\t@rm -f run\n",
		"run.sh":   "#!/bin/sh\necho " + word + "\n",
	}
}

// builds counts the builds of a function.
func (w world) builds(t *testing.T, function string) int {
	t.Helper()
	n := 0
	list := ask[api.Executions](t, w.client, api.OpExecutionList, api.ExecutionList{Limit: 500})
	for _, e := range list.Executions {
		if e.Request.Kind == "build" && e.Request.Function.Name == function {
			n++
		}
	}
	return n
}

// reused: the same source is not built twice.
func reused(t *testing.T, w world) {
	dir := writeFunction(t, "reused", "run", script("one", "true"), nil)
	first := w.deploy(t, dir)
	if r := w.hermes(t, nil, "function", "deploy", dir); r.code != 4 || !strings.Contains(r.stderr, "exists") {
		t.Errorf("deployed again without -u: exit code %d\n%s", r.code, r.stderr)
	}
	if again := w.deploy(t, dir, "-u"); again.Digest != first.Digest {
		t.Errorf("the same source was built to %s and %s", first.Digest, again.Digest)
	}
	if n := w.builds(t, "reused"); n != 1 {
		t.Errorf("it was built %d times", n)
	}
	w.check(t, "reused", "", result{stdout: "one\n"})
}

// update: the version that runs stays until its new build has succeeded.
func update(t *testing.T, w world) {
	w.deploy(t, writeFunction(t, "changing", "run", script("one", "true"), nil))
	failing := writeFunction(t, "changing", "run", script("two", "echo no >&2; false"), nil)
	if r := w.hermes(t, nil, "function", "deploy", failing, "-u"); r.code != 1 || !strings.Contains(r.stderr, "no\n") {
		t.Errorf("a failing build: exit code %d\n%s", r.code, r.stderr)
	}
	w.check(t, "changing", "", result{stdout: "one\n"})

	slow := w.start(t, "", "function", "deploy", writeFunction(t, "changing", "run", script("three", "echo building; sleep 3600"), nil), "-u")
	slow.waitFor(t, slow.stdout, "building\n")
	w.check(t, "changing", "", result{stdout: "one\n"})
	list := ask[api.Executions](t, w.client, api.OpExecutionList, api.ExecutionList{Limit: 500})
	for _, e := range list.Executions {
		if e.Request.Function.Name == "changing" && e.Status == executions.Running {
			w.succeed(t, "execution", "cancel", fmt.Sprint(e.Number))
		}
	}
	if code := slow.wait(t); code != 130 {
		t.Errorf("a cancelled build: exit code %d\n%s", code, slow.read(slow.stderr))
	}
	w.check(t, "changing", "", result{stdout: "one\n"})

	w.deploy(t, writeFunction(t, "changing", "run", script("four", "true"), nil), "-u")
	w.check(t, "changing", "", result{stdout: "four\n"})
}

// broken: a compile error is shown, and nothing can be run.
func broken(t *testing.T, w world) {
	dir := writeActs(t, "broken", nil)
	must(t, os.WriteFile(filepath.Join(dir, "main.cpp"), []byte("int main() { return missing; }\n"), 0o644))
	r := w.hermes(t, nil, "function", "deploy", dir)
	if r.code != 1 || !strings.Contains(r.stderr, "main.cpp:1:21: error: ") || !strings.Contains(r.stderr, "hermes execution logs ") {
		t.Errorf("deploy: exit code %d\n%s%s", r.code, r.stdout, r.stderr)
	}
	if r := w.hermes(t, nil, "function", "run", "broken"); r.code != 125 || !strings.HasPrefix(r.stderr, "hermes: ") {
		t.Errorf("run: exit code %d\n%s%s", r.code, r.stdout, r.stderr)
	}
}

func deleted(t *testing.T, w world) {
	w.deploy(t, writeFunction(t, "passing", "run", script("here", "true"), nil))
	w.check(t, "passing", "", result{stdout: "here\n"})
	w.succeed(t, "function", "delete", "passing", "1.0.0")
	if r := w.hermes(t, nil, "function", "run", "passing", "--json"); r.code != 125 || !strings.Contains(r.stderr, `"NoSuch`) {
		t.Errorf("run: exit code %d\n%s%s", r.code, r.stdout, r.stderr)
	}
	if r := w.succeed(t, "function", "list"); strings.Contains(r.stdout, "passing") {
		t.Errorf("it is still in the list:\n%s", r.stdout)
	}
}
