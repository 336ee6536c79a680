package instance_test

import (
	"errors"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/events/log"
	"github.com/hermes-serverless/hermes/services/api"
	"github.com/hermes-serverless/hermes/services/hermesd/instance"
)

// audited are the audit events of a type.
func audited(t *testing.T, p place, typ events.Type) []events.Record {
	t.Helper()
	operator, _ := as(t, p, "operator", "")
	defer operator.Close()
	js, err := jetstream.New(operator)
	if err != nil {
		t.Fatal(err)
	}
	return readAll(t, instance.OpenLogs(js).Audit, events.AuditSubject(typ))
}

func readAll(t *testing.T, l log.Log, filter string) []events.Record {
	t.Helper()
	var all []events.Record
	for r, err := range l.Read(t.Context(), filter, 1) {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, r)
	}
	return all
}

// TestPasswordChange: the old password is asked for, the new one is the only one that is good, logins stay
// or end as was asked, and each change is an event that says who made it.
func TestPasswordChange(t *testing.T) {
	everywhereAndOnACluster(t, func(t *testing.T, open func(*testing.T) place) {
		p := open(t)
		bob := registered(t, p, "bob")
		other := loggedIn(t, p, "bob", 0)
		c, elsewhere := bob.connect(t, p, "bob"), other.connect(t, p, "bob")
		change := func(ask api.PasswordChange) (api.PasswordChanged, error) {
			return api.Call[api.PasswordChanged](t.Context(), c.Client, api.OpPasswordChange, ask)
		}
		const second, third = "a second password", "a third password"
		for what, bad := range map[string]struct {
			ask  api.PasswordChange
			name string
		}{
			"a wrong password":   {api.PasswordChange{Password: "not the one", New: second}, api.AuthenticationError},
			"a short one":        {api.PasswordChange{Password: password, New: "short"}, api.InvalidArguments},
			"another's key kept": {api.PasswordChange{Password: password, New: second, RevokeOthers: true, Keep: newIdentity(t).public}, api.NoSuchKey},
		} {
			_, err := change(bad.ask)
			wantError(t, what, err, bad.name)
		}
		got, err := change(api.PasswordChange{Password: password, New: second})
		if err != nil || len(got.Revoked) != 0 || got.Kept != 2 {
			t.Fatalf("%+v, %v", got, err)
		}
		_, err = newIdentity(t).ask(t, p, api.OpLogin, api.Login{User: "bob", Password: password})
		wantError(t, "the old password", err, api.AuthenticationError)
		if _, err := newIdentity(t).ask(t, p, api.OpLogin, api.Login{User: "bob", Password: second}); err != nil {
			t.Errorf("the new password: %v", err)
		}
		got, err = change(api.PasswordChange{Password: second, New: third, RevokeOthers: true, Keep: bob.public})
		if err != nil || len(got.Revoked) != 2 || got.Kept != 1 {
			t.Fatalf("%+v, %v", got, err)
		}
		elsewhere.ends(t, "the other logins were to end")
		other.turnedAway(t, p, "a key of another login")

		set := api.UserPassword{User: "bob", Password: password, Revoke: true}
		if got, err = admin[api.PasswordChanged](t, p, api.OpUserPassword, set); err != nil || len(got.Revoked) != 1 || got.Kept != 0 {
			t.Fatalf("%+v, %v", got, err)
		}
		c.ends(t, "the operator ended all logins")
		_, err = newIdentity(t).ask(t, p, api.OpLogin, api.Login{User: "bob", Password: third})
		wantError(t, "the password before the operator's", err, api.AuthenticationError)
		bob = newIdentity(t)
		if _, err := bob.ask(t, p, api.OpLogin, api.Login{User: "bob", Password: password}); err != nil {
			t.Errorf("the operator's password: %v", err)
		}
		for what, user := range map[string]string{"a local user's": "ana", "nobody's": "zoe"} {
			if _, err := admin[api.PasswordChanged](t, p, api.OpUserPassword, api.UserPassword{User: user, Password: password}); err == nil {
				t.Errorf("%s password was set", what)
			}
		}
		checkChanges(t, p, "bob", "root")
		checkNoSecret(t, p, password, second, third)
		// No hash stays of one who is gone.
		if _, err := admin[api.Unregistered](t, p, api.OpUserRemove, api.UserRef{User: "bob"}); err != nil {
			t.Fatal(err)
		}
		if left := hashes(t, p); len(left) != 0 {
			t.Errorf("hashes that stay: %v", left)
		}
	})
}

// checkChanges: two changes of the user's own, one of the operator's, and who tried in vain.
func checkChanges(t *testing.T, p place, user, who string) {
	t.Helper()
	operator, _ := as(t, p, "operator", "")
	js, err := jetstream.New(operator)
	if err != nil {
		t.Fatal(err)
	}
	var by []string
	for _, r := range readAll(t, instance.OpenLogs(js).Users, events.UserSubject(user)) {
		if r.Data == (events.UserPasswordSet{}) {
			by = append(by, r.By)
		}
	}
	if len(by) != 3 || by[0] != user || by[1] != user || by[2] != who {
		t.Errorf("the password was changed by %v", by)
	}
	failed := map[string]string{}
	for _, r := range audited(t, p, events.OperatorActed{}.Type()) {
		d := r.Data.(events.OperatorActed)
		if failed[d.About] = d.Failed; r.By != who || d.Action != api.OpUserPassword {
			t.Errorf("%+v by %s", d, r.By)
		}
	}
	if failed["ana"] != api.InvalidArguments || failed["zoe"] != api.NoSuchUser {
		t.Errorf("what the operator did in vain: %v", failed)
	}
	for _, typ := range []events.Data{events.LoginSucceeded{}, events.KeyUsed{}} {
		eventually(t, string(typ.Type())+" is in the audit", func() bool { return len(audited(t, p, typ.Type())) > 0 })
	}
}

func hashes(t *testing.T, p place) []string {
	t.Helper()
	operator, _ := as(t, p, "operator", "")
	js, err := jetstream.New(operator)
	if err != nil {
		t.Fatal(err)
	}
	kv, err := js.KeyValue(t.Context(), "hermes_secrets")
	if err != nil {
		t.Fatal(err)
	}
	keys, err := kv.Keys(t.Context())
	if err != nil && !errors.Is(err, jetstream.ErrNoKeysFound) {
		t.Fatal(err)
	}
	return keys
}
