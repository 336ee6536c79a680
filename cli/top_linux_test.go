package cli

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/creack/pty"
)

// TestTopAtATerminal: it shows what runs, its output as it is printed, and the machine; it cancels
// after a question, and leaves the terminal as it was.
func TestTopAtATerminal(t *testing.T) {
	h := newHome(t)
	h.env = append(h.env, "TERM=xterm-256color")
	h.serve()
	h.deploySh()
	h.write("sleep.sh", "echo printed-before; until test -e "+h.dir+"/go; do sleep 0.05; done; echo printed-live; exec sleep 600")
	h.output("hermes", "function", "run", "sh", "-a", "-f", "sleep.sh")

	term := h.terminal("hermes", "top")
	term.shows("1 running, 0 queued")
	term.shows("tiago/sh:1.0.0")
	term.shows("local")
	term.shows("1/4")
	term.shows("printed-before")
	h.write("go", "")
	term.shows("printed-live")
	if !term.hides() {
		t.Error("what is typed appears")
	}
	if err := pty.Setsize(term.pty, &pty.Winsize{Rows: 10, Cols: 40}); err != nil {
		t.Fatal(err)
	}
	term.types("c")
	term.shows("Cancel execution 2 of tiago/sh:1.0.0?")
	term.types("y")
	term.shows("cancelled")
	term.types("q")
	term.exits(0)
	text := term.text()
	if in, out := strings.LastIndex(text, "\x1b[?1049h"), strings.LastIndex(text, "\x1b[?1049l"); in < 0 || out < in {
		t.Errorf("the other screen is entered at %d and left at %d", in, out)
	}
	if term.hides() {
		t.Error("the terminal is left so that it hides what is typed")
	}
	if hidden, shown := strings.LastIndex(text, "\x1b[?25l"), strings.LastIndex(text, "\x1b[?25h"); shown < hidden {
		t.Error("the cursor is left hidden")
	}
}

func TestTopOnce(t *testing.T) {
	h := newHome(t)
	h.serve()
	h.deploySh()
	h.write("sleep.sh", "echo started; exec sleep 600")
	h.output("hermes", "function", "run", "sh", "-a", "-f", "sleep.sh")
	for end := time.Now().Add(patience); !strings.Contains(h.output("hermes", "execution", "inspect", "2"), "started"); {
		if time.Now().After(end) {
			t.Fatal("it does not run")
		}
	}
	var f frame
	if err := json.Unmarshal([]byte(h.output("hermes", "top", "--once", "-j")), &f); err != nil {
		t.Fatal(err)
	}
	if len(f.Executions) != 1 || f.Executions[0].Status != "running" || len(f.Fleet.Watchers) != 1 || f.Fleet.Watchers[0].UsedSlots != 1 || f.Fleet.YourRunning != 1 {
		t.Errorf("%+v", f)
	}
	text := h.output("hermes", "top", "--once")
	for _, want := range []string{"1 running, 0 queued; of all users 1, 0\n", "Machine", "local", "ready", "1/4", "RunID", "tiago/sh:1.0.0"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	if len(f.GPUs) > 0 || strings.Contains(text, "Power") {
		t.Errorf("a fleet without GPUs has %+v\n%s", f.GPUs, text)
	}
	h.output("hermes", "execution", "cancel", "2")
	cmd := h.command("hermes", "top")
	if out, err := cmd.CombinedOutput(); err == nil || cmd.ProcessState.ExitCode() != exitUsage || !strings.Contains(string(out), "needs a terminal") {
		t.Errorf("without a terminal: %v, %s", err, out)
	}
}

// TestTopOfAGPU: what the GPU of the run under the cursor does stands above its output, until the run ends.
func TestTopOfAGPU(t *testing.T) {
	h := newHome(t)
	h.env = append(h.env, "TERM=xterm-256color", "FAKE_GPU=1")
	h.serve()
	h.write("wait/hermes.config.json", `{"functionName": "wait", "language": "cpp", "gpuCapable": true, "functionVersion": "1.0.0", "handler": "./a.out"}`)
	h.write("wait/Makefile", "a.out:\n\t@printf '#!/bin/sh\\necho begun; exec sleep 600\\n' > a.out\n\t@chmod +x a.out\nclean:\n\t@true\n")
	h.output("hermes", "function", "deploy", "wait")
	h.output("hermes", "function", "run", "wait", "-a", "-f", "/dev/null")
	term := h.terminal("hermes", "top")
	term.shows("1/1 H100")
	term.shows("begun")
	term.shows("0 %    0 B/80 GiB")
	term.shows("GPU-00000001-0000-0000-0")
	term.types("c")
	term.shows("Cancel execution 2 of tiago/wait:1.0.0?")
	term.types("y")
	term.shows("cancelled")
	term.types("q")
	term.exits(0)
}
