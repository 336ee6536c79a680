package cli

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/creack/pty"
	"github.com/nats-io/jsm.go/natscontext"
	"golang.org/x/sys/unix"

	"github.com/hermes-serverless/hermes/cli/natsctx"
	"github.com/hermes-serverless/hermes/services/api"
)

// home is a user's folder, with programs that think it theirs.
type home struct {
	t   *testing.T
	dir string
	env []string
}

func newHome(t *testing.T) *home {
	dir := t.TempDir()
	h := &home{t: t, dir: dir, env: []string{
		"HOME=" + dir, "XDG_CONFIG_HOME=" + filepath.Join(dir, ".config"), "PATH=" + os.Getenv("PATH"),
		"TZ=UTC", "USER=tiago", "TERM=dumb",
	}}
	return h
}

// command makes the test binary be one of the programs.
func (h *home) command(args ...string) *exec.Cmd {
	exe, err := os.Executable()
	if err != nil {
		h.t.Fatal(err)
	}
	cmd := exec.Command(exe, args[1:]...)
	cmd.Args[0], cmd.Dir, cmd.Env = args[0], h.dir, h.env
	return cmd
}

// serve starts a server for the time of the test.
func (h *home) serve() {
	h.t.Helper()
	cmd := h.command("hermesd", filepath.Join(h.dir, "data"))
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() {
		_ = cmd.Process.Signal(os.Interrupt)
		_ = cmd.Wait()
	})
	h.ready()
}

// ready waits until the server can be used.
func (h *home) ready() {
	h.t.Helper()
	if !serverReady(filepath.Join(h.dir, ".config")) {
		h.t.Fatal("the server did not start")
	}
}

func (h *home) write(name, text string) {
	h.t.Helper()
	path := filepath.Join(h.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		h.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		h.t.Fatal(err)
	}
}

// deploySh deploys a function that runs its input as a shell script.
func (h *home) deploySh() {
	h.t.Helper()
	h.write("sh/hermes.config.json", `{"functionName": "sh", "language": "cpp", "gpuCapable": false, "functionVersion": "1.0.0", "handler": "./a.out"}`)
	h.write("sh/Makefile", "a.out:\n\t@printf '#!/bin/sh\\nexec sh -s\\n' > a.out\n\t@chmod +x a.out\nclean:\n\t@true\n")
	h.output("hermes", "function", "deploy", "sh")
}

func (h *home) output(args ...string) string {
	h.t.Helper()
	cmd := h.command(args...)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		h.t.Fatalf("%v: %v", args, err)
	}
	return string(out)
}

// terminal is a program at work in a pseudo-terminal.
type terminal struct {
	t    *testing.T
	cmd  *exec.Cmd
	pty  *os.File
	mu   sync.Mutex
	seen strings.Builder
	done chan struct{}
}

func (h *home) terminal(args ...string) *terminal {
	h.t.Helper()
	cmd := h.command(args...)
	file, err := pty.StartWithSize(cmd, &pty.Winsize{Rows: 24, Cols: 80})
	if err != nil {
		h.t.Fatal(err)
	}
	term := &terminal{t: h.t, cmd: cmd, pty: file, done: make(chan struct{})}
	go term.read()
	h.t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = file.Close()
		<-term.done
	})
	return term
}

func (term *terminal) read() {
	defer close(term.done)
	part := make([]byte, 4096)
	for {
		n, err := term.pty.Read(part)
		term.mu.Lock()
		term.seen.Write(part[:n])
		term.mu.Unlock()
		if err != nil {
			return
		}
	}
}

func (term *terminal) text() string {
	term.mu.Lock()
	defer term.mu.Unlock()
	return term.seen.String()
}

// shows waits until the text has appeared.
func (term *terminal) shows(text string) {
	term.t.Helper()
	term.showsTimes(text, 1)
}

