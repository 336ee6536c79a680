package instance_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/events/streams"
	"github.com/hermes-serverless/hermes/services/api"
)

const password = "correct horse battery"

// everywhere runs a test on a server in this process and on one of its own.
func everywhere(t *testing.T, test func(t *testing.T, open func(*testing.T) place)) {
	t.Helper()
	for name, open := range map[string]func(*testing.T) place{"embedded": embedded, "external": external} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("XDG_CONFIG_HOME", t.TempDir())
			test(t, open)
		})
	}
}

// identity is a key that somebody made.
type identity struct {
	pair   nkeys.KeyPair
	public string
}

func newIdentity(t *testing.T) identity {
	t.Helper()
	pair, err := nkeys.CreateUser()
	if err != nil {
		t.Fatal(err)
	}
	public, err := pair.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	return identity{pair, public}
}

// option proves to hold the key, and leaves a busy server the time to ask whose it is.
func (i identity) option() nats.Option {
	return func(o *nats.Options) error {
		return errors.Join(nats.Nkey(i.public, i.pair.Sign)(o), nats.Timeout(time.Minute)(o))
	}
}

// guest connects as who wants to log in with the key.
func (i identity) guest(t *testing.T, p place) *nats.Conn {
	t.Helper()
	nc, err := nats.Connect(p.url, api.Guest(i.public, i.pair.Sign), nats.Timeout(time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return nc
}

func (i identity) ask(t *testing.T, p place, op string, ask any) (api.LoggedIn, error) {
	t.Helper()
	return api.Ask[api.LoggedIn](t.Context(), i.guest(t, p), api.LoginSubject(i.public, op), ask)
}

// registered is a new user who is logged in.
func registered(t *testing.T, p place, name string) identity {
	t.Helper()
	i := newIdentity(t)
	var got api.LoggedIn
	var err error
	// The servers of a cluster tell one another of the services in their own time.
	eventually(t, "the services answer", func() bool {
		got, err = i.ask(t, p, api.OpRegister, api.Register{Login: api.Login{User: name, Password: password, Label: "test"}})
		return !api.IsKind(err, api.Unavailable)
	})
	if err != nil || got.User != name || got.Key != i.public || time.Until(got.Expires) < 29*24*time.Hour {
		t.Fatalf("register %s: %+v, %v", name, got, err)
	}
	return i
}

// loggedIn is the same user with another key.
func loggedIn(t *testing.T, p place, name string, lasts time.Duration) identity {
	t.Helper()
	i := newIdentity(t)
	if _, err := i.ask(t, p, api.OpLogin, api.Login{User: name, Password: password, ExpiresSeconds: int64(lasts.Seconds())}); err != nil {
		t.Fatal(err)
	}
	return i
}

// connection is a user's, and how it ended.
type connection struct {
	*api.Client
	refused <-chan error
	closed  chan error
}

func (i identity) connect(t *testing.T, p place, name string) connection {
	t.Helper()
	c := connection{closed: make(chan error, 1)}
	ended := nats.ClosedHandler(func(nc *nats.Conn) { c.closed <- nc.LastError() })
	sign := func(o *nats.Options) error {
		return errors.Join(i.option()(o), ended(o), nats.NoReconnect()(o))
	}
	nc, refused := connectAs(t, p, sign, api.InboxPrefix(name))
	c.Client, c.refused = api.NewClient(nc, name), refused
	return c
}

func (c connection) ends(t *testing.T, why string) {
	t.Helper()
	select {
	case <-c.closed:
		count(t, found{probes: 1})
	case <-time.After(time.Minute):
		probe(t, "the connection is open although "+why, false, "it can go on")
	}
}

// turnedAway: the key opens nothing.
func (i identity) turnedAway(t *testing.T, p place, why string) {
	t.Helper()
	nc, err := nats.Connect(p.url, i.option(), nats.CustomInboxPrefix("_INBOX_x"))
	if err == nil {
		nc.Close()
	}
	probe(t, "to connect with "+why, errors.Is(err, nats.ErrAuthorization), err)
}

// admin asks as the operator.
func admin[Reply any](t *testing.T, p place, op string, ask any) (Reply, error) {
	t.Helper()
	operator, _ := as(t, p, "operator", "")
	defer operator.Close()
	return api.Ask[Reply](t.Context(), operator, api.AdminSubject("root", op), ask)
}

func wantError(t *testing.T, what string, err error, name string) {
	t.Helper()
	if e, ok := api.AsError(err); !ok || e.Name != name {
		t.Errorf("%s: got %v, want %s", what, err, name)
	}
}

func TestKeysEndAtOnce(t *testing.T) {
	everywhereAndOnACluster(t, func(t *testing.T, open func(*testing.T) place) {
		p := open(t)
		first := registered(t, p, "bob")
		second := loggedIn(t, p, "bob", time.Hour)
		one, two := first.connect(t, p, "bob"), second.connect(t, p, "bob")

		keys, err := api.Call[api.Keys](t.Context(), one.Client, api.OpKeysList, api.KeysList{})
		if err != nil || len(keys.Keys) != 2 || keys.Keys[0].Key != second.public || keys.Keys[1].Label != "test" {
			t.Fatalf("keys: %+v, %v", keys, err)
		}
		_, err = api.Call[api.Keys](t.Context(), one.Client, api.OpKeysRevoke, api.KeysRevoke{Key: "UNOSUCH"})
		wantError(t, "to revoke an unknown key", err, api.NoSuchKey)
		gone, err := api.Call[api.Keys](t.Context(), one.Client, api.OpKeysRevoke, api.KeysRevoke{Key: second.public[:12]})
		if err != nil || len(gone.Keys) != 1 || gone.Keys[0].Key != second.public {
			t.Fatalf("revoked: %+v, %v", gone, err)
		}
		two.ends(t, "its key was revoked")
		second.turnedAway(t, p, "a revoked key")
		if _, err := api.Call[api.Info](t.Context(), one.Client, api.OpInfo, api.InfoRequest{}); err != nil {
			t.Errorf("the other key: %v", err)
		}

		short := loggedIn(t, p, "bob", 6*time.Second) // enough to connect
		brief := short.connect(t, p, "bob")
		brief.ends(t, "its key expired")
		short.turnedAway(t, p, "an expired key")
		state, err := api.Ask[api.KeyState](t.Context(), short.guest(t, p), api.LoginSubject(short.public, api.OpKeyState), api.KeyStateRequest{})
		if err != nil || state.User != "bob" || !state.Expired {
			t.Errorf("the state of an expired key: %+v, %v", state, err)
		}

		if _, err := admin[api.User](t, p, api.OpUserDisable, api.UserRef{User: "bob"}); err != nil {
			t.Fatal(err)
		}
		one.ends(t, "its user was disabled")
		first.turnedAway(t, p, "a key of a disabled user")
		_, err = newIdentity(t).ask(t, p, api.OpLogin, api.Login{User: "bob", Password: password})
		wantError(t, "a disabled user logs in", err, api.UserDisabled)
		if _, err := admin[api.User](t, p, api.OpUserEnable, api.UserRef{User: "bob"}); err != nil {
			t.Fatal(err)
		}
		again := first.connect(t, p, "bob")
		if _, err := api.Call[api.Keys](t.Context(), again.Client, api.OpKeysRevoke, api.KeysRevoke{Key: first.public}); err != nil {
			t.Errorf("to log out, heard on the connection that it ends: %v", err)
		}
		again.ends(t, "it logged out")
		first.turnedAway(t, p, "a key that was logged out")
	})
}

func TestLoginTellsNothing(t *testing.T) {
	everywhere(t, func(t *testing.T, open func(*testing.T) place) {
		p := open(t)
		registered(t, p, "bob")
		secret := "the wrong one, 4711"
		_, wrongPassword := newIdentity(t).ask(t, p, api.OpLogin, api.Login{User: "bob", Password: secret})
		_, wrongUser := newIdentity(t).ask(t, p, api.OpLogin, api.Login{User: "zoe", Password: secret})
		a, okA := api.AsError(wrongPassword)
		b, okB := api.AsError(wrongUser)
		if !okA || !okB || *a != *b || a.Name != api.AuthenticationError {
			t.Errorf("%+v, %+v", wrongPassword, wrongUser)
		}
		for i := 0; ; i++ {
			_, err := newIdentity(t).ask(t, p, api.OpLogin, api.Login{User: "bob", Password: secret})
			if e, _ := api.AsError(err); e != nil && e.Name == api.TooManyAttempts {
				break
			}
			if i > 30 {
				t.Fatalf("after %d wrong passwords: %v", i, err)
			}
		}
		_, err := newIdentity(t).ask(t, p, api.OpLogin, api.Login{User: "bob", Password: password})
		wantError(t, "the right password when too many were wrong", err, api.TooManyAttempts)
		if _, err := newIdentity(t).ask(t, p, api.OpRegister, api.Register{Login: api.Login{User: "carl", Password: password}}); err != nil {
			t.Errorf("somebody else: %v", err)
		}
		// People type a password where the name belongs.
		typed := "my-s3cret"
		if _, err := newIdentity(t).ask(t, p, api.OpLogin, api.Login{User: typed, Password: secret}); err == nil {
			t.Error("a password lets somebody in as a name")
		}
		var failures []events.Record
		eventually(t, "failures are in the audit", func() bool {
			failures = audited(t, p, events.LoginFailed{}.Type())
			return len(failures) >= 3
		})
		told := map[string]int64{}
		for _, f := range failures {
			d := f.Data.(events.LoginFailed)
			if told[d.User+" "+d.Reason] += d.Count; d.Address != "127.0.0.1" || d.Count < 1 || d.Since.IsZero() {
				t.Errorf("a failure from %q: %+v", d.Address, d)
			}
		}
		if told["bob password"] == 0 || told["bob throttled"] == 0 || told[" password"] == 0 {
			t.Errorf("failures in the audit: %v", told)
		}
		checkNoSecret(t, p, secret, typed, password, "$argon2id$")
	})
}

// checkNoSecret looks through every event and everything that was logged.
func checkNoSecret(t *testing.T, p place, secrets ...string) {
	t.Helper()
	operator, _ := as(t, p, "operator", "")
	js, err := operator.JetStream()
	if err != nil {
		t.Fatal(err)
	}
	texts := map[string]string{"the log": p.log.text()}
	for _, stream := range []string{streams.Users, streams.Audit} {
		info, err := js.StreamInfo(stream)
		if err != nil || info.State.Msgs == 0 {
			t.Fatalf("%s: %+v, %v", stream, info, err)
		}
		for sequence := info.State.FirstSeq; sequence <= info.State.LastSeq; sequence++ {
			m, err := js.GetMsg(stream, sequence)
			if err != nil {
				t.Fatal(err)
			}
			texts["an event of "+m.Subject] += string(m.Data)
		}
	}
	for where, text := range texts {
		for _, secret := range secrets {
			if strings.Contains(text, secret) {
				t.Errorf("%s holds the secret %q", where, secret)
			}
		}
	}
}

func TestUnregisterRemovesEverything(t *testing.T) {
	everywhereAndOnACluster(t, func(t *testing.T, open func(*testing.T) place) {
		p := open(t)
		bob := registered(t, p, "bob")
		c := bob.connect(t, p, "bob")
		deploy(t.Context(), t, c.Client, hello("public"))
		id := api.NewID()
		_, err := api.Call[api.Accepted](t.Context(), c.Client, api.OpRun, api.Run{ID: id, Function: events.FunctionRef{Name: "hello"}, Input: events.Input{Inline: []byte("sleep 60\n")}})
		if err != nil {
			t.Fatal(err)
		}
		_, err = api.Call[api.Unregistered](t.Context(), c.Client, api.OpUnregister, api.Unregister{Password: "not the one"})
		wantError(t, "to unregister with a wrong password", err, api.AuthenticationError)
		if _, err := api.Call[api.Unregistered](t.Context(), c.Client, api.OpUnregister, api.Unregister{Password: password}); err != nil {
			t.Fatal(err)
		}
		c.ends(t, "its user has gone")
		bob.turnedAway(t, p, "a key of a user who has gone")
		eventually(t, "the user has gone", func() bool {
			_, err := admin[api.User](t, p, api.OpUserInspect, api.UserRef{User: "bob"})
			return api.IsKind(err, api.NotFound)
		})
		ana, _ := as(t, p, "user", api.InboxPrefix("ana"))
		rows, err := api.Call[api.Functions](t.Context(), api.NewClient(ana, "ana"), api.OpFunctionList, api.FunctionList{Owner: "bob"})
		if err != nil || len(rows.Functions) != 0 {
			t.Errorf("functions stay: %+v, %v", rows, err)
		}
		operator, _ := as(t, p, "operator", "")
		state, err := api.Ask[api.Execution](t.Context(), operator, api.Subject("bob", api.OpExecutionInspect), api.ExecutionRef{ID: id})
		if !api.IsKind(err, api.NotFound) && (err != nil || !state.Status.Final()) { // it goes with its events
			t.Errorf("the run: %s, %v", state.Status, err)
		}
		_, err = newIdentity(t).ask(t, p, api.OpRegister, api.Register{Login: api.Login{User: "bob", Password: password}})
		wantError(t, "the name is taken again", err, api.UserAlreadyExists)
	})
}

func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if is() {
			return
		}
	}
	t.Fatalf("in vain: %s", what)
}

