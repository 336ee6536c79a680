package accounts

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/projections/foldtest"
	"github.com/hermes-serverless/hermes/projections/users"
	"github.com/hermes-serverless/hermes/services/api"
)

var (
	at         = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	registered = events.UserRegistered{}
	laptop     = events.UserKeyEnrolled{PublicKey: "UA", Label: "laptop", Expires: at.Add(time.Hour)}
	old        = events.UserKeyEnrolled{PublicKey: "UB", Expires: at.Add(-time.Hour)}
	disabled   = events.UserDisabled{By: "root"}
	leaving    = events.UserDisabled{By: "ana", Leaving: true}
	gone       = events.UserUnregistered{By: "ana"}
	local      = events.UserRegistered{Local: true}
	changed    = events.UserPasswordSet{}
)

func TestDecide(t *testing.T) {
	register := func(u users.User) ([]events.Data, error) { return decideRegister(u, "ana") }
	makeLocal := func(u users.User) ([]events.Data, error) { return decideLocal(u, "ana") }
	enrolLaptop := func(u users.User) ([]events.Data, error) {
		return decideEnrol(u, enrol{Key: "UA", Label: "laptop", Expires: at.Add(time.Hour)}, at)
	}
	revoke := func(prefix string) func(users.User) ([]events.Data, error) {
		return func(u users.User) ([]events.Data, error) { d, _, err := decideRevoke(u, prefix); return d, err }
	}
	disable := func(u users.User) ([]events.Data, error) { return decideDisable(u, "root", false) }
	leave := func(u users.User) ([]events.Data, error) { return decideDisable(u, "ana", true) }
	enable := func(u users.User) ([]events.Data, error) { return decideEnable(u, "root") }
	set := func(u users.User) ([]events.Data, error) { return decidePassword(u, "") }
	first := foldtest.Record(events.UserSubject("ana"), 1, registered).ID
	change := func(u users.User) ([]events.Data, error) { return decidePassword(u, first) }
	login := func(u users.User) ([]events.Data, error) {
		return decideEnrol(u, enrol{Key: "UA", Label: "laptop", Expires: at.Add(time.Hour), Checked: first}, at)
	}
	others := func(keep string) func(users.User) ([]events.Data, error) {
		return func(u users.User) ([]events.Data, error) { return decideRevokeOthers(u, keep), nil }
	}
	end := func(u users.User) ([]events.Data, error) { return decideUnregister(u, "ana") }
	type history = []events.Data
	for _, c := range []struct {
		name  string
		given history
		when  func(users.User) ([]events.Data, error)
		then  history
		error string
	}{
		{"register", nil, register, history{registered}, ""},
		{"register twice", history{registered}, register, nil, api.UserAlreadyExists},
		{"register a name that somebody had", history{registered, leaving, gone}, register, nil, api.UserAlreadyExists},
		{"register a local user's name", history{local}, register, nil, api.UserAlreadyExists},
		{"local", nil, makeLocal, history{local}, ""},
		{"local again", history{local}, makeLocal, nil, ""},
		{"local, but somebody registered", history{registered}, makeLocal, nil, api.UserAlreadyExists},
		{"local, but somebody had the name", history{registered, leaving, gone}, makeLocal, nil, api.UserAlreadyExists},
		{"enrol", history{registered}, enrolLaptop, history{laptop}, ""},
		{"enrol again, which prolongs", history{registered, laptop}, enrolLaptop, history{laptop}, ""},
		{"enrol beside an expired key", history{registered, old}, enrolLaptop, history{events.UserKeyRevoked{PublicKey: "UB"}, laptop}, ""},
		{"enrol for nobody", nil, enrolLaptop, nil, api.UserDisabled},
		{"enrol for a disabled user", history{registered, disabled}, enrolLaptop, nil, api.UserDisabled},
		{"enrol for a local user", history{local}, enrolLaptop, nil, api.UserDisabled},
		{"revoke", history{registered, laptop, old}, revoke("UA"), history{events.UserKeyRevoked{PublicKey: "UA"}}, ""},
		{"revoke all", history{registered, laptop, old}, revoke(""), history{events.UserKeyRevoked{PublicKey: "UA"}, events.UserKeyRevoked{PublicKey: "UB"}}, ""},
		{"revoke one of several", history{registered, laptop, old}, revoke("U"), nil, api.InvalidArguments},
		{"revoke an unknown one", history{registered, laptop}, revoke("UX"), nil, api.NoSuchKey},
		{"revoke all of none", history{registered}, revoke(""), nil, ""},
		{"revoke all but one", history{registered, laptop, old}, others("UA"), history{events.UserKeyRevoked{PublicKey: "UB"}}, ""},
		{"revoke all but none", history{registered, laptop, old}, others(""), history{events.UserKeyRevoked{PublicKey: "UA"}, events.UserKeyRevoked{PublicKey: "UB"}}, ""},
		{"change the password", history{registered}, change, history{changed}, ""},
		{"change a password that is the user's no more", history{registered, changed}, change, nil, api.AuthenticationError},
		{"log in", history{registered}, login, history{laptop}, ""},
		{"log in by a password that is the user's no more", history{registered, changed}, login, nil, api.AuthenticationError},
		{"set a password", history{registered, changed, disabled}, set, history{changed}, ""},
		{"set nobody's password", nil, set, nil, api.NoSuchUser},
		{"set a local user's password", history{local}, set, nil, api.InvalidArguments},
		{"set the password of one who leaves", history{registered, leaving}, set, nil, api.UserDisabled},
		{"disable", history{registered}, disable, history{disabled}, ""},
		{"disable twice", history{registered, disabled}, disable, nil, ""},
		{"disable nobody", nil, disable, nil, api.NoSuchUser},
		{"disable a local user", history{local}, disable, nil, api.InvalidArguments},
		{"enable", history{registered, disabled}, enable, history{events.UserEnabled{By: "root"}}, ""},
		{"enable an enabled one", history{registered}, enable, nil, ""},
		{"enable one who leaves", history{registered, leaving}, enable, nil, api.UserDisabled},
		{"enable nobody", nil, enable, nil, api.NoSuchUser},
		{"leave", history{registered, disabled}, leave, history{leaving}, ""},
		{"leave twice", history{registered, leaving}, leave, nil, ""},
		{"leave nobody", history{registered, leaving, gone}, leave, nil, api.NoSuchUser},
		{"end", history{registered, leaving}, end, history{gone}, ""},
		{"end one who stays", history{registered}, end, nil, ""},
		{"end twice", history{registered, leaving, gone}, end, nil, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			u := foldtest.Given(t, users.Fold, events.UserSubject("ana"), c.given...)
			got, err := c.when(u)
			name := ""
			if e, ok := api.AsError(err); ok {
				name = e.Name
			}
			if diff := cmp.Diff(c.then, got); diff != "" || name != c.error {
				t.Errorf("%v\n%s", err, diff)
			}
			foldtest.Given(t, users.Fold, events.UserSubject("ana"), append(c.given, got...)...)
		})
	}
}