func (term *terminal) showsTimes(text string, times int) {
	term.t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if strings.Count(term.text(), text) >= times {
			return
		}
	}
	term.t.Fatalf("%q did not appear %d times; there is %q", text, times, term.text())
}

// asks waits until the prompt has appeared so many times and the terminal hides what is typed, and
// types the answer.
func (term *terminal) asks(prompt string, times int, answer string) {
	term.t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if term.hides() && strings.Count(term.text(), prompt) >= times {
			term.types(answer)
			return
		}
	}
	term.t.Fatalf("%q was not asked %d times; there is %q", prompt, times, term.text())
}

// hides says whether what is typed does not appear.
func (term *terminal) hides() (hides bool) {
	conn, err := term.pty.SyscallConn()
	if err != nil {
		term.t.Fatal(err)
	}
	_ = conn.Control(func(fd uintptr) {
		mode, err := unix.IoctlGetTermios(int(fd), unix.TCGETS)
		hides = err == nil && mode.Lflag&unix.ECHO == 0
	})
	return hides
}

func (term *terminal) types(keys string) {
	term.t.Helper()
	if _, err := term.pty.WriteString(keys); err != nil {
		term.t.Fatal(err)
	}
}

func (term *terminal) exits(code int) {
	term.t.Helper()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = term.cmd.Wait()
		<-term.done // what it printed last is there, too
	}()
	select {
	case <-ended:
	case <-time.After(patience):
		_ = term.cmd.Process.Kill()
		<-ended
		term.t.Fatalf("it did not end; there is %q", term.text())
	}
	if got := term.cmd.ProcessState.ExitCode(); got != code {
		term.t.Errorf("exit code %d, want %d; there is %q", got, code, term.text())
	}
}

const interrupt = "\x03"

func TestInitAsksOneQuestionALine(t *testing.T) {
	h := newHome(t)
	term := h.terminal("hermes", "function", "init")
	term.shows("Function name:")
	term.types("pi\r")
	term.shows("Choose the function language:")
	term.types("2\r")
	term.shows("Should use GPU?")
	term.types("n\r")
	term.shows("-> Function created at pi")
	term.exits(0)
	if text := term.text(); strings.Contains(text, "\x1b") {
		t.Errorf("a terminal that knows no escape sequences is sent %q", text)
	}
	raw, err := os.ReadFile(filepath.Join(h.dir, "pi", "hermes.config.json"))
	if err != nil || !strings.Contains(string(raw), `"language": "cpp"`) || !strings.Contains(string(raw), `"gpuCapable": false`) {
		t.Errorf("%v, wrote %s", err, raw)
	}
}

func TestInitAsksInAFullTerminal(t *testing.T) {
	h := newHome(t)
	h.env = append(h.env, "TERM=xterm-256color")
	term := h.terminal("hermes", "function", "init", "--gpu=false", "--language", "cpp")
	term.shows("Function name:")
	term.types("Bad\r")
	term.shows("allowed are")
	term.types("\x7f\x7f\x7fgood\r")
	term.shows("-> Function created at good")
	term.exits(0)
}

func TestInitCanBeLeft(t *testing.T) {
	h := newHome(t)
	h.env = append(h.env, "TERM=xterm-256color")
	term := h.terminal("hermes", "function", "init")
	term.shows("Function name:")
	term.types(interrupt)
	term.exits(exitCancelled)
	if entries, _ := filepath.Glob(filepath.Join(h.dir, "[a-z]*")); len(entries) != 0 {
		t.Errorf("left %v", entries)
	}
}

