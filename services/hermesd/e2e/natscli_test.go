package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/creack/pty"
)

// natsCommands are those of the README, by a part of each, with what they show.
var natsCommands = map[string]string{
	"stream ls":                      "HERMES_EXECUTIONS",
	"stream view HERMES_EXECUTIONS":  "io.hermes.execution.v1.succeeded",
	"stream get HERMES_EXECUTIONS 5": "io.hermes.execution.v1.started",
	"kv get hermes_executions":       `"owner":"ana","number":2,`,
	"consumer report":                "Unprocessed",
	"sub 'hermes.execution.>'":       "io.hermes.execution.v1.succeeded",
	"sub 'hermes.output.*.ana.>'":    "this is shown live",
	"micro ls":                       "hermes-orchestrator",
}

// TestStockNATS types what the README says of the nats CLI into a terminal, and sees what it promises.
func TestStockNATS(t *testing.T) {
	needMachine(t)
	dir := t.TempDir()
	build := exec.Command("go", "build", "-C", "../../../deployments/tools/natscli", "-o", dir, "github.com/nats-io/natscli/nats")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the nats CLI: %v\n%s", err, out)
	}
	s := newSingle(t, "--slots", "1", "--grace", "5s")
	w := world{s.user, s.connect(t)}
	w.deploy(t, writeFunction(t, "live", "run", script("this is shown live", "true"), nil))
	w.succeed(t, "function", "run", "live")
	readme, err := os.ReadFile("../../../README.md")
	must(t, err)
	tried := 0
	for _, line := range regexp.MustCompile(`(?m)^    \$ (nats .*)$`).FindAllStringSubmatch(string(readme), -1) {
		for part, want := range natsCommands {
			if !strings.Contains(line[1], part) {
				continue
			}
			tried++
			term := w.terminal(t, dir, line[1])
			if strings.Contains(part, "output") {
				term.shows(t, "Subscribing")
				w.succeed(t, "function", "run", "live")
			}
			term.shows(t, want)
			term.end()
		}
	}
	if tried != len(natsCommands) {
		t.Errorf("%d of %d commands stand in the README", tried, len(natsCommands))
	}
	s.checkEnd(t)
}

// terminal is a command of a shell on a terminal.
type terminal struct {
	command string
	cmd     *exec.Cmd
	pty     *os.File
	mu      sync.Mutex
	text    strings.Builder
	done    chan struct{}
}

// terminal starts it, with the nats CLI of a folder.
func (u *user) terminal(t *testing.T, folder, command string) *terminal {
	t.Helper()
	term := &terminal{command: command, cmd: exec.Command("sh", "-c", command), done: make(chan struct{})}
	term.cmd.Env = append(u.environment(), "TERM=xterm", "PATH="+folder+string(filepath.ListSeparator)+os.Getenv("PATH"))
	var err error
	term.pty, err = pty.StartWithSize(term.cmd, &pty.Winsize{Rows: 50, Cols: 200})
	must(t, err)
	go func() {
		defer close(term.done)
		for buf := make([]byte, 32<<10); ; {
			n, err := term.pty.Read(buf)
			term.mu.Lock()
			term.text.Write(buf[:n])
			term.mu.Unlock()
			if err != nil { // which is not io.EOF, on a terminal
				return
			}
		}
	}()
	t.Cleanup(term.end)
	return term
}

// shows waits until a text is on the terminal.
func (term *terminal) shows(t *testing.T, text string) {
	t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(pollEvery) {
		over := false
		select {
		case <-term.done:
			over = true
		default:
		}
		term.mu.Lock()
		shown := term.text.String()
		term.mu.Unlock()
		if strings.Contains(shown, text) {
			return
		}
		if over || time.Now().After(deadline) {
			t.Fatalf("%s (ended: %t) does not show %q:\n%s", term.command, over, text, tail(shown))
		}
	}
}

// end ends it, if it has not.
func (term *terminal) end() {
	_ = term.cmd.Process.Kill()
	_ = term.pty.Close()
	_ = term.cmd.Wait()
	<-term.done
}
