package instance_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/projections/executions"
	"github.com/hermes-serverless/hermes/services/api"
	"github.com/hermes-serverless/hermes/services/bundle"
	"github.com/hermes-serverless/hermes/services/hermesd/instance"
	"github.com/hermes-serverless/hermes/services/watcher/fake"
)

func start(t *testing.T, dir string) *instance.Instance {
	t.Helper()
	return startWith(t, dir, func(*instance.Options) {})
}

func startWith(t *testing.T, dir string, change func(*instance.Options)) *instance.Instance {
	t.Helper()
	data, err := instance.OpenDataDir(filepath.Join(dir, "data"))
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	options := instance.Options{
		Data: data, Listen: "127.0.0.1:0", Sync: "1m", Slots: 4, Warm: instance.DefaultWarm, Runtime: fake.New(filepath.Join(dir, "fake")),
		User: "ana", Version: api.Version, Log: log, StopGrace: time.Second,
	}
	change(&options)
	in, err := instance.Start(t.Context(), options)
	if err != nil {
		t.Fatal(err)
	}
	return in
}

func client(t *testing.T, dir string, in *instance.Instance) *api.Client {
	t.Helper()
	sign, err := nats.NkeyOptionFromSeed(filepath.Join(dir, "data", "keys", "user.nk"))
	if err != nil {
		t.Fatal(err)
	}
	nc, err := nats.Connect(in.URL(), sign, nats.Timeout(time.Minute), nats.CustomInboxPrefix(api.InboxPrefix("ana")))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return api.NewClient(nc, "ana")
}

func deploy(ctx context.Context, t *testing.T, c *api.Client, files map[string]string) api.Deployed {
	t.Helper()
	return deployOver(ctx, t, c, files, false)
}

// deployOver may replace the version.
func deployOver(ctx context.Context, t *testing.T, c *api.Client, files map[string]string, update bool) api.Deployed {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	var archive bytes.Buffer
	blob, err := bundle.Pack(ctx, dir, &archive)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Upload(ctx, blob, &archive, nil); err != nil {
		t.Fatal(err)
	}
	id := api.NewID()
	deployed, err := api.Call[api.Deployed](ctx, c, api.OpFunctionDeploy, api.FunctionDeploy{Bundle: blob, Build: id, Update: update})
	if err != nil {
		t.Fatal(err)
	}
	if deployed.Reused {
		return deployed
	}
	if ended := wait(ctx, t, c, id); ended.Status != executions.Success {
		t.Fatalf("the build ended %s: %s %s", ended.Status, ended.Reason, ended.Message)
	}
	rows, err := api.Call[api.Functions](ctx, c, api.OpFunctionInspect, api.FunctionInspect{Name: deployed.Function.Name, Version: deployed.Function.Version, Build: id})
	if err != nil || len(rows.Functions) != 1 || rows.Functions[0].Status != "ready" {
		t.Fatalf("after the build: %+v, %v", rows, err)
	}
	return deployed
}

func wait(ctx context.Context, t *testing.T, c *api.Client, id string) api.Execution {
	t.Helper()
	for {
		e, err := api.Call[api.Execution](ctx, c, api.OpExecutionWait, api.ExecutionWait{ExecutionRef: api.ExecutionRef{ID: id}, WaitMillis: 5000})
		if err != nil {
			t.Fatal(err)
		}
		if e.Status.Final() {
			return e
		}
		t.Logf("execution %s is %s", id, e.Status)
	}
}

func TestDeployAndRun(t *testing.T) {
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	dir := t.TempDir()
	in := start(t, dir)
	c := client(t, dir, in)
	deploy(ctx, t, c, map[string]string{
		"hermes.config.json": `{"functionName":"hello","language":"cpp","gpuCapable":false,"scope":"public","functionVersion":"1.0.0","handler":"./run.sh"}`,
		"Makefile":           "all:\n\t@echo building\nclean:\n\t@true\n",
		"run.sh":             "#!/bin/sh\ncat\necho on stderr >&2\nexit 3\n",
	})

	id := api.NewID()
	live, err := c.Conn().SubscribeSync(c.OutputSubject(id))
	if err != nil {
		t.Fatal(err)
	}
	accepted, err := api.Call[api.Accepted](ctx, c, api.OpRun, api.Run{ID: id, Function: events.FunctionRef{Name: "hello"}, Input: events.Input{Inline: []byte("hi\n")}})
	if err != nil {
		t.Fatal(err)
	}
	ended := wait(ctx, t, c, id)
	if ended.Status != executions.Error || ended.ExitCode != 3 || ended.Reason != events.ReasonExit || ended.Number != 2 {
		t.Errorf("ended %s with %d (%s), number %d", ended.Status, ended.ExitCode, ended.Reason, ended.Number)
	}
	page, chunks, err := c.Output(ctx, api.ExecutionOutput{ExecutionRef: api.ExecutionRef{ID: id, MinSequence: accepted.Sequence}})
	if err != nil || page.End == nil || page.Live {
		t.Fatalf("output: %+v, %v", page, err)
	}
	got := map[string]string{}
	for _, chunk := range chunks {
		got[chunk.Stream] += string(chunk.Data)
	}
	if got[api.Stdout] != "hi\n" || got[api.Stderr] != "on stderr\n" {
		t.Errorf("output %q", got)
	}
	for heard := map[string]string{}; heard[api.Stdout] != "hi\n" || heard[api.Stderr] != "on stderr\n"; {
		m, err := live.NextMsgWithContext(ctx)
		if err != nil {
			t.Fatalf("heard as it was printed: %q, then %v", heard, err)
		}
		chunk, err := api.ParseChunk(m)
		if err != nil {
			t.Fatal(err)
		}
		heard[chunk.Stream] += string(chunk.Data)
	}
	if err := in.Stop(); err != nil {
		t.Error(err)
	}
}

func TestSecondInstanceIsRefused(t *testing.T) {
	dir := t.TempDir()
	first, err := instance.OpenDataDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	if _, err := instance.OpenDataDir(dir); !errors.Is(err, instance.ErrInUse) {
		t.Errorf("got %v", err)
	}
}

func TestNewerDataIsRefused(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "format"), []byte("99\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := instance.OpenDataDir(dir); !errors.Is(err, instance.ErrNewer) {
		t.Errorf("got %v", err)
	}
}

// TestWithoutARuntime: there is no watcher, users are answered, and it stops.
func TestWithoutARuntime(t *testing.T) {
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
	dir := t.TempDir()
	in := startWith(t, dir, func(o *instance.Options) { o.Runtime = nil })
	c := client(t, dir, in)
	if info, err := api.Call[api.Info](t.Context(), c, api.OpInfo, api.InfoRequest{}); err != nil || info.User != "ana" {
		t.Errorf("%+v, %v", info, err)
	}
	if err := in.Stop(); err != nil {
		t.Error(err)
	}
}