// hello runs its input as a script.
func hello(scope string) map[string]string {
	return map[string]string{
		"hermes.config.json": `{"functionName":"hello","language":"cpp","gpuCapable":false,"scope":"` + scope + `","functionVersion":"1.0.0","handler":"./run.sh"}`,
		"Makefile":           "all:\n\t@true\nclean:\n\t@true\n", "run.sh": "#!/bin/sh\nexec sh -s\n",
	}
}

// TestScope: what is private does not exist for others, in any request that names it.
func TestScope(t *testing.T) {
	everywhereAndOnACluster(t, func(t *testing.T, open func(*testing.T) place) {
		p := open(t)
		bob, eve := registered(t, p, "bob").connect(t, p, "bob"), registered(t, p, "eve").connect(t, p, "eve")
		deploy(t.Context(), t, bob.Client, hello("private"))
		ran := runAs(t, bob.Client, "bob")
		if ran.Owner != "bob" {
			t.Fatalf("%+v", ran)
		}
		ref := events.FunctionRef{Owner: "bob", Name: "hello", Version: "1.0.0"}
		run := func() (api.Accepted, error) {
			return api.Call[api.Accepted](t.Context(), eve.Client, api.OpRun, api.Run{ID: api.NewID(), Function: ref, Input: events.Input{Inline: []byte("echo I am here\n")}})
		}
		_, err := run()
		denied(t, "to run a private function", err, api.NoSuchFunction)
		_, err = api.Call[api.Functions](t.Context(), eve.Client, api.OpFunctionInspect, api.FunctionInspect{Owner: "bob", Name: "hello"})
		denied(t, "to inspect a private function", err, api.NoSuchFunction)
		rows, err := api.Call[api.Functions](t.Context(), eve.Client, api.OpFunctionList, api.FunctionList{Owner: "bob"})
		if err != nil || len(rows.Functions) != 0 || rows.OwnerLike != "" {
			t.Errorf("lists %+v, %v", rows, err)
		}
		gone, err := api.Call[api.Functions](t.Context(), eve.Client, api.OpFunctionDelete, api.FunctionDelete{Name: "hello"})
		if err != nil || len(gone.Functions) != 0 {
			t.Errorf("deleted %+v, %v", gone, err)
		}
		for op, ask := range map[string]any{
			api.OpExecutionInspect: api.ExecutionRef{ID: ran.ID}, api.OpExecutionCancel: api.ExecutionRef{ID: ran.ID},
			api.OpExecutionOutput: api.ExecutionOutput{ExecutionRef: api.ExecutionRef{ID: ran.ID}},
			api.OpExecutionWait:   api.ExecutionWait{ExecutionRef: api.ExecutionRef{ID: ran.ID}, WaitMillis: 1},
		} {
			_, err := api.Call[api.Execution](t.Context(), eve.Client, op, ask)
			denied(t, op+" of another's execution", err, api.NoSuchRun)
		}
		bundle := bundleOf(t, bob.Client)
		_, err = api.Call[api.Deployed](t.Context(), eve.Client, api.OpFunctionDeploy, api.FunctionDeploy{Bundle: bundle, Build: api.NewID()})
		denied(t, "to deploy another's bundle", err, api.NoSuchBlob)
		_, err = api.Call[api.Accepted](t.Context(), eve.Client, api.OpFunctionBuild, api.FunctionBuild{Bundle: bundle, Build: api.NewID()})
		denied(t, "to build another's bundle", err, api.NoSuchBlob)

		// Public: their version, the caller's name.
		public := hello("public")
		public["hermes.config.json"] = strings.Replace(public["hermes.config.json"], "1.0.0", "1.1.0", 1)
		deploy(t.Context(), t, bob.Client, public)
		_, err = run()
		denied(t, "to run the private version of a function with a public one", err, api.NoSuchVersion)
		ref.Version = ""
		accepted, err := run()
		if err != nil || accepted.Function.Owner != "bob" || accepted.Function.Version != "1.1.0" {
			t.Fatalf("accepted %+v, %v", accepted, err)
		}
		if ended := wait(t.Context(), t, eve.Client, accepted.ID); ended.Owner != "eve" || ended.ExitCode != 0 {
			t.Errorf("ran as %s and ended with %d", ended.Owner, ended.ExitCode)
		}
		rows, err = api.Call[api.Functions](t.Context(), eve.Client, api.OpFunctionInspect, api.FunctionInspect{Owner: "bob", Name: "hello"})
		if err != nil || len(rows.Functions) != 1 || rows.Functions[0].FunctionVersion != "1.1.0" || rows.Functions[0].BundleDigest != "" {
			t.Errorf("inspects %+v, %v", rows, err)
		}
	})
}

