package runtimetest

import (
	"errors"
	"syscall"
	"testing"
)

// dialogue: a command is answered while it runs, and hears the end when it has read everything.
func dialogue(t *testing.T, s suite) {
	p := shell(t, s.newRun(t), `echo "name?"; read -r name; echo "$name, age?"; read -r age; cat; echo "$name-$age."`)
	for _, turn := range [][2]string{{"name?\n", "Ada\n"}, {"Ada, age?\n", "36\nrest\n"}} {
		p.stdout.waitFor(t, turn[0])
		_, err := p.stdin.WriteString(turn[1])
		must(t, err)
	}
	wantExit(t, p.wait(t), 0, 0)
	wantText(t, "stdout", p.stdout.String(), "name?\nAda, age?\nrest\nAda-36.\n")
}

// stdinThatIsClosed: nothing but the command holds the reader, so that a writer hears when nobody reads.
func stdinThatIsClosed(t *testing.T, s suite) {
	p := shell(t, s.newRun(t), "exec <&-; echo closed; sleep 1000")
	p.stdout.waitFor(t, "closed")
	if _, err := p.stdin.WriteString("hello"); !errors.Is(err, syscall.EPIPE) {
		t.Errorf("writing to what nobody reads: %v, want EPIPE", err)
	}
	must(t, p.box.Kill(newContext(t)))
	wantExit(t, p.wait(t), 128+9, 9)
}
