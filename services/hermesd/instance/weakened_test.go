package instance_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/events/streams"
	"github.com/hermes-serverless/hermes/events/streams/get"
	"github.com/hermes-serverless/hermes/services/api"
)

// What the attacks of this package find to be impossible is shown here to be possible, on servers from
// whose configuration a protection was taken away.

// accountsOf the configuration, in each of which somebody is whom no permission confines.
var accountsOf = []string{"USERS", "HERMES", "AUTH", "SYS"}

// mallory is somebody in each of the accounts.
type mallory map[string]identity

// letIn takes the permissions away, and with them the bounds of a user's subscriptions.
func (m mallory) letIn(conf string) string {
	member := func(account string) string { return "{ nkey: " + m[account].public + " }" }
	var keys []string
	for _, account := range accountsOf {
		keys = append(keys, m[account].public)
	}
	for _, change := range [][2]string{
		{"max_sub_tokens: 8", ""},
		{"auth_users: [", "auth_users: [ " + strings.Join(keys, ", ")},
		{"\n    users: [", "\n    users: [ " + member("HERMES")}, // of the first account, HERMES
		{"limits: { max_subscriptions: 1000 }\n    users: [", "users: [ " + member("USERS")},
		{"AUTH { users: [", "AUTH { users: [ " + member("AUTH") + ","},
		{"SYS {\n    users: [", "SYS {\n    users: [ " + member("SYS")},
	} {
		conf = strings.Replace(conf, change[0], change[1], 1)
	}
	return conf
}

// ears are what a connection hears, by subscription.
type ears struct {
	mu    sync.Mutex
	heard map[string][]*nats.Msg
}

