package instance_test

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/services/api"
	"github.com/hermes-serverless/hermes/services/hermesd/backup"
	"github.com/hermes-serverless/hermes/services/hermesd/instance"
)

// operate connects as the operator.
func operate(t *testing.T, dir string, in *instance.Instance) *nats.Conn {
	t.Helper()
	sign, err := nats.NkeyOptionFromSeed(filepath.Join(dir, "data", "keys", "operator.nk"))
	if err != nil {
		t.Fatal(err)
	}
	nc, err := nats.Connect(in.URL(), sign)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return nc
}

func makeBackup(ctx context.Context, t *testing.T, dir string, in *instance.Instance) string {
	t.Helper()
	files, err := instance.SecretFiles(filepath.Join(dir, "data"))
	if err != nil {
		t.Fatal(err)
	}
	to := filepath.Join(t.TempDir(), "backup")
	m, err := backup.Make(ctx, backup.Options{
		Conn: operate(t, dir, in), Dir: to, Files: files, Version: "0.0.1", Now: time.Now, Progress: func(backup.Stream) {},
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(m.Streams) < 10 || len(m.Files) < len(m.Streams)*2+len(files) {
		t.Fatalf("it has %d streams and %d files", len(m.Streams), len(m.Files))
	}
	return to
}

func restore(t *testing.T, from, dir string, overwrite bool) error {
	t.Helper()
	data, err := instance.OpenDataDir(filepath.Join(dir, "data"))
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	_, err = instance.Restore(t.Context(), instance.RestoreOptions{
		Backup: from, Data: data, Overwrite: overwrite, Log: log, Progress: func(backup.Stream) {},
	})
	return err
}

func verified(ctx context.Context, t *testing.T, nc *nats.Conn) {
	t.Helper()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range instance.Projectors(js, instance.OpenLogs(js), slog.New(slog.DiscardHandler)) {
		if found, err := p.Verify(ctx); err != nil || len(found) != 0 {
			t.Errorf("%s: %v, %v", p.Bucket(), found, err)
		}
	}
}

var echo = map[string]string{
	"hermes.config.json": `{"functionName":"hello","language":"cpp","gpuCapable":false,"scope":"public","functionVersion":"1.0.0","handler":"./run.sh"}`,
	"Makefile":           "all:\n\t@true\nclean:\n\t@true\n",
	"run.sh":             "#!/bin/sh\ncat\n",
}

func run(ctx context.Context, c *api.Client, id string) error {
	_, err := api.Call[api.Accepted](ctx, c, api.OpRun, api.Run{
		ID: id, Function: events.FunctionRef{Name: "hello"}, Input: events.Input{Inline: []byte(id)},
	})
	return err
}

// loadOn runs the function all the time until it is stopped, and returns how many runs were accepted.
func loadOn(ctx context.Context, t *testing.T, c *api.Client) (stop func() int) {
	t.Helper()
	ctx, cancel := context.WithCancel(ctx)
	var work sync.WaitGroup
	var mu sync.Mutex
	n := 0
	for range 4 {
		work.Go(func() {
			for ctx.Err() == nil {
				id := api.NewID()
				if err := run(ctx, c, id); err != nil {
					continue
				}
				_, _ = api.Call[api.Execution](ctx, c, api.OpExecutionWait, api.ExecutionWait{ExecutionRef: api.ExecutionRef{ID: id}, WaitMillis: 1000})
				mu.Lock()
				n++
				mu.Unlock()
			}
		})
	}
	return func() int { cancel(); work.Wait(); return n }
}

// TestABackupOfABusyInstanceIsOne: what was accepted before is there, with its output; the views are
// right; ids, numbers and keys go on.
func TestABackupOfABusyInstanceIsOne(t *testing.T) {
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	dir := t.TempDir()
	in := start(t, dir)
	c := client(t, dir, in)
	deploy(ctx, t, c, echo)
	var before []string
	for range 20 {
		id := api.NewID()
		if err := run(ctx, c, id); err != nil {
			t.Fatal(err)
		}
		before = append(before, id)
	}
	wait(ctx, t, c, before[0])
	letGo(ctx, t, operate(t, dir, in))
	stop := loadOn(ctx, t, c)
	from := makeBackup(ctx, t, dir, in)
	if n := stop(); n == 0 {
		t.Error("the instance was not busy meanwhile")
	}
	if err := in.Stop(); err != nil {
		t.Fatal(err)
	}

	scratch := t.TempDir()
	if err := restore(t, from, scratch, false); err != nil {
		t.Fatal(err)
	}
	in = start(t, scratch)
	defer func() {
		if err := in.Stop(); err != nil {
			t.Error(err)
		}
	}()
	c = client(t, scratch, in)
	last := int64(0)
	for i, id := range before {
		e := wait(ctx, t, c, id)
		if e.Number != int64(i)+2 { // the build was the first
			t.Errorf("execution %d has the number %d", i, e.Number)
		}
		last = e.Number
	}
	first := wait(ctx, t, c, before[0])
	if page, chunks, err := c.Output(ctx, api.ExecutionOutput{ExecutionRef: api.ExecutionRef{ID: before[0]}}); err != nil ||
		len(chunks) != 1 || string(chunks[0].Data) != before[0] || page.End == nil || first.ExitCode != 0 {
		t.Errorf("the first's output is %+v, %v", page, err)
	}
	listed, err := api.Call[api.Executions](ctx, c, api.OpExecutionList, api.ExecutionList{Limit: 1})
	if err != nil || len(listed.Executions) != 1 || listed.Executions[0].Number < last {
		t.Fatalf("%+v, %v", listed, err)
	}
	id := api.NewID()
	if err := run(ctx, c, id); err != nil {
		t.Fatal(err)
	}
	if e := wait(ctx, t, c, id); e.Number != listed.Executions[0].Number+1 || e.ExitCode != 0 {
		t.Errorf("the next is %d behind %d, and exits with %d (%s)", e.Number, listed.Executions[0].Number, e.ExitCode, e.Message)
	}
	if h, err := api.Call[api.History](ctx, c, api.OpExecutionHistory, api.ExecutionRef{ID: before[0]}); err != nil || len(h.Events) != 3 {
		t.Errorf("the first's history is %+v, %v", h, err)
	}
	verified(ctx, t, operate(t, scratch, in))
}

// TestOnlyAWholeBackupIsRestored, and only where nothing is, unless it is told to.
func TestOnlyAWholeBackupIsRestored(t *testing.T) {
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	dir := t.TempDir()
	in := start(t, dir)
	c := client(t, dir, in)
	deploy(ctx, t, c, echo)
	from := makeBackup(ctx, t, dir, in)
	if _, err := backup.Make(ctx, backup.Options{Dir: from, Now: time.Now}); !errors.Is(err, backup.ErrNotEmpty) {
		t.Errorf("a second backup into one folder: %v", err)
	}
	id := api.NewID()
	if err := run(ctx, c, id); err != nil {
		t.Fatal(err)
	}
	wait(ctx, t, c, id)
	if err := in.Stop(); err != nil {
		t.Fatal(err)
	}
	if err := filepath.WalkDir(from, func(path string, entry os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err == nil && info.Mode().Perm()&0o077 != 0 {
			t.Errorf("others may read %s: %s", path, info.Mode())
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}

	if err := restore(t, from, dir, false); !errors.Is(err, instance.ErrOccupied) {
		t.Fatalf("over the instance: %v", err)
	}
	for name, damage := range map[string]func(file string) error{
		"streams/HERMES_EXECUTIONS/stream.arc.s2": func(file string) error {
			raw, err := os.ReadFile(file)
			if err != nil {
				return err
			}
			raw[len(raw)/2] ^= 1
			return os.WriteFile(file, raw, 0o600)
		},
		"files/keys/services.nk":           os.Remove,
		"streams/HERMES_USERS/backup.json": func(file string) error { return os.Truncate(file, 10) },
		"manifest.json":                    os.Remove,
	} {
		bad := filepath.Join(t.TempDir(), "bad")
		if err := os.CopyFS(bad, os.DirFS(from)); err != nil {
			t.Fatal(err)
		}
		if err := damage(filepath.Join(bad, name)); err != nil {
			t.Fatal(err)
		}
		err := restore(t, bad, dir, true)
		if !errors.Is(err, backup.ErrDamaged) && !errors.Is(err, backup.ErrNoBackup) || !strings.Contains(err.Error(), name) {
			t.Errorf("with %s damaged: %v", name, err)
		}
	}
	// Nothing of that has touched the instance, which has one run more than the backup.
	in = start(t, dir)
	if e := wait(ctx, t, client(t, dir, in), id); e.Number != 2 {
		t.Errorf("the run has the number %d", e.Number)
	}
	if err := in.Stop(); err != nil {
		t.Fatal(err)
	}
	if err := restore(t, from, dir, true); err != nil {
		t.Fatal(err)
	}
	in = start(t, dir)
	defer func() {
		if err := in.Stop(); err != nil {
			t.Error(err)
		}
	}()
	_, err := api.Call[api.Execution](ctx, client(t, dir, in), api.OpExecutionInspect, api.ExecutionRef{ID: id})
	if !api.IsKind(err, api.NotFound) {
		t.Errorf("what came after the backup: %v", err)
	}
}
