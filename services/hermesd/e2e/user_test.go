package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/hermes-serverless/hermes/services/api"
)

// userName is who uses the instance of each test.
const userName = "ana"

// user is somebody with the hermes program, and a home of their own.
type user struct {
	home string
	// url and seed are the server and the file of the key, for clients.
	url, seed string
}

func newUser(t *testing.T, url, seed string) *user {
	t.Helper()
	return &user{home: t.TempDir(), url: url, seed: seed}
}

// environment of every program that a test starts for the user.
func (u *user) environment() []string {
	return []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + u.home, "XDG_CONFIG_HOME=" + u.home, "TMPDIR=" + os.TempDir(),
		"USER=" + userName, "HERMES_LIBEXEC=" + programs.libexec, "LANG=C.UTF-8",
	}
}

// writeContext writes a NATS context as hermesd up does; inbox is empty for the operator's.
func (u *user) writeContext(t *testing.T, name, seed, inbox string) {
	t.Helper()
	raw, err := json.Marshal(map[string]string{"url": u.url, "nkey": seed, "inbox_prefix": inbox})
	must(t, err)
	dir := filepath.Join(u.home, "nats", "context")
	must(t, os.MkdirAll(dir, 0o700))
	must(t, os.WriteFile(filepath.Join(dir, name+".json"), raw, 0o600))
}

// result is what a command did.
type result struct {
	stdout, stderr string
	code           int
}

// hermes runs the program to its end.
func (u *user) hermes(t testing.TB, stdin []byte, args ...string) result {
	t.Helper()
	return u.command(t, programs.hermes, stdin, args...)
}

func (u *user) command(t testing.TB, program string, stdin []byte, args ...string) result {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGQUIT) } // it says where it hangs
	cmd.WaitDelay = 5 * time.Second
	var stdout, stderr bytes.Buffer
	// A reader that is no file becomes a pipe.
	cmd.Env, cmd.Stdin, cmd.Stdout, cmd.Stderr = u.environment(), bytes.NewReader(stdin), &stdout, &stderr
	err := cmd.Run()
	if cmd.ProcessState == nil || ctx.Err() != nil {
		t.Errorf("%s %v: %v, %v\n%s", filepath.Base(program), args, err, ctx.Err(), tail(stderr.String()))
		return result{code: -1} // no FailNow: not only the test's own goroutine comes here
	}
	return result{stdout: stdout.String(), stderr: stderr.String(), code: cmd.ProcessState.ExitCode()}
}

// succeed is hermes for what must work.
func (u *user) succeed(t testing.TB, args ...string) result {
	t.Helper()
	r := u.hermes(t, nil, args...)
	if r.code != 0 {
		t.Fatalf("hermes %v: exit code %d\n%s%s", args, r.code, tail(r.stdout), tail(r.stderr))
	}
	return r
}

// start runs the program beside the test.
func (u *user) start(t testing.TB, stdin string, args ...string) *process {
	t.Helper()
	return start(t, u.environment(), bytes.NewReader([]byte(stdin)), programs.hermes, args...)
}

// connect opens a connection as the user, which outlives every death of the server.
func (u *user) connect(t *testing.T) *api.Client {
	t.Helper()
	sign, err := nats.NkeyOptionFromSeed(u.seed)
	must(t, err)
	nc, err := nats.Connect(u.url, sign, nats.CustomInboxPrefix(api.InboxPrefix(userName)),
		nats.MaxReconnects(-1), nats.ReconnectWait(50*time.Millisecond), nats.RetryOnFailedConnect(true))
	must(t, err)
	t.Cleanup(nc.Close)
	return api.NewClient(nc, userName)
}

// ask repeats a request that may be repeated while the server is away, and nothing else.
func ask[Reply any](t testing.TB, c *api.Client, op string, request any) Reply {
	t.Helper()
	reply, err := tryAsk[Reply](c, op, request)
	if err != nil {
		t.Fatalf("%s %+v: %v", op, request, err)
	}
	return reply
}

// tryAsk is ask for where a test must not be ended, as in a goroutine.
func tryAsk[Reply any](c *api.Client, op string, request any) (Reply, error) {
	var reply Reply
	err := untilAvailable(func(ctx context.Context) (err error) {
		reply, err = api.Call[Reply](ctx, c, op, request)
		return err
	})
	return reply, err
}

// untilAvailable calls until there is a server to answer: a request that was on its way when the
// server died has a named error and may be repeated.
func untilAvailable(call func(context.Context) error) error {
	for deadline := time.Now().Add(patience); ; time.Sleep(pollEvery) {
		// Long enough for a wait on the server, short enough for an answer that died with it.
		ctx, cancel := context.WithTimeout(context.Background(), 8*time.Second)
		err := call(ctx)
		cancel()
		if err == nil || !api.IsKind(err, api.Unavailable) {
			return err
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("for %s: %w", patience, err)
		}
	}
}

// await returns the ended execution.
func await(t testing.TB, c *api.Client, ref api.ExecutionRef) api.Execution {
	t.Helper()
	e, err := tryAwait(c, ref)
	must(t, err)
	return e
}

func tryAwait(c *api.Client, ref api.ExecutionRef) (api.Execution, error) {
	return tryUntil(c, ref, func(e api.Execution) bool { return e.Status.Final() })
}

// tryUntil returns the execution as soon as it is as it should be.
func tryUntil(c *api.Client, ref api.ExecutionRef, is func(api.Execution) bool) (api.Execution, error) {
	for deadline := time.Now().Add(patience); ; time.Sleep(pollEvery) {
		// The end is announced; anything else is not.
		e, err := tryAsk[api.Execution](c, api.OpExecutionWait, api.ExecutionWait{ExecutionRef: ref, WaitMillis: 50})
		if err != nil {
			return e, fmt.Errorf("wait for execution %+v: %w", ref, err)
		}
		if is(e) {
			return e, nil
		}
		if e.Status.Final() || time.Now().After(deadline) {
			return e, fmt.Errorf("execution %s is %s: %s %s", e.ID, e.Status, e.Reason, e.Message)
		}
	}
}

// output is what is stored of an execution: both streams apart, and all bytes in their order.
type output struct {
	stdout, stderr string
	all            []byte
	end            *api.OutputEnd
}

func tryOutput(c *api.Client, id string) (output, error) {
	var o output
	for ask := (api.ExecutionOutput{ExecutionRef: api.ExecutionRef{ID: id}}); ; {
		var page api.OutputPage
		var chunks []api.Chunk
		err := untilAvailable(func(ctx context.Context) (err error) {
			page, chunks, err = c.Output(ctx, ask)
			return err
		})
		if err != nil {
			return o, fmt.Errorf("output of %s from %d: %w", id, ask.From, err)
		}
		for _, chunk := range chunks {
			if chunk.Offset != int64(len(o.all)) {
				return o, fmt.Errorf("output of %s: a chunk at %d behind %d bytes", id, chunk.Offset, len(o.all))
			}
			o.all = append(o.all, chunk.Data...)
			if chunk.Stream == api.Stderr {
				o.stderr += string(chunk.Data)
			} else {
				o.stdout += string(chunk.Data)
			}
		}
		if page.End != nil || page.Next <= ask.From {
			o.end = page.End
			return o, nil
		}
		ask.From, ask.Cursor = page.Next, page.Cursor
	}
}

// decode reads the one JSON value of a command.
func decode(text string, to any) error { return json.Unmarshal([]byte(text), to) }
