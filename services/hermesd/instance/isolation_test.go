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
	options := []nats.Option{sign, nats.Timeout(time.Minute), nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
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

// confined is what somebody may neither hear nor say.
type confined struct{ hears, says []string }

// confinedUser is what the user of this name may not. TestWhatConfines shows that each of these succeeds
// where the permissions, or the account, are not those of a user.
func confinedUser(name string) confined {
	return confined{
		hears: []string{
			"hermes.output.>", "hermes.output.*.*.>", "hermes.output.*.*.*", "hermes.output.local.zoe.>", "hermes.output.local.zoe.X", "hermes.output.local.>",
			"hermes.execution.>", "hermes.function.>", "hermes.user.>", "hermes.audit.>", "hermes.archive.>", "hermes.run.>", "hermes.cancel.>", "hermes.input.>", "hermes.stale.>", "hermes.watch.>", "hermes.queue.>", "hermes.>",
			"$KV.>", "$O.>", ">", "*", "*.>", "_INBOX.>", "_INBOX_zoe.>", "_INBOX_*.>", "_INBOX_login.>", "_INBOX_watcher_local.>", "_INBOX_system.>",
			"hermes.api.>", "hermes.api." + name + ".>", "hermes.api.zoe.>", "hermes.login.>", "hermes.admin.>", "$SYS.>", "$SYS.REQ.USER.AUTH", "$JS.>", "$JS.EVENT.ADVISORY.>", "$JS.ACK.>", "$SRV.>",
		},
		says: []string{
			"hermes.api.zoe.info", "hermes.api.zoe.execution.run", "hermes.api.zoe.execution.rerun", "hermes.api.zoe.execution.list", "hermes.api.zoe.execution.inspect", "hermes.api.zoe.execution.output",
			"hermes.api.zoe.execution.cancel", "hermes.api.zoe.execution.history", "hermes.api.zoe.execution.files", "hermes.api.zoe.events", "hermes.api.zoe.keys.list", "hermes.api.zoe.keys.revoke", "hermes.api.zoe.unregister",
			"hermes.api.zoe.password.change", "hermes.api.zoe.function.deploy", "hermes.api.zoe.function.delete", "hermes.api.zoe.blob.begin", "hermes.api.zoe.upload.X.Y", "hermes.api.zoe.quota", "hermes.api.zoe.execution.input",
			"hermes.execution.0." + name + ".X", "hermes.execution.0.zoe.X", "hermes.function." + name + ".x", "hermes.function.zoe.x", "hermes.user." + name, "hermes.user.zoe", "hermes.archive." + name + ".209901",
			"hermes.audit.login_failed", "hermes.watcher.local", "hermes.base.gcc", "hermes.watch.local.claim", "hermes.watch.local.report", "hermes.output.local." + name + ".X", "hermes.run.local.X", "hermes.run.local." + name + ".X",
			"hermes.cancel.local", "hermes.input.local", "hermes.stale.local", "hermes.login.X.login", "hermes.queue.leader.position", "hermes.admin." + name + ".user.list", "hermes.admin.root.user.add", "hermes.admin.root.watcher.drain",
			"$JS.API.INFO", "$JS.API.STREAM.NAMES", "$JS.API.STREAM.CREATE.X", "$JS.API.STREAM.INFO.HERMES_OUTPUT", "$JS.API.STREAM.DELETE.HERMES_OUTPUT", "$JS.API.STREAM.PURGE.HERMES_USERS", "$JS.API.STREAM.UPDATE.HERMES_USERS",
			"$JS.API.STREAM.MSG.GET.HERMES_OUTPUT", "$JS.API.STREAM.MSG.DELETE.HERMES_EXECUTIONS", "$JS.API.STREAM.SNAPSHOT.HERMES_USERS", "$JS.API.STREAM.RESTORE.X", "$JS.API.STREAM.LEADER.STEPDOWN.HERMES_USERS",
			"$JS.API.CONSUMER.CREATE.HERMES_OUTPUT", "$JS.API.CONSUMER.CREATE.HERMES_OUTPUT.x.hermes.output.local.zoe.X", "$JS.API.CONSUMER.NAMES.HERMES_RUNS", "$JS.API.CONSUMER.INFO.HERMES_RUNS.x", "$JS.API.CONSUMER.MSG.NEXT.HERMES_RUNS.x",
			"$JS.API.CONSUMER.DELETE.HERMES_RUNS.x", "$JS.API.CONSUMER.PAUSE.HERMES_RUNS.x", "$JS.ACK.HERMES_RUNS.x.1.1.1.1.0", "$JS.FC.HERMES_RUNS.x.y",
			"$JS.API.DIRECT.GET.KV_hermes_secrets.X", "$JS.API.DIRECT.GET.KV_hermes_secrets", "$JS.API.DIRECT.GET.OBJ_hermes_blobs", "$JS.API.DIRECT.GET.OBJ_hermes_blobs.$O.hermes_blobs.M.x", "$JS.API.DIRECT.GET.HERMES_OUTPUT",
			"$KV.hermes_executions.checkpoint", "$KV.hermes_secrets.password.X", "$KV.hermes_leases.leader.orchestrator", "$O.hermes_blobs.M.x", "$O.hermes_blobs.C.x", "HERMES.API.DIRECT.GET.OBJ_hermes_blobs",
			"$SRV.PING", "$SYS.REQ.USER.AUTH", "$SYS.REQ.SERVER.PING", "$SYS.REQ.SERVER.X.KICK", "$SYS.REQ.ACCOUNT.PING.CONNZ", "_INBOX_zoe.X", "_INBOX_watcher_local.X", "_INBOX_login_X.Y",
		},
	}
}

// confinedGuest is what somebody may not who has not logged in. other is another guest's key.
func confinedGuest(own, other string) confined {
	return confined{
		hears: []string{
			">", "hermes.>", "_INBOX.>", "_INBOX_bob.>", "_INBOX_login.>", "_INBOX_login_*.>", api.LoginInbox(other) + ".>",
			"hermes.output.>", "hermes.login.>", api.LoginSubject(own, ">"), "$SYS.>",
		},
		says: []string{
			"hermes.api.bob.info", "hermes.api.login.info", api.LoginSubject(other, api.OpLogin), "hermes.admin.root.user.list",
			"hermes.user.bob", "$JS.API.INFO", "$SYS.REQ.USER.AUTH", "$SYS.REQ.SERVER.PING", "$KV.hermes_secrets.x", api.LoginInbox(other) + ".x",
		},
	}
}

// confinedWatcher is what the watcher of this name may not: write the log, or touch what is another's.
func confinedWatcher(name string) confined {
	return confined{
		hears: []string{
			"hermes.>", "hermes.cancel.other", "hermes.cancel.*", "hermes.input.other", "hermes.stale.other", "hermes.stale.*", "hermes.stale.>",
			"hermes.function.>", "hermes.function.*.*", "hermes.function.ana.*", "hermes.function.ana.hello", "hermes.base.>", "hermes.watcher.>", "hermes.archive.>", "hermes.audit.>", "hermes.run.other.>", "hermes.run.*.>", "hermes.run.>", "hermes.output.>", "hermes.output.other.>", "hermes.execution.>", "hermes.user.>", "hermes.watch.>",
			"hermes.login.>", "hermes.api.>", "_INBOX.>", "_INBOX_watcher_other.>", "_INBOX_*.>", "$KV.>", "$O.>", "$JS.>", "$SYS.>", ">",
		},
		says: []string{
			"hermes.execution.0.ana.X", "hermes.function.ana.x", "hermes.watcher." + name, "hermes.user.ana", "hermes.audit.operator_acted", "hermes.watch.other.claim", "hermes.watch.other.report", "hermes.watch.other.hello", "hermes.watch.other.leave",
			"hermes.output.other.ana.X", "$KV.hermes_executions.checkpoint", "$KV.hermes_leases.watcher.other", "$KV.hermes_leases.leader.orchestrator", "$KV.hermes_secrets.password.X",
			"hermes.run." + name + ".ana.X", "hermes.run.other.ana.X", "hermes.cancel.other", "hermes.input.other", "hermes.stale." + name, "hermes.stale.other", "hermes.api.ana.info", "hermes.admin.root.user.list", "hermes.login.X.login", "hermes.queue.leader.position",
			"$O.hermes_blobs.M.x", "$O.hermes_blobs.C.x", "$JS.API.INFO", "$JS.API.STREAM.DELETE.HERMES_EXECUTIONS", "$JS.API.STREAM.PURGE.HERMES_RUNS", "$JS.API.STREAM.MSG.GET.HERMES_RUNS",
			"$JS.API.CONSUMER.CREATE.OBJ_hermes_blobs.x", "$JS.API.CONSUMER.CREATE.HERMES_RUNS.x", "$JS.API.CONSUMER.MSG.NEXT.HERMES_RUNS.watcher-other", "$JS.API.DIRECT.GET.HERMES_RUNS", "$JS.API.DIRECT.GET.KV_hermes_secrets",
			"$JS.ACK.HERMES_RUNS.watcher-other.1.1.1.1.0", "HERMES.API.STREAM.PURGE.OBJ_hermes_blobs", "HERMES.API.CONSUMER.CREATE.OBJ_hermes_blobs.x", "HERMES.API.$KV.hermes_leases.watcher.other",
			"HERMES.API.STREAM.INFO.KV_hermes_leases", "HERMES.API.DIRECT.GET.KV_hermes_leases", "HERMES.API.DIRECT.GET.KV_hermes_leases.$KV.hermes_leases.watcher.other",
			"HERMES.API.DIRECT.GET.KV_hermes_leases.$KV.hermes_leases.leader.orchestrator", "HERMES.API.CONSUMER.CREATE.HERMES_FUNCTIONS.x", "HERMES.API.DIRECT.GET.HERMES_FUNCTIONS", "HERMES.API.DIRECT.GET.KV_hermes_functions",
			"HERMES.API.STREAM.INFO.OBJ_hermes_blobs", "HERMES.API.DIRECT.GET.OBJ_hermes_blobs", "HERMES.API.DIRECT.GET.OBJ_hermes_blobs.$O.hermes_blobs.M.x", "HERMES.API.DIRECT.GET.OBJ_hermes_blobs.$O.hermes_blobs.C.x",
			"$JS.API.STREAM.INFO.OBJ_hermes_blobs", "$JS.API.DIRECT.GET.OBJ_hermes_blobs", "$JS.API.DIRECT.GET.OBJ_hermes_blobs.$O.hermes_blobs.M.x", "$JS.API.STREAM.MSG.GET.OBJ_hermes_blobs",
			"hermes.watch.other.blob.read", "hermes.watch.other.blob.stat", "HERMES.API.DIRECT.GET.HERMES_RUNS", "HERMES.API.DIRECT.GET.KV_hermes_secrets", "_INBOX_watcher_other.X",
		},
	}
}

// check probes what is not allowed.
func (c confined) check(t *testing.T, who string, nc *nats.Conn, refused <-chan error) {
	t.Helper()
	f := found{probes: len(c.hears) + len(c.says)}
	for _, subject := range c.hears {
		if !isRefused(t, who+" hears "+subject, nc, refused, func() error { _, err := nc.SubscribeSync(subject); return err }) {
			f.leaks++
		}
	}
	for _, subject := range c.says {
		if !isRefused(t, who+" publishes on "+subject, nc, refused, func() error { return nc.Publish(subject, []byte("{}")) }) {
			f.forged++
		}
	}
	count(t, f)
	t.Logf("%s: %d probes", who, f.probes)
}

func isRefused(t *testing.T, what string, nc *nats.Conn, refused <-chan error, do func() error) bool {
	t.Helper()
	if err := errors.Join(do(), nc.Flush()); err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	select {
	case err := <-refused:
		if errors.Is(err, nats.ErrPermissionViolation) {
			return true
		}
		t.Errorf("%s: %v", what, err)
	case <-time.After(time.Minute):
		t.Errorf("%s, and is not refused", what)
	}
	return false
}

// checkConfined probes what a user may not hear and say, and tries what they may.
func checkConfined(t *testing.T, user *nats.Conn, refused <-chan error, name string) {
	t.Helper()
	confinedUser(name).check(t, name, user, refused)
	info, err := api.Call[api.Info](t.Context(), api.NewClient(user, name), api.OpInfo, api.InfoRequest{})
	if err != nil || info.User != name {
		t.Errorf("what is allowed: %+v, %v", info, err)
	}
}

// checkConfiguredAreConfined: what holds whatever the clients do of those whose keys are in the
// configuration. It is what the server enforces that is tested, with a plain client.
func checkConfiguredAreConfined(t *testing.T, p place) {
	user, refused := as(t, p, "user", api.InboxPrefix("ana"))
	checkConfined(t, user, refused, "ana")
	watcher, refused := as(t, p, "watcher", instance.WatcherInbox("local"))
	confinedWatcher("local").check(t, "the watcher", watcher, refused)
}

// checkRegisteredAreConfined: who registered may do what the user of the configuration may, and who has
// not logged in may log in.
func checkRegisteredAreConfined(t *testing.T, p place) {
	dora := registered(t, p, "dora").connect(t, p, "dora")
	checkConfined(t, dora.Conn(), dora.refused, "dora")
	i, other := newIdentity(t), newIdentity(t)
	guest, refused := connectAs(t, p, api.Guest(i.public, i.pair.Sign), "")
	confinedGuest(i.public, other.public).check(t, "a guest", guest, refused)
}
