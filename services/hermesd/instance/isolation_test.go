package instance_test

import (
	"errors"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/hermes-serverless/hermes/services/api"
	"github.com/hermes-serverless/hermes/services/hermesd/instance"
)

// as connects with one of the instance's keys. What the server refuses comes out of the channel.
func as(t *testing.T, p place, key, inbox string) (*nats.Conn, <-chan error) {
	t.Helper()
	sign, err := nats.NkeyOptionFromSeed(p.key(key))
	if err != nil {
		t.Fatal(err)
	}
	return connectAs(t, p, sign, inbox)
}

func connectAs(t *testing.T, p place, sign nats.Option, inbox string) (*nats.Conn, <-chan error) {
	t.Helper()
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
	nc, err := nats.Connect(p.url, options...)
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
	user, refused := as(t, placeOf(dir, in), "user", api.InboxPrefix("ana"))
	t.Logf("%d probes", checkConfined(t, user, refused, "ana"))
}

// checkConfined probes what a user may not hear and say. It returns how many probes it made.
func checkConfined(t *testing.T, user *nats.Conn, refused <-chan error, name string) int {
	t.Helper()
	hears := []string{
		"hermes.output.>", "hermes.output.*.*.>", "hermes.output.local.zoe.>", "hermes.output.local.zoe.X", "hermes.execution.>", "hermes.>", "$KV.>", ">", "*", "_INBOX.>",
		"_INBOX_zoe.>", "_INBOX_*.>", "_INBOX_login.>", "hermes.api.>", "hermes.api." + name + ".>", "hermes.login.>", "hermes.admin.>", "$SYS.>", "$SYS.REQ.USER.AUTH", "$JS.>", "$SRV.>",
	}
	for _, subject := range hears {
		expectRefusal(t, "to hear "+subject, user, refused, func() error { _, err := user.SubscribeSync(subject); return err })
	}
	says := []string{
		"hermes.api.zoe.info", "hermes.api.zoe.execution.run", "hermes.api.zoe.execution.rerun", "hermes.api.zoe.execution.history", "hermes.api.zoe.events", "hermes.api.zoe.keys.revoke", "hermes.api.zoe.unregister", "hermes.execution.0." + name + ".X", "hermes.function." + name + ".x",
		"hermes.user." + name, "hermes.audit.login_failed", "hermes.watch.local.claim", "hermes.output.local." + name + ".X", "hermes.run.local.X", "hermes.cancel.local", "hermes.input.local", "hermes.api.zoe.execution.input", "hermes.login.X.login",
		"hermes.admin." + name + ".user.list", "hermes.admin.root.user.add", "$JS.API.INFO", "$JS.API.STREAM.INFO.HERMES_OUTPUT", "$JS.API.STREAM.DELETE.HERMES_OUTPUT",
		"$JS.API.STREAM.PURGE.HERMES_USERS", "$JS.API.STREAM.UPDATE.HERMES_USERS", "$JS.API.CONSUMER.CREATE.HERMES_OUTPUT", "$JS.API.DIRECT.GET.KV_hermes_secrets.X",
		"$JS.API.DIRECT.GET.OBJ_hermes_blobs", "$KV.hermes_executions.checkpoint", "$KV.hermes_secrets.password.X", "$O.hermes_blobs.M.x",
		"$SYS.REQ.USER.AUTH", "$SYS.REQ.SERVER.PING", "$SYS.REQ.SERVER.X.KICK", "_INBOX_zoe.X",
	}
	for _, subject := range says {
		expectRefusal(t, "to publish on "+subject, user, refused, func() error { return user.Publish(subject, []byte("{}")) })
	}
	info, err := api.Call[api.Info](t.Context(), api.NewClient(user, name), api.OpInfo, api.InfoRequest{})
	if err != nil || info.User != name {
		t.Errorf("what is allowed: %+v, %v", info, err)
	}
	return len(hears) + len(says)
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
	watcher, refused := as(t, placeOf(dir, in), "watcher", instance.WatcherInbox("local"))
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
	for _, subject := range []string{"hermes.>", "hermes.cancel.other", "hermes.input.other", "hermes.run.other.>", "hermes.output.>", "_INBOX.>", ">"} {
		expectRefusal(t, "to hear "+subject, watcher, refused, func() error { _, err := watcher.SubscribeSync(subject); return err })
	}
}
