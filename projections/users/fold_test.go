package users_test

import (
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/projections/foldtest"
	"github.com/hermes-serverless/hermes/projections/users"
)

var subject = events.UserSubject("alice")

func TestFold(t *testing.T) {
	foldtest.Check(t, foldtest.Case[users.User]{
		Subject: subject, Fold: users.Fold, Projection: users.Projection, Next: next,
	})
}

func next(t *rapid.T, u users.User) events.Data {
	if !u.Registered {
		return events.UserRegistered{Operator: rapid.Bool().Draw(t, "operator"), Local: rapid.Bool().Draw(t, "local")}
	}
	key := fmt.Sprint("U", rapid.IntRange(1, 3).Draw(t, "key"))
	may := []events.Data{
		events.UserKeyEnrolled{PublicKey: key, Label: "laptop"}, events.UserQuotaSet{GPUs: 2}, events.UserUnregistered{By: "root"},
		events.UserDisabled{By: "root", Leaving: rapid.Bool().Draw(t, "leaving")},
	}
	if !u.Local {
		may = append(may, events.UserPasswordSet{})
	}
	if u.Disabled && !u.Leaving {
		may = append(may, events.UserEnabled{By: "root"})
	}
	if _, enrolled := u.Keys[key]; enrolled {
		may = append(may, events.UserKeyRevoked{PublicKey: key})
	}
	return rapid.SampledFrom(may).Draw(t, "event")
}

func TestFoldRefuses(t *testing.T) {
	registered := events.UserRegistered{}
	unknown := []events.Data{events.UserKeyEnrolled{PublicKey: "U"}, events.UserKeyRevoked{PublicKey: "U"}, events.UserQuotaSet{}, events.UserDisabled{}, events.UserEnabled{}, events.UserPasswordSet{}}
	for name, c := range map[string]struct{ given, refused []events.Data }{
		"never registered": {nil, unknown},
		"unregistered":     {[]events.Data{registered, events.UserUnregistered{}}, append(unknown, events.UserUnregistered{})},
		"registered":       {[]events.Data{registered}, []events.Data{registered, events.UserKeyRevoked{PublicKey: "U"}, events.UserKeyEnrolled{}}},
		"revoked":          {[]events.Data{registered, events.UserKeyEnrolled{PublicKey: "U"}, events.UserKeyRevoked{PublicKey: "U"}}, []events.Data{events.UserKeyRevoked{PublicKey: "U"}}},
		"local":            {[]events.Data{events.UserRegistered{Local: true}}, []events.Data{events.UserPasswordSet{}}},
		"not disabled":     {[]events.Data{registered, events.UserDisabled{}, events.UserEnabled{}}, []events.Data{events.UserEnabled{}}},
		"leaving":          {[]events.Data{registered, events.UserDisabled{Leaving: true}, events.UserDisabled{}}, []events.Data{events.UserEnabled{}}},
	} {
		t.Run(name, func(t *testing.T) {
			u := foldtest.Given(t, users.Fold, subject, c.given...)
			for _, d := range c.refused {
				foldtest.WantRefused(t, users.Fold, u, foldtest.Record(subject, 100, d))
			}
		})
	}
}

func TestTheNameCanBeTakenAgain(t *testing.T) {
	u := foldtest.Given(t, users.Fold, subject, events.UserRegistered{Operator: true}, events.UserKeyEnrolled{PublicKey: "U"},
		events.UserQuotaSet{GPUs: 1}, events.UserUnregistered{}, events.UserRegistered{})
	if u.Registration != foldtest.Record(subject, 5, events.UserRegistered{}).ID {
		t.Errorf("the registration is %q", u.Registration)
	}
	if u.Operator || len(u.Keys) != 0 || u.Quota.GPUs != 0 || !u.Registered || u.RegisteredAt.Unix() != 5 {
		t.Errorf("the new user has something of the old one: %+v", u)
	}
}

func TestPassword(t *testing.T) {
	set := events.UserPasswordSet{}
	first := foldtest.Record(subject, 1, events.UserRegistered{}).ID
	for want, given := range map[string][]events.Data{
		first:                               {events.UserRegistered{}},
		foldtest.Record(subject, 2, set).ID: {events.UserRegistered{}, set},
		foldtest.Record(subject, 3, set).ID: {events.UserRegistered{}, set, set},
	} {
		if u := foldtest.Given(t, users.Fold, subject, given...); u.Password() != want {
			t.Errorf("%d events: the password is under %q, want %q", len(given), u.Password(), want)
		}
	}
}

// TestAllThatIsLeft of a user who was forgotten says that the name is taken, and is no view.
func TestAllThatIsLeft(t *testing.T) {
	left := foldtest.Record(subject, 7, events.UserUnregistered{By: "alice"})
	u, err := users.Fold(users.User{}, left)
	if err != nil || u.Registered || u.Sequence != 7 {
		t.Errorf("it is %+v, %v", u, err)
	}
	tx := foldtest.Tx{}
	for _, r := range []events.Record{foldtest.Record(subject, 1, events.UserKeyRevoked{PublicKey: "U"}), foldtest.Record(events.UserSubject("bob"), 2, events.UserEnabled{}), left} {
		if err := users.Projection.Step(tx, r, nil); err != nil {
			t.Fatal(err)
		}
	}
	if len(tx) != 1 || tx["quarantine.2"] == nil {
		t.Errorf("the views have %v, want what is in quarantine of bob", tx)
	}
}
