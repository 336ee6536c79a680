package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/hermes-serverless/hermes/cli/follow"
	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/projections/executions"
	"github.com/hermes-serverless/hermes/services/api"
)

// hermesSettle lets the sandbox of a run be removed, and another one be made ahead.
const hermesSettle = 400 * time.Millisecond

// The probe, deployed: with a sandbox for each run, and with one for runs that follow one another.
var (
	single  = events.FunctionRef{Name: "probe", Version: "1.0.0"}
	reusing = events.FunctionRef{Name: "probe-reuse", Version: "1.0.0"}
)

// instance is a hermesd of our own and a client that keeps its connection. All it has is in a
// folder of its name.
type instance struct {
	bench  *bench
	name   string
	pid    int
	env    []string
	hermes string
	client *api.Client
}

// startInstance starts hermesd with these flags too, and deploys the probe. It returns how long
// hermesd took to be ready.
func (b *bench) startInstance(ctx context.Context, name string, flags ...string) (*instance, time.Duration, error) {
	bin, err := filepath.Abs(b.bin)
	if err != nil {
		return nil, 0, err
	}
	in := &instance{bench: b, name: name, hermes: filepath.Join(bin, "hermes")}
	in.env = append(os.Environ(), "XDG_CONFIG_HOME="+b.path(name, "config"), "XDG_STATE_HOME="+b.path(name, "state"), "HERMES_CONTEXT=")
	if os.Getenv("HERMES_LIBEXEC") == "" {
		in.env = append(in.env, "HERMES_LIBEXEC="+filepath.Join(bin, "libexec"))
	}
	if err := os.Mkdir(b.path(name), 0o711); err != nil {
		return nil, 0, err
	}
	start := time.Now()
	cmd, err := b.start(ctx, name, in.env, filepath.Join(bin, "hermesd"),
		append([]string{"up", "--data-dir", in.data(), "--listen", "127.0.0.1:0", "--grace", "1s"}, flags...)...)
	if err != nil {
		return nil, 0, err
	}
	in.pid = cmd.Process.Pid
	if err := in.ready(ctx); err != nil {
		return nil, 0, err
	}
	took := time.Since(start)
	if in.client, err = in.connect(); err != nil {
		return nil, 0, err
	}
	for _, f := range []events.FunctionRef{single, reusing} {
		deploy := exec.CommandContext(ctx, in.hermes, "function", "deploy", b.path(f.Name))
		deploy.Env = in.env
		if out, err := deploy.CombinedOutput(); err != nil {
			return nil, 0, fmt.Errorf("deploy %s: %w: %s", f.Name, err, out)
		}
	}
	return in, took, nil
}

func (in *instance) data() string { return in.bench.path(in.name, "data") }

// ready returns when hermesd has said so.
func (in *instance) ready(ctx context.Context) error {
	err := waitUntil(ctx, "hermesd", func() bool {
		return strings.Contains(text(in.bench.path(in.name+".log")), "hermesd is ready") || !alive(in.pid)
	})
	if err == nil && !alive(in.pid) {
		err = errors.New("hermesd ended")
	}
	if err != nil {
		return fmt.Errorf("%w: %s", err, in.bench.logTail(in.name))
	}
	return nil
}

// connect opens a connection as the local user.
func (in *instance) connect() (*api.Client, error) {
	client, err := in.connectAs("hermes-local")
	if err != nil {
		return nil, err
	}
	in.bench.later(func() error { client.Conn().Close(); return nil })
	return client, nil
}

// cold is the API of an instance that makes no sandboxes ahead.
func (b *bench) cold(ctx context.Context) ([]way, error) {
	in, _, err := b.startInstance(ctx, "hermesd-cold", "--warm", "0")
	if err != nil {
		return nil, err
	}
	return in.ways()[:1], nil
}

// ways are the API with a connection that is kept, first without and last with reuse, and the command,
// which starts and connects.
func (in *instance) ways() []way {
	return []way{
		{name: apiName, settle: hermesSettle, once: func(ctx context.Context) (sample, error) {
			return in.run(ctx, in.client, single)
		}},
		{name: commandName, settle: hermesSettle, once: in.runCommand},
		{name: apiName, settle: hermesSettle, once: func(ctx context.Context) (sample, error) {
			return in.run(ctx, in.client, reusing)
		}},
	}
}

// arrival notes when the first byte came.
type arrival struct {
	first time.Time
	text  strings.Builder
}

func (a *arrival) take(c api.Chunk) error {
	if a.first.IsZero() {
		a.first = time.Now()
	}
	_, err := a.text.Write(c.Data)
	return err
}

// run runs the probe once as `hermes function run` does.
func (in *instance) run(ctx context.Context, client *api.Client, function events.FunctionRef) (sample, error) {
	start := time.Now()
	ask := api.Run{ID: api.NewID(), Function: function}
	live, err := follow.Subscribe(client, ask.ID)
	if err != nil {
		return sample{}, err
	}
	defer live.Close()
	accepted, err := api.Call[api.Accepted](ctx, client, api.OpRun, ask)
	if err != nil {
		return sample{}, err
	}
	var out arrival
	e, err := follow.Follow(ctx, follow.Options{
		Source: follow.Execution{Client: client, Live: live, Ref: api.ExecutionRef{ID: ask.ID, MinSequence: accepted.Sequence}},
		Live:   live.Messages, Reconnected: live.Reconnected, After: accepted.Sequence, Write: out.take, Note: func(string, ...any) {},
	})
	if err != nil {
		return sample{}, err
	}
	s := sample{first: out.first.Sub(start), total: time.Since(start)}
	return s, s.is(e, out.text.String())
}

// is takes what the execution's events tell of it.
func (s *sample) is(e api.Execution, out string) error {
	s.sandbox, s.handler = e.Sandbox, time.Duration(e.Usage.RunMicros)*time.Microsecond
	if e.Status != executions.Success || out != printed {
		return fmt.Errorf("the run ended with %s (%s %s) and printed %q", e.Status, e.Reason, e.Message, out)
	}
	return nil
}

func (in *instance) runCommand(ctx context.Context) (sample, error) {
	s, err := in.bench.command(ctx, in.env, in.hermes, "function", "run", single.Name)
	if err != nil {
		return s, err
	}
	page, err := api.Call[api.Executions](ctx, in.client, api.OpExecutionList, api.ExecutionList{Limit: 1})
	if err != nil {
		return s, err
	}
	return s, s.is(page.Executions[0], printed)
}

// command is a run of the probe with this input, by the program.
func (in *instance) command(ctx context.Context, input string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, in.hermes, "function", "run", single.Name)
	cmd.Env, cmd.Stdin = in.env, strings.NewReader(input)
	return cmd
}

// alive says whether a child of ours runs still.
func alive(pid int) bool {
	f, err := os.Open(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	defer f.Close()
	line, _ := bufio.NewReader(f).ReadString('\n')
	_, after, _ := strings.Cut(line, ") ")
	return !strings.HasPrefix(after, "Z")
}