// TestAccountAtATerminal: the first Hermes' questions. What is secret does not appear.
func TestAccountAtATerminal(t *testing.T) {
	h := newHome(t)
	h.env = append(h.env, "HERMES_TEST_REGISTRATION=open")
	h.serve()
	h.add("lab")

	term := h.terminal("hermes", "remote", "register")
	term.shows("Username? ")
	term.types("ana\r")
	term.asks("Password: ", 1, "short\r")
	term.shows("shorter than 8 characters")
	term.asks("Password: ", 2, "open sesame\r")
	term.asks("Confirm password: ", 1, "open sesami\r")
	term.shows("The passwords are not the same. Try again.")
	term.asks("Password: ", 3, "open sesame\r")
	term.asks("Confirm password: ", 2, "open sesame\r")
	term.shows("You're ana")
	term.exits(0)
	noSecret(t, term)

	term = h.terminal("hermes", "remote:login", "ana")
	term.asks("Password? ", 1, "open sesame\r")
	term.shows("You're ana")
	term.exits(0)
	noSecret(t, term)

	// The nats tool is logged in too: this is how it reads a context.
	t.Setenv("XDG_CONFIG_HOME", filepath.Join(h.dir, ".config"))
	nc, err := natscontext.Connect("lab")
	if err != nil {
		t.Fatal(err)
	}
	info, err := api.Call[api.Info](t.Context(), api.NewClient(nc, "ana"), api.OpInfo, api.InfoRequest{})
	nc.Close()
	if err != nil || info.User != "ana" {
		t.Errorf("as the nats tool connects: %+v, %v", info, err)
	}

	term = h.terminal("hermes", "remote", "login", "ana")
	term.asks("Password? ", 1, interrupt)
	term.exits(exitCancelled)
	if term.hides() {
		t.Error("the terminal is left so that it hides what is typed")
	}

	term = h.terminal("hermes", "remote", "unregister")
	term.shows("Username? ")
	term.types("ana\r")
	term.asks("Password? ", 1, "open sesame\r")
	term.shows("-> ana is not registered any more")
	term.exits(0)
	noSecret(t, term)
}

// TestInvitationAtATerminal: it is asked for like a password, and a wrong one lets nobody in.
func TestInvitationAtATerminal(t *testing.T) {
	h := newHome(t)
	h.env = append(h.env, "HERMES_TEST_REGISTRATION=invite")
	h.serve()
	h.add("lab")
	term := h.terminal("hermes", "remote", "register", "ana")
	term.asks("Invitation? ", 1, "SESAME\r")
	term.asks("Password: ", 1, "open sesame\r")
	term.asks("Confirm password: ", 1, "open sesame\r")
	term.shows("the invitation is not valid for this name")
	term.exits(exitUnauthorized)
	noSecret(t, term)

	// No answer is no answer.
	term = h.terminal("hermes", "remote", "register")
	term.shows("Username? ")
	term.types("\x04")
	term.exits(exitCancelled)
}

// TestPasswdAtATerminal: what is asked to change a password, and what is wrong is asked again.
func TestPasswdAtATerminal(t *testing.T) {
	h := newHome(t)
	h.env = append(h.env, "HERMES_TEST_REGISTRATION=open")
	h.serve()
	h.add("lab")
	term := h.terminal("hermes", "remote", "register", "ana")
	term.asks("Password: ", 1, "open sesame\r")
	term.asks("Confirm password: ", 1, "open sesame\r")
	term.exits(0)
	term = h.terminal("hermes", "remote", "passwd")
	term.asks("Current password: ", 1, "open sesame\r")
	term.asks("New password: ", 1, "sesame\r")
	term.shows("shorter than 8 characters")
	term.asks("New password: ", 2, "another sesame\r")
	term.asks("Confirm new password: ", 1, "another sesam\r")
	term.shows("The passwords are not the same. Try again.")
	term.asks("New password: ", 3, "another sesame\r")
	term.asks("Confirm new password: ", 2, "another sesame\r")
	term.shows("-> ana has another password")
	term.exits(0)
	noSecret(t, term)

	term = h.terminal("hermes", "remote", "passwd")
	term.asks("Current password: ", 1, "open sesame\r")
	term.asks("New password: ", 1, "a third sesame\r")
	term.asks("Confirm new password: ", 1, "a third sesame\r")
	term.shows("wrong username or password")
	term.exits(exitUnauthorized)

	// Who types another's name leaves nothing.
	term = h.terminal("hermes", "remote", "unregister")
	term.shows("Username? ")
	term.types("bob\r")
	term.shows("you are logged in as ana, not as bob")
	term.exits(exitUsage)
	term = h.terminal("hermes", "remote", "unregister")
	term.shows("Username? ")
	term.types("ana\r")
	term.asks("Password? ", 1, "open sesame\r")
	term.shows("wrong username or password")
	term.exits(exitUnauthorized)
	if out := h.output("hermes", "remote", "whoami"); out != "You're ana\n" {
		t.Errorf("after all that: %q", out)
	}
}

