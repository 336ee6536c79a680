package instance_test

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/jsm.go/natscontext"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/projections/executions"
	"github.com/hermes-serverless/hermes/services/api"
	"github.com/hermes-serverless/hermes/services/hermesd/instance"
)

// past looks at an instance as it was, and ends that when the test does.
func past(t *testing.T, dir string, in *instance.Instance, until time.Time) (contexts []string, stop func() error) {
	t.Helper()
	js, err := jetstream.New(operate(t, dir, in))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ready, done := make(chan []string, 1), make(chan error, 1)
	go func() {
		done <- instance.Replay(ctx, instance.ReplayOptions{
			Source: js, Until: until, Parent: dir, Version: "0.0.1", Log: slog.New(slog.NewTextHandler(t.Output(), nil)),
			Ready: func(contexts []string, _ int) { ready <- contexts },
		})
	}()
	select {
	case contexts = <-ready:
	case err := <-done:
		t.Fatalf("it ended with %v", err)
	}
	return contexts, func() error { cancel(); return <-done }
}

func TestThePastIsLookedAtAndNotChanged(t *testing.T) {
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	dir := t.TempDir()
	in := start(t, dir)
	defer func() {
		if err := in.Stop(); err != nil {
			t.Error(err)
		}
	}()
	c := client(t, dir, in)
	deploy(ctx, t, c, echo)
	first, second := api.NewID(), api.NewID()
	if err := run(ctx, c, first); err != nil {
		t.Fatal(err)
	}
	wait(ctx, t, c, first)
	if err := run(ctx, c, second); err != nil {
		t.Fatal(err)
	}
	until := wait(ctx, t, c, second).StartedAt // it had not ended
	if _, err := api.Call[api.Functions](ctx, c, api.OpFunctionDelete, api.FunctionDelete{Name: "hello", Version: "1.0.0"}); err != nil {
		t.Fatal(err)
	}

	letGo(ctx, t, operate(t, dir, in)) // the past has views of its own
	contexts, stop := past(t, dir, in, until)
	if want := []string{"hermes-past-operator", "hermes-past-ana"}; !slices.Equal(contexts, want) {
		t.Fatalf("the contexts are %q", contexts)
	}
	others, stopOther := past(t, dir, in, until)
	if want := []string{"hermes-past2-operator", "hermes-past2-ana"}; !slices.Equal(others, want) {
		t.Errorf("the contexts of another replay beside it are %q", others)
	}
	if err := stopOther(); err != nil {
		t.Errorf("the other ended with %v", err)
	}
	nc, err := natscontext.Connect("hermes-past-ana", nats.Name("test"))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	then := api.NewClient(nc, "ana")
	listed, err := api.Call[api.Executions](ctx, then, api.OpExecutionList, api.ExecutionList{})
	if err != nil || len(listed.Executions) != 3 || listed.Executions[0].ID != second || listed.Executions[0].Status != executions.Running ||
		listed.Executions[1].Status != executions.Success || listed.Executions[1].Number != 2 {
		t.Errorf("listed are %+v, %v", listed.Executions, err)
	}
	rows, err := api.Call[api.Functions](ctx, then, api.OpFunctionList, api.FunctionList{})
	if err != nil || len(rows.Functions) != 1 || rows.Functions[0].Status != "ready" {
		t.Errorf("the functions are %+v, %v", rows, err)
	}
	if h, err := api.Call[api.History](ctx, then, api.OpExecutionHistory, api.ExecutionRef{ID: second}); err != nil || len(h.Events) != 2 {
		t.Errorf("the second's history is %+v, %v", h, err)
	}
	page, _, err := then.Output(ctx, api.ExecutionOutput{ExecutionRef: api.ExecutionRef{ID: first}})
	if err != nil || page.Gone == nil || page.Gone.Why != "output is not replayed, the instance itself may have it" {
		t.Errorf("the first's output is %+v, %v", page, err)
	}
	for op, ask := range map[string]any{
		api.OpRun:             api.Run{ID: api.NewID(), Function: events.FunctionRef{Name: "hello"}},
		api.OpRerun:           api.Rerun{ID: api.NewID(), Of: api.ExecutionRef{ID: first}},
		api.OpExecutionCancel: api.ExecutionRef{ID: second},
		api.OpFunctionDelete:  api.FunctionDelete{Name: "hello", Version: "1.0.0"},
		api.OpFunctionDeploy:  api.FunctionDeploy{},
		api.OpFunctionBuild:   api.FunctionBuild{},
		api.OpBlobBegin:       api.BlobBegin{},
		api.OpExecutionInput:  api.ExecutionInput{},
	} {
		_, err := api.Call[map[string]any](ctx, then, op, ask)
		if e, ok := api.AsError(err); !ok || e.Name != api.ReadOnlyErr {
			t.Errorf("%s in the past: %v", op, err)
		}
	}
	nc.Close()
	if err := stop(); err != nil {
		t.Errorf("it ended with %v", err)
	}
	for _, name := range slices.Concat(contexts, others) {
		if natscontext.IsKnown(name) {
			t.Errorf("it leaves the context %s", name)
		}
	}
	if left, err := filepath.Glob(filepath.Join(dir, "hermes-replay-*")); err != nil || len(left) != 0 {
		t.Errorf("it leaves %q, %v", left, err)
	}
	if _, err := os.Stat(filepath.Join(dir, "data")); err != nil {
		t.Error(err)
	}
	// The instance itself has not noticed.
	if e := wait(ctx, t, c, second); e.Status != executions.Success {
		t.Errorf("the second is %s now", e.Status)
	}
}