func runAs(t *testing.T, c *api.Client, name string) api.Execution {
	t.Helper()
	id := api.NewID()
	ask := api.Run{ID: id, Function: events.FunctionRef{Name: "hello"}, Input: events.Input{Inline: []byte("echo " + name + "\n")}}
	if _, err := api.Call[api.Accepted](t.Context(), c, api.OpRun, ask); err != nil {
		t.Fatal(err)
	}
	return wait(t.Context(), t, c, id)
}

func bundleOf(t *testing.T, owner *api.Client) events.Blob {
	t.Helper()
	rows, err := api.Call[api.Functions](t.Context(), owner, api.OpFunctionInspect, api.FunctionInspect{Name: "hello"})
	if err != nil || len(rows.Functions) != 1 {
		t.Fatalf("%+v, %v", rows, err)
	}
	return events.Blob{Digest: rows.Functions[0].BundleDigest, SizeBytes: 100}
}

// TestAdministrationWithoutCallout: what the configuration names goes on when nobody answers callouts.
func TestAdministrationWithoutCallout(t *testing.T) {
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
	p := externalWith(t, func(conf string) string { return strings.Replace(conf, "account: AUTH", "account: SYS", 1) })
	if nc, err := nats.Connect(p.url, newIdentity(t).option()); err == nil {
		nc.Close()
		t.Error("somebody was let in while nobody answers callouts")
	}
	user, _ := as(t, p, "user", api.InboxPrefix("ana"))
	within, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if _, err := api.Call[api.Info](within, api.NewClient(user, "ana"), api.OpInfo, api.InfoRequest{}); err != nil {
		t.Errorf("the user of the configuration: %v", err)
	}
	if users, err := admin[api.Users](t, p, api.OpUserList, api.UserList{}); err != nil || len(users.Users) != 1 || users.Users[0].Status != "local" {
		t.Errorf("the operator: %+v, %v", users, err)
	}
}