// TestCertificateAtATerminal: it is shown, and trusted only by who says yes.
func TestCertificateAtATerminal(t *testing.T) {
	h := newHome(t)
	h.env = append(h.env, "HERMES_TEST_REGISTRATION=open", "HERMES_TEST_TLS=1")
	h.serve()
	url := h.url()
	term := h.terminal("hermes", "remote", "add", url, "--name", "lab")
	term.shows("No authority vouches for the certificate of ")
	term.shows("Its fingerprint is sha256:")
	term.shows("Is it the same? (yes/no) ")
	term.types("no\r")
	term.shows("the certificate is not trusted; nothing was added")
	term.exits(exitUnauthorized)
	context := filepath.Join(h.dir, ".config", "nats", "context", "lab.json")
	if _, err := os.Stat(context); !os.IsNotExist(err) {
		t.Errorf("a context was made: %v", err)
	}
	term = h.terminal("hermes", "remote", "add", url, "--name", "lab")
	term.shows("Is it the same? (yes/no) ")
	term.types("yes\r")
	term.shows("-> Added tls://")
	term.exits(0)
	if _, err := os.Stat(context); err != nil {
		t.Error(err)
	}
}

// url is the server's, as the local user's context has it.
func (h *home) url() string {
	h.t.Helper()
	c, err := natsctx.Load(filepath.Join(h.dir, ".config"), defaultContext)
	if err != nil {
		h.t.Fatal(err)
	}
	return c.URL
}

// add adds the server under another name.
func (h *home) add(name string) {
	h.t.Helper()
	h.output("hermes", "remote", "add", h.url(), "--name", name)
}

func noSecret(t *testing.T, term *terminal) {
	t.Helper()
	if strings.Contains(term.text(), "sesam") {
		t.Errorf("the password is shown: %q", term.text())
	}
}

