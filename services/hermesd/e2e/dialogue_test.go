package e2e

import (
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/hermes-serverless/hermes/projections/executions"
)

// asker is a program that asks, and asks again by what it was answered.
const asker = `#!/bin/sh
echo "What is your name?"
read name
echo "Hello, $name. How old are you?"
read age
echo "$age is a fine age, $name."
`

// dialogue answers a function that asks while it runs. Its answers are known afterwards, and are given
// to the function again by a rerun.
func dialogue(t *testing.T, w world) {
	files := script("", "true")
	files["run.sh"] = asker
	w.deploy(t, writeFunction(t, "asker", "run", files, nil))

	const given = "Ada\n36\n"
	screen := ""
	stdin, keys := io.Pipe()
	p := start(t, w.environment(), stdin, programs.hermes, "function", "run", "asker", "-i")
	t.Cleanup(func() { _ = keys.Close() }) // before the process is waited for
	for _, turn := range []struct{ asks, answer string }{
		{"What is your name?\n", "Ada\n"}, {"Hello, Ada. How old are you?\n", "36\n"}, {"36 is a fine age, Ada.\n", ""},
	} {
		screen += turn.asks
		p.waitFor(t, p.stdout, turn.asks)
		if shown := p.read(p.stdout); shown != screen {
			t.Errorf("before it is answered, it shows %q, want %q", shown, screen)
		}
		if _, err := io.WriteString(keys, turn.answer); err != nil {
			t.Fatal(err)
		}
	}
	must(t, keys.Close())
	if code := p.wait(t); code != 0 || p.read(p.stdout) != screen {
		t.Errorf("exit code %d, %q\n%s", code, p.read(p.stdout), p.read(p.stderr))
	}

	e := w.find(t, "asker", "")
	number := fmt.Sprint(e.Number)
	if e.Status != executions.Success || e.Given == nil || string(e.Given.Input.Inline) != given || e.Given.Bytes != int64(len(given)) {
		t.Errorf("it ended %s, and was given %+v", e.Status, e.Given)
	}
	shown := w.succeed(t, "execution", "inspect", number).stdout
	for _, want := range []string{"given         7 B while it ran\n", "in:\n" + given, "out:\n" + screen} {
		if !strings.Contains(shown, want) {
			t.Errorf("inspect does not show %q:\n%s", want, shown)
		}
	}
	if shown := w.succeed(t, "execution", "history", number).stdout; !strings.Contains(shown, "run of ana/asker:1.0.0, interactive") {
		t.Errorf("the history does not say that it was interactive:\n%s", shown)
	}
	again := w.succeed(t, "execution", "rerun", number, "--diff").stdout
	if !strings.Contains(again, "is the same: "+fmt.Sprint(len(screen))+" B of stdout, 0 B of stderr.") {
		t.Errorf("run again, it printed something else: %s", again)
	}
	rerun := w.find(t, "asker", given)
	if rerun.Request.Interactive || rerun.Request.Origin != e.ID || rerun.Status != executions.Success {
		t.Errorf("the rerun is %+v", rerun.Request)
	}
	o, err := tryOutput(w.client, rerun.ID)
	must(t, err)
	if string(o.all) != screen {
		t.Errorf("the rerun printed %q, want %q", o.all, screen)
	}
	// Other answers, other words: the rerun did read them.
	other := w.hermes(t, []byte("Bob\n7\n"), "execution", "rerun", number, "--input", "-", "--diff")
	if other.code != 1 || !strings.Contains(other.stdout, "+7 is a fine age, Bob.") {
		t.Errorf("with other answers: exit code %d\n%s%s", other.code, other.stdout, other.stderr)
	}
}