func TestKeysAreBounded(t *testing.T) {
	history := []events.Data{registered}
	for i := range maxKeys {
		history = append(history, events.UserKeyEnrolled{PublicKey: fmt.Sprint("U", i), Expires: at.Add(time.Hour)})
	}
	u := foldtest.Given(t, users.Fold, events.UserSubject("ana"), history...)
	if _, err := decideEnrol(u, enrol{Key: "UX"}, at); !api.IsKind(err, api.LimitReached) {
		t.Errorf("one too many: %v", err)
	}
	if _, err := decideEnrol(u, enrol{Key: "U1"}, at); err != nil {
		t.Errorf("one that is there: %v", err)
	}
	if _, err := decideEnrol(u, enrol{Key: "UX"}, at.Add(time.Hour)); err != nil {
		t.Errorf("when the others have expired: %v", err)
	}
}

func TestAdmits(t *testing.T) {
	for name, c := range map[string]struct {
		given []events.Data
		key   string
		now   time.Time
		want  bool
	}{
		"enrolled":          {[]events.Data{registered, laptop}, "UA", at, true},
		"to the second":     {[]events.Data{registered, laptop}, "UA", laptop.Expires, false},
		"expired":           {[]events.Data{registered, old}, "UB", at, false},
		"another's":         {[]events.Data{registered, laptop}, "UC", at, false},
		"revoked":           {[]events.Data{registered, laptop, events.UserKeyRevoked{PublicKey: "UA"}}, "UA", at, false},
		"disabled":          {[]events.Data{registered, laptop, disabled}, "UA", at, false},
		"enabled again":     {[]events.Data{registered, laptop, disabled, events.UserEnabled{}}, "UA", at, true},
		"gone":              {[]events.Data{registered, laptop, leaving, gone}, "UA", at, false},
		"in nobody's hands": {nil, "", at, false},
	} {
		t.Run(name, func(t *testing.T) {
			if got := admits(foldtest.Given(t, users.Fold, events.UserSubject("ana"), c.given...), c.key, c.now); got != c.want {
				t.Errorf("admits: %v", got)
			}
		})
	}
}

// TestReservedNames: nobody is called what Hermes and its operator are called in what tells who did something.
func TestReservedNames(t *testing.T) {
	for _, name := range []string{"operator", "accounts"} {
		if err := checkNewUser(name, "a-long-enough-password"); !api.IsKind(err, api.Invalid) {
			t.Errorf("%s is accepted: %v", name, err)
		}
	}
	for _, name := range []string{"operators", "ana"} {
		if err := checkNewUser(name, "a-long-enough-password"); err != nil {
			t.Errorf("%s is refused: %v", name, err)
		}
	}
}