func TestRunAtATerminal(t *testing.T) {
	h := newHome(t)
	h.serve()
	h.deploySh()
	t.Run("asks for a line", func(t *testing.T) {
		term := h.at(t).terminal("hermes", "function", "run", "sh")
		term.shows("Input: ")
		term.types("echo $((6 * 7)); exit 5\r")
		term.shows("42")
		term.exits(5)
	})
	h.write("sleep.sh", "echo started; exec sleep 600")
	t.Run("interrupt, then cancel", func(t *testing.T) {
		term := h.at(t).terminal("hermes", "function", "run", "sh", "-f", "sleep.sh")
		term.shows("started")
		term.types(interrupt)
		term.shows("c: cancel it, d: detach")
		term.types("c\r")
		term.shows("it is being cancelled")
		term.shows("ended with cancelled")
		term.exits(exitCancelled)
	})
	t.Run("interrupt, then go on, then detach", func(t *testing.T) {
		term := h.at(t).terminal("hermes", "function", "run", "sh", "-f", "sleep.sh")
		term.shows("started")
		term.types(interrupt)
		term.shows("c: cancel it, d: detach")
		term.types("\r")
		term.shows("hermes: watching on")
		term.types(interrupt)
		term.showsTimes("c: cancel it, d: detach", 2)
		term.types("d\r")
		term.shows("detached; it goes on")
		term.shows("-f` shows it again") // by its number, if the server says that soon enough
		term.exits(exitCancelled)
		if out := h.at(t).output("hermes", "execution", "inspect", "4"); !strings.Contains(out, "running") {
			t.Errorf("it does not run: %s", out)
		}
		h.at(t).output("hermes", "execution", "cancel", "4")
	})
	t.Run("two interrupts detach", func(t *testing.T) {
		term := h.at(t).terminal("hermes", "function", "run", "sh", "-f", "sleep.sh")
		term.shows("started")
		term.types(interrupt)
		term.shows("c: cancel it, d: detach")
		term.types(interrupt)
		term.shows("\nhermes: detached; it goes on")
		term.exits(exitCancelled)
		h.at(t).output("hermes", "execution", "cancel", "5")
	})
	t.Run("an interrupt ends logs -f", func(t *testing.T) {
		started := h.at(t).output("hermes", "function", "run", "sh", "-a", "-j", "-f", "sleep.sh")
		if !strings.Contains(started, `"runID": 6`) {
			t.Fatal(started)
		}
		term := h.at(t).terminal("hermes", "execution", "logs", "6", "-f")
		term.shows("started")
		term.types(interrupt)
		term.exits(exitCancelled)
		h.at(t).output("hermes", "execution", "cancel", "6")
	})
	t.Run("a dialogue", func(t *testing.T) { testDialogue(t, h.at(t)) })
	t.Run("colour on a terminal only", func(t *testing.T) { testColour(t, h.at(t)) })
}

// testDialogue talks to a shell: it asks, is answered, and asks again.
func testDialogue(t *testing.T, h *home) {
	term := h.terminal("hermes", "function", "run", "sh", "-i")
	term.types("echo colour $((0+1))?; read c; echo $c, number?; read n; echo $c-$n.\r")
	term.shows("colour 1?")
	term.types("blue\r")
	term.shows("blue, number?")
	term.types(interrupt)
	term.shows("c: cancel it, d: detach")
	term.types("\r")
	term.shows("hermes: watching on")
	term.types("7\r")
	term.shows("blue-7.")
	term.types("exit $((2+3))\r")
	term.exits(5)
	if out := h.output("hermes", "execution", "inspect", "7"); !strings.Contains(out, "\nin:\necho colour") || !strings.Contains(out, "\nblue\n7\nexit") {
		t.Errorf("inspected %s", out)
	}
	term = h.terminal("hermes", "function", "run", "sh", "-i")
	term.types("cat > /dev/null; echo $((40+2)) read\r")
	term.types("\x04")
	term.shows("42 read")
	term.exits(0)
	term = h.terminal("hermes", "function", "run", "sh", "-i")
	term.types("echo st''arted; cat\r")
	term.shows("started")
	term.types(interrupt)
	term.shows("c: cancel it, d: detach")
	term.types("c\r")
	term.shows("it is being cancelled")
	term.exits(exitCancelled)
}

func testColour(t *testing.T, h *home) {
	colourful := h.at(t)
	colourful.env = append(colourful.env, "TERM=xterm")
	term := colourful.terminal("hermes", "function", "list")
	term.shows("\x1b[32mready\x1b[0m")
	term.exits(0)
	colourful.env = append(colourful.env, "NO_COLOR=1")
	term = colourful.terminal("hermes", "function", "list")
	term.shows("ready")
	term.exits(0)
	if strings.Contains(term.text(), "\x1b[3") {
		t.Errorf("colour in spite of NO_COLOR: %q", term.text())
	}
	if out := h.at(t).output("hermes", "function", "list"); strings.Contains(out, "\x1b") {
		t.Errorf("colour in a pipe: %q", out)
	}
}

// at is the same home, reporting to another test.
func (h *home) at(t *testing.T) *home {
	return &home{t: t, dir: h.dir, env: h.env}
}
