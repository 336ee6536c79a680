package instance_test

import (
	"errors"
	"path/filepath"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/hermes-serverless/hermes/services/api"
	"github.com/hermes-serverless/hermes/services/hermesd/instance"
)

// as connects with one of the instance's keys. What the server refuses comes out of the channel.
func as(t *testing.T, dir string, in *instance.Instance, key, inbox string) (*nats.Conn, <-chan error) {
	t.Helper()
	sign, err := nats.NkeyOptionFromSeed(filepath.Join(dir, "data", "keys", key+".nk"))
	if err != nil {
		t.Fatal(err)
	}
	refused := make(chan error, 100)
	options := []nats.Option{sign, nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
		select {
		case refused <- err:
		default: // nobody counts them
		}
	})}
	if inbox != "" {
		options = append(options, nats.CustomInboxPrefix(inbox))
	}
	nc, err := nats.Connect(in.URL(), options...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return nc, refused
}

func expectRefusal(t *testing.T, what string, nc *nats.Conn, refused <-chan error, do func() error) {
	t.Helper()
	if err := errors.Join(do(), nc.Flush()); err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	select {
	case err := <-refused:
		if !errors.Is(err, nats.ErrPermissionViolation) {
			t.Errorf("%s: %v", what, err)
		}
	case <-time.After(10 * time.Second):
		t.Errorf("%s was not refused", what)
	}
}

// TestUserIsConfined: what holds whatever a user's client does. It is the configuration that the
// server enforces that is tested, with a plain client.
func TestUserIsConfined(t *testing.T) {
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
	dir := t.TempDir()
	in := start(t, dir)
	defer func() {
		if err := in.Stop(); err != nil {
			t.Error(err)
		}
	}()
	user, refused := as(t, dir, in, "user", api.InboxPrefix("ana"))
	for _, subject := range []string{"hermes.output.>", "hermes.output.local.bob.>", "hermes.execution.>", "$KV.>", ">", "_INBOX.>", "hermes.api.>"} {
		expectRefusal(t, "to hear "+subject, user, refused, func() error { _, err := user.SubscribeSync(subject); return err })
	}
	for _, subject := range []string{
		"hermes.api.bob.info", "hermes.execution.0.ana.X", "hermes.function.ana.x", "hermes.watch.local.claim",
		"hermes.output.local.ana.X", "hermes.run.local.X", "$JS.API.INFO", "$KV.hermes_executions.checkpoint", "$O.hermes_blobs.M.x",
	} {
		expectRefusal(t, "to publish on "+subject, user, refused, func() error { return user.Publish(subject, []byte("{}")) })
	}
	if _, err := api.Call[api.Info](t.Context(), api.NewClient(user, "ana"), api.OpInfo, api.InfoRequest{}); err != nil {
		t.Errorf("what is allowed: %v", err)
	}
}

// TestWatcherIsConfined: a watcher's key can neither write the log nor touch another watcher's queue.
func TestWatcherIsConfined(t *testing.T) {
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
	dir := t.TempDir()
	in := start(t, dir)
	defer func() {
		if err := in.Stop(); err != nil {
			t.Error(err)
		}
	}()
	watcher, refused := as(t, dir, in, "watcher", instance.WatcherInbox("local"))
	for _, subject := range []string{
		"hermes.execution.0.ana.X", "hermes.function.ana.x", "hermes.watcher.local", "hermes.watch.other.claim", "hermes.output.other.ana.X",
		"$KV.hermes_executions.checkpoint", "$KV.hermes_leases.watcher.other", "$KV.hermes_leases.leader.orchestrator",
		"hermes.run.local.ana.X", "hermes.api.ana.info", "$O.hermes_blobs.M.x", "$O.hermes_blobs.C.x", "$JS.API.INFO",
		"$JS.API.STREAM.DELETE.HERMES_EXECUTIONS", "$JS.API.STREAM.PURGE.HERMES_RUNS", "$JS.API.CONSUMER.CREATE.OBJ_hermes_blobs.x",
		"$JS.API.CONSUMER.MSG.NEXT.HERMES_RUNS.watcher-other", "$JS.ACK.HERMES_RUNS.watcher-other.1.1.1.1.0",
		"HERMES.API.STREAM.PURGE.OBJ_hermes_blobs", "HERMES.API.CONSUMER.CREATE.OBJ_hermes_blobs.x", "HERMES.API.$KV.hermes_leases.watcher.other",
	} {
		expectRefusal(t, "to publish on "+subject, watcher, refused, func() error { return watcher.Publish(subject, []byte("{}")) })
	}
	for _, subject := range []string{"hermes.>", "hermes.cancel.other", "hermes.run.other.>", "hermes.output.>", "_INBOX.>", ">"} {
		expectRefusal(t, "to hear "+subject, watcher, refused, func() error { _, err := watcher.SubscribeSync(subject); return err })
	}
}
