package audit_test

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/projections/audit"
)

var at = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)

func record(subject, by string, data events.Data) events.Record {
	return events.Record{Event: events.Event{ID: "ID", Source: "test", By: by, Time: at, Data: data}, Subject: subject, Sequence: 7}
}

func TestRow(t *testing.T) {
	ana := events.UserSubject("ana")
	audited := func(by string, data events.Data) events.Record {
		return record(events.AuditSubject(data.Type()), by, data)
	}
	for name, c := range map[string]struct {
		given []events.Record
		want  audit.Row
	}{
		"registered by the operator": {[]events.Record{record(ana, "root", events.UserRegistered{})}, audit.Row{User: "ana", By: "root", Outcome: audit.OK}},
		"a key": {
			[]events.Record{record(ana, "ana", events.UserKeyEnrolled{PublicKey: "U1", Label: "laptop", Expires: at})},
			audit.Row{User: "ana", By: "ana", Key: "U1", Label: "laptop", Outcome: audit.OK, Detail: "until 2026-11-24T12:00:00Z"},
		},
		"a revoked key has the label that it was enrolled with": {
			[]events.Record{record(ana, "ana", events.UserKeyEnrolled{PublicKey: "U1", Label: "laptop"}), record(ana, "root", events.UserKeyRevoked{PublicKey: "U1"})},
			audit.Row{User: "ana", By: "root", Key: "U1", Label: "laptop", Outcome: audit.OK},
		},
		"disabled when events told nobody but themselves": {
			[]events.Record{record(ana, "", events.UserDisabled{By: "root", Leaving: true})}, audit.Row{User: "ana", By: "root", Outcome: audit.OK, Detail: "to be removed"},
		},
		"a login": {
			[]events.Record{audited("", events.LoginSucceeded{User: "ana", Address: "192.0.2.1", Count: 3, Since: at})},
			audit.Row{User: "ana", By: "ana", Address: "192.0.2.1", Outcome: audit.OK, Count: 3, Since: at},
		},
		"a failed login of no user": {
			[]events.Record{audited("", events.LoginFailed{Address: "192.0.2.1", Reason: events.LoginPassword, Count: 1, Since: at})},
			audit.Row{Address: "192.0.2.1", Outcome: "password", Since: at, Detail: "no user's name"},
		},
		"failures from many addresses": {
			[]events.Record{audited("", events.LoginFailed{Reason: events.LoginKey, Count: 900, Since: at})},
			audit.Row{Outcome: "key", Count: 900, Since: at, Detail: "address not known, or one of many"},
		},
		"a key that was used": {
			[]events.Record{record(ana, "ana", events.UserKeyEnrolled{PublicKey: "U1", Label: "laptop"}), audited("", events.KeyUsed{User: "ana", PublicKey: "U1", Address: "192.0.2.1", Count: 1, Since: at})},
			audit.Row{User: "ana", By: "ana", Address: "192.0.2.1", Key: "U1", Label: "laptop", Outcome: audit.OK, Since: at},
		},
		"in vain": {
			[]events.Record{audited("root", events.OperatorActed{Action: "user.remove", About: "zoe", Failed: "NoSuchUser"})},
			audit.Row{User: "zoe", By: "root", Outcome: "NoSuchUser", Detail: "user.remove, zoe"},
		},
		"a base": {
			[]events.Record{record(events.BaseSubject("gcc"), "root", events.BaseRemoved{Images: []string{"sha256:1"}, Forced: true})},
			audit.Row{By: "root", Outcome: audit.OK, Detail: "gcc, sha256:1, forced"},
		},
		"a language": {
			[]events.Record{record(events.LanguageSubject("cpp"), "root", events.LanguageBaseSet{Base: "gcc"})},
			audit.Row{By: "root", Outcome: audit.OK, Detail: "cpp, is built on gcc"},
		},
		"a drain": {
			[]events.Record{record(events.WatcherSubject("gpu1"), "", events.WatcherCordoned{GPU: "GPU-1", Reason: "a new fan", By: "root"})},
			audit.Row{By: "root", Outcome: audit.OK, Detail: "gpu1, GPU-1, a new fan"},
		},
		"a drain that was taken back": {
			[]events.Record{record(events.WatcherSubject("gpu1"), "", events.WatcherUncordoned{By: "root"})},
			audit.Row{By: "root", Outcome: audit.OK, Detail: "gpu1"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			reader, got := &audit.Reader{}, audit.Row{}
			for _, r := range c.given {
				got = reader.Row(r, nil)
			}
			last := c.given[len(c.given)-1]
			c.want.Time, c.want.Type, c.want.ID, c.want.Subject, c.want.Sequence = at, last.Data.Type(), "ID", last.Subject, 7
			c.want.Count = max(c.want.Count, 1)
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestOfAWatcherOnlyDrainsAreShown(t *testing.T) {
	for _, typ := range []events.Data{events.WatcherCordoned{}, events.WatcherUncordoned{}, events.UserDisabled{}, nil} {
		if !audit.Shows(events.Record{Event: events.Event{Data: typ}}) {
			t.Errorf("%T is not shown", typ)
		}
	}
	for _, typ := range []events.Data{events.WatcherJoined{}, events.WatcherLeft{}, events.WatcherLost{}, events.ExecutionStarted{}} {
		if audit.Shows(events.Record{Event: events.Event{Data: typ}}) {
			t.Errorf("%T is shown", typ)
		}
	}
}

func TestWhatCannotBeReadIsShown(t *testing.T) {
	got := (&audit.Reader{}).Row(events.Record{Subject: "hermes.audit.login_failed", Sequence: 3}, errors.New("it is torn"))
	if got.Name() != "unreadable" || got.Detail != "it cannot be read: it is torn" || got.Sequence != 3 {
		t.Errorf("%+v", got)
	}
}

func TestFilter(t *testing.T) {
	row := audit.Row{Time: at, Type: events.UserDisabled{}.Type(), User: "ana", By: "root"}
	for name, c := range map[string]struct {
		f    audit.Filter
		want bool
	}{
		"all": {audit.Filter{}, true}, "about": {audit.Filter{User: "ana"}, true}, "by": {audit.Filter{User: "root"}, true}, "another": {audit.Filter{User: "bob"}, false},
		"later": {audit.Filter{Since: at.Add(1)}, false}, "at once": {audit.Filter{Since: at}, true},
		"area": {audit.Filter{Types: []string{"user"}}, true}, "word": {audit.Filter{Types: []string{"base", "disabled"}}, true},
		"both": {audit.Filter{Types: []string{"user.disabled"}}, true}, "other": {audit.Filter{Types: []string{"user.enabled"}}, false},
	} {
		if err := c.f.Check(); err != nil || c.f.Picks(row) != c.want {
			t.Errorf("%s: %v, %v", name, c.f.Picks(row), err)
		}
	}
	if err := (audit.Filter{Types: []string{"user.started"}}).Check(); err == nil {
		t.Error("a type that there is not is taken")
	}
	for _, typ := range audit.Types() {
		if err := (audit.Filter{Types: []string{audit.NameOf(typ)}}).Check(); err != nil {
			t.Error(err)
		}
	}
}