func (e *ears) hear(t *testing.T, nc *nats.Conn, patterns ...string) {
	t.Helper()
	for _, pattern := range patterns {
		_, err := nc.Subscribe(pattern, func(m *nats.Msg) {
			e.mu.Lock()
			defer e.mu.Unlock()
			if len(e.heard[pattern]) < 1000 {
				e.heard[pattern] = append(e.heard[pattern], m)
			}
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
}

// has reports whether a message came that fits.
func (e *ears) has(pattern string, fits func(*nats.Msg) bool) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.ContainsFunc(e.heard[pattern], fits)
}

func newEars() *ears { return &ears{heard: map[string][]*nats.Msg{}} }

// literal is a subject that the pattern matches. Only a whole token is a wildcard.
func literal(pattern string) string {
	tokens := strings.Split(pattern, ".")
	for i, token := range tokens {
		if token == "*" || token == ">" {
			tokens[i] = "x"
		}
	}
	return strings.Join(tokens, ".")
}

// TestWhatConfines: everything that users, guests and watchers may neither hear nor say can be heard and
// said by somebody whom no permission confines; and in the account of the streams, everything that is
// anybody's can be read, forged and destroyed.
func TestWhatConfines(t *testing.T) {
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
	who := mallory{}
	for _, account := range accountsOf {
		who[account] = newIdentity(t)
	}
	t.Run("what is heard and said", func(t *testing.T) {
		p, _ := bare(t, who.letIn) // it would be the end of an instance
		checkUnconfined(t, p, who)
	})
	p := externalWith(t, who.letIn)
	t.Run("what is another's", func(t *testing.T) { checkOthers(t, p, who.connect(t, p, "USERS")) })
	t.Run("the streams", func(t *testing.T) { checkStreams(t, p, who.connect(t, p, "HERMES")) })
}

func (m mallory) connect(t *testing.T, p place, account string) *nats.Conn {
	t.Helper()
	nc, _ := connectAs(t, p, m[account].option(), "_INBOX_mallory")
	return nc
}

// checkUnconfined: somebody in one of the accounts hears, or says, what others are probed for.
func checkUnconfined(t *testing.T, p place, who mallory) {
	conns := map[string]*nats.Conn{}
	for _, account := range accountsOf {
		conns[account] = who.connect(t, p, account)
	}
	var all confined
	for _, c := range []confined{confinedUser("ana"), confinedGuest("OWN", "OTHER"), confinedWatcher("local")} {
		all.hears, all.says = append(all.hears, c.hears...), append(all.says, c.says...)
	}
	slices.Sort(all.hears)
	slices.Sort(all.says)
	all.hears, all.says = slices.Compact(all.hears), slices.Compact(all.says)
	heard, mark := map[string]*ears{}, []byte("somebody else's")
	isMark := func(m *nats.Msg) bool { return bytes.Equal(m.Data, mark) }
	for account, nc := range conns {
		heard[account] = newEars()
		heard[account].hear(t, nc, all.hears...)
		// The other one of the account says it.
		other, _ := connectAs(t, p, who[account].option(), "_INBOX_other")
		for _, pattern := range all.hears {
			if err := other.PublishMsg(&nats.Msg{Subject: literal(pattern), Data: mark}); err != nil {
				t.Fatal(err)
			}
		}
		if err := other.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	anywhere := func(pattern string, fits func(*nats.Msg) bool) bool {
		for _, e := range heard {
			if e.has(pattern, fits) {
				return true
			}
		}
		return false
	}
	for _, pattern := range all.hears {
		soon(t, "to hear "+pattern, func() bool { return anywhere(pattern, isMark) })
	}
	// What mallory says, the other one hears: it has arrived where it is acted on.
	for account, nc := range conns {
		other, _ := connectAs(t, p, who[account].option(), "_INBOX_other")
		heard[account] = newEars()
		heard[account].hear(t, other, all.says...)
		for _, subject := range all.says {
			if err := nc.PublishMsg(&nats.Msg{Subject: subject, Data: mark}); err != nil {
				t.Fatal(err)
			}
		}
		if err := nc.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	for _, subject := range all.says {
		soon(t, "to publish on "+subject, func() bool { return anywhere(subject, isMark) })
	}
}

// soon counts an attack that succeeds in a moment.
func soon(t *testing.T, what string, succeeds func() bool) {
	t.Helper()
	ok := false
	for end := time.Now().Add(time.Minute); !ok && time.Now().Before(end); {
		if ok = succeeds(); !ok {
			time.Sleep(5 * time.Millisecond)
		}
	}
	weak(t, what, ok, "nothing came of it")
}

// checkOthers: who is among the users, and confined by nothing, has what is another user's.
func checkOthers(t *testing.T, p place, nc *nats.Conn) {
	heard := newEars()
	heard.hear(t, nc, "hermes.output.>", "_INBOX_zoe.>", "hermes.api.>")
	zoe := registered(t, p, "zoe").connect(t, p, "zoe")
	deploy(t.Context(), t, zoe.Client, hello("private"))
	ran := runAs(t, zoe.Client, "secret-of-zoe")
	soon(t, "another's output, live", func() bool {
		return heard.has("hermes.output.>", func(m *nats.Msg) bool { return bytes.Contains(m.Data, []byte("secret-of-zoe\n")) })
	})
	soon(t, "another's answers", func() bool {
		return heard.has("_INBOX_zoe.>", func(m *nats.Msg) bool { return bytes.Contains(m.Data, []byte(ran.ID)) })
	})
	soon(t, "another's requests", func() bool {
		return heard.has("hermes.api.>", func(m *nats.Msg) bool { return m.Subject == api.Subject("zoe", api.OpRun) })
	})
	// The services believe the subject: who may publish on it is the user.
	as := api.NewClient(nc, "zoe")
	_, chunks, err := as.Output(t.Context(), api.ExecutionOutput{ExecutionRef: api.ExecutionRef{ID: ran.ID}})
	weak(t, "another's output, from history", err == nil && len(chunks) > 0 && string(chunks[0].Data) == "secret-of-zoe\n", err)
	found, err := api.Call[api.Functions](t.Context(), as, api.OpFunctionInspect, api.FunctionInspect{Name: "hello"})
	weak(t, "another's private function", err == nil && len(found.Functions) == 1, err)
	id := api.NewID()
	accepted, err := api.Call[api.Accepted](t.Context(), as, api.OpRun, api.Run{ID: id, Function: events.FunctionRef{Name: "hello"}, Input: events.Input{Inline: []byte("sleep 60\n")}})
	weak(t, "to run in another's name", err == nil && accepted.ID == id, err)
	_, err = api.Call[api.Execution](t.Context(), as, api.OpExecutionCancel, api.ExecutionRef{ID: id})
	weak(t, "to cancel another's", err == nil, err)
	gone, err := api.Call[api.Functions](t.Context(), as, api.OpFunctionDelete, api.FunctionDelete{Name: "hello"})
	weak(t, "to delete another's", err == nil && len(gone.Functions) == 1, err)
	_, err = api.Call[api.Keys](t.Context(), as, api.OpKeysRevoke, api.KeysRevoke{All: true})
	weak(t, "to end another's logins", err == nil, err)
	zoe.ends(t, "somebody ended its login")
	// The configuration that this one was made of bounds a connection to a thousand.
	weak(t, "1100 subscriptions", subscribeMany(nc, "_INBOX_mallory.many.", 1100) == nil, nc.LastError())
	if err := nc.LastError(); err != nil {
		t.Error(err)
	}
}

// checkStreams: who is in the account of the streams reads, forges and destroys what is anybody's.
func checkStreams(t *testing.T, p place, nc *nats.Conn) {
	ctx := t.Context()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	heard := newEars()
	heard.hear(t, nc, "hermes.login.>", "hermes.run.>", "hermes.watch.>")
	yara := registered(t, p, "yara").connect(t, p, "yara")
	soon(t, "another's password", func() bool {
		return heard.has("hermes.login.>", func(m *nats.Msg) bool { return bytes.Contains(m.Data, []byte(password)) })
	})
	deploy(ctx, t, yara.Client, hello("private"))
	ran := runAs(t, yara.Client, "secret-of-yara")
	soon(t, "a watcher's run requests, with their input", func() bool {
		return heard.has("hermes.run.>", func(m *nats.Msg) bool { return strings.HasSuffix(m.Subject, "."+ran.ID) })
	})
	soon(t, "a watcher's claims", func() bool {
		return heard.has("hermes.watch.>", func(m *nats.Msg) bool { return m.Subject == api.WatchSubject("local", api.OpClaim) })
	})
	checkReads(ctx, t, js, ran)
	checkForges(ctx, t, nc, js)
	checkDestroys(ctx, t, js)
}

func checkReads(ctx context.Context, t *testing.T, js jetstream.JetStream, ran api.Execution) {
	t.Helper()
	raw := func(stream, subject string) ([]byte, error) {
		s, err := js.Stream(ctx, stream)
		if err != nil {
			return nil, err
		}
		m, err := s.GetLastMsgForSubject(ctx, subject)
		if err != nil {
			return nil, err
		}
		return m.Data, nil
	}
	_, err := raw(streams.Executions, events.ExecutionSubject("yara", ran.ID))
	weak(t, "a direct get of another's events", err == nil, err)
	_, err = raw(streams.Output, events.OutputSubject("local", "yara", ran.ID))
	weak(t, "a direct get of another's output", err == nil, err)
	hash, err := raw(streams.BucketStream(streams.BucketSecrets), streams.BucketSubject(streams.BucketSecrets, "password.>"))
	weak(t, "the hashes of passwords", err == nil && bytes.HasPrefix(hash, []byte("$argon2id$")), err)

	store, err := js.ObjectStore(ctx, streams.Blobs)
	if err != nil {
		t.Fatal(err)
	}
	infos, err := store.List(ctx)
	if err != nil {
		t.Fatal(err)
	}
	read := 0
	for _, info := range infos {
		if content, err := store.GetBytes(ctx, info.Name); err == nil && len(content) > 0 {
			read++
		}
	}
	weak(t, "another's bundle from the object store", read > 0, fmt.Sprintf("%d of %d", read, len(infos)))

	consumer, err := js.CreateConsumer(ctx, streams.Output, jetstream.ConsumerConfig{Name: "spy", FilterSubject: "hermes.output.*.nobody.*", AckPolicy: jetstream.AckNonePolicy})
	weak(t, "to make a consumer", err == nil, err)
	_, err = js.UpdateConsumer(ctx, streams.Output, jetstream.ConsumerConfig{Name: "spy", FilterSubject: "hermes.output.*.yara.*", AckPolicy: jetstream.AckNonePolicy})
	weak(t, "to filter a consumer anew", err == nil, err)
	m, err := consumer.Next(jetstream.FetchMaxWait(time.Minute))
	weak(t, "to pull another's output", err == nil && strings.HasPrefix(m.Subject(), "hermes.output.local.yara."), err)
	err = js.DeleteConsumer(ctx, streams.Output, "spy")
	weak(t, "to delete a consumer", err == nil, err)
}

func checkForges(ctx context.Context, t *testing.T, nc *nats.Conn, js jetstream.JetStream) {
	t.Helper()
	for _, subject := range []string{
		"hermes.execution.0.yara.FORGED", "hermes.function.yara.forged", "hermes.user.forged", "hermes.audit.login_failed", "hermes.archive.yara.209901", "hermes.output.local.yara.FORGED",
		"hermes.run.local.yara.FORGED", "hermes.watcher.forged", "$KV.hermes_secrets.password.forged", "$O.hermes_blobs.M.forged",
	} {
		ack, err := js.Publish(ctx, subject, []byte("{}"))
		weak(t, "to store on "+subject, err == nil && ack.Sequence > 0, err)
	}
	users, err := api.Ask[api.Users](ctx, nc, api.AdminSubject("mallory", api.OpUserList), api.UserList{})
	weak(t, "to ask as the operator", err == nil && len(users.Users) > 0, err)
	_, err = api.Ask[api.LeaveReply](ctx, nc, api.WatchSubject("other", api.OpLeave), api.Leave{})
	_, answered := api.AsError(err)
	weak(t, "to speak for a watcher", err == nil || answered && !api.IsKind(err, api.Unavailable), err)
}

func checkDestroys(ctx context.Context, t *testing.T, js jetstream.JetStream) {
	t.Helper()
	s, err := js.Stream(ctx, streams.Output)
	if err != nil {
		t.Fatal(err)
	}
	info, err := s.Info(ctx)
	weak(t, "a stream's info", err == nil && info.State.Msgs > 0, err)
	last, err := s.GetMsg(ctx, info.State.LastSeq)
	if err == nil {
		err = s.DeleteMsg(ctx, last.Sequence)
	}
	weak(t, "to delete a message", err == nil, err)
	err = s.Purge(ctx)
	weak(t, "to purge a stream", err == nil, err)
	config := info.Config
	config.MaxMsgs = 1
	_, err = js.UpdateStream(ctx, config)
	weak(t, "to change a stream", err == nil, err)
	err = js.DeleteStream(ctx, streams.Archive)
	weak(t, "to delete a stream", err == nil, err)
}

// TestForgingNeedsNoSkillInOneAccount: the attack by replies succeeds where users and watchers are in the
// account of the streams, with the same permissions.
func TestForgingNeedsNoSkillInOneAccount(t *testing.T) {
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
	user, watcher := newIdentity(t), newIdentity(t)
	v := newVictim(t, func(t *testing.T) place {
		return externalWith(t, func(conf string) string {
			for _, each := range []struct{ key, says string }{{user.public, "hermes.api.mallory.>"}, {watcher.public, "hermes.watch.mallory.>"}} {
				member := fmt.Sprintf(`{ nkey: %s, permissions: { publish: { allow: [ %q ] }, subscribe: { allow: [ "_INBOX_mallory.>" ] } } }`, each.key, each.says)
				conf = strings.Replace(conf, "\n    users: [", "\n    users: [\n"+member, 1)
				conf = strings.Replace(conf, "auth_users: [", "auth_users: [ "+each.key+"\n", 1)
			}
			return conf
		})
	})
	for what, each := range map[string]struct {
		who     identity
		subject string
	}{"a user": {user, api.Subject("mallory", api.OpInfo)}, "a watcher": {watcher, api.WatchSubject("mallory", api.OpLeave)}} {
		nc, _ := connectAs(t, v.place, each.who.option(), api.InboxPrefix("mallory"))
		forged := events.ExecutionSubject("ana", "FORGED"+strings.ToUpper(what[2:]))
		if err := errors.Join(nc.PublishRequest(each.subject, forged, []byte("{}")), nc.Flush()); err != nil {
			t.Fatal(err)
		}
		soon(t, what+" forges an event by a reply", func() bool {
			_, err := get.LeaderLast(t.Context(), v.js, streams.Executions, forged)
			return err == nil
		})
	}
}
