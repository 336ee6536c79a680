// Package audit says of each event that has to do with who may do what, or with what the operator did: who
// did it, from where, to whom, and how it ended. It folds the events of users and bases, the drains of
// watchers and the audit's own; none is stored twice.
package audit

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/projections/quotas"
)

// OK is the outcome of what succeeded.
const OK = "ok"

// Row is one event as it is shown.
type Row struct {
	Time time.Time `json:"time"`
	// Type is the event's, or empty for one that cannot be read.
	Type events.Type `json:"type,omitempty"`
	// User is whom it is about; empty where that is no user.
	User string `json:"user,omitempty"`
	// By is who did it; empty where that is not known.
	By string `json:"by,omitempty"`
	// Address is where they were, as far as it is known.
	Address string `json:"address,omitempty"`
	// Key is a public nkey, Label where it lives.
	Key   string `json:"key,omitempty"`
	Label string `json:"label,omitempty"`
	// Outcome is OK, or in one word why not.
	Outcome string `json:"outcome"`
	// Count is how many times, the first of them at Since.
	Count int64     `json:"count"`
	Since time.Time `json:"since,omitzero"`
	// Detail is the rest, in words.
	Detail string `json:"detail,omitempty"`
	// ID is the event's; Subject and Sequence are where it is stored.
	ID       string `json:"id,omitempty"`
	Subject  string `json:"subject"`
	Sequence uint64 `json:"sequence"`
}

// Name is the type's own name with what it is about: "user.registered".
func (r Row) Name() string { return NameOf(r.Type) }

// NameOf is a type's own name with what it is about.
func NameOf(t events.Type) string {
	words := strings.Split(string(t), ".")
	if len(words) != 5 {
		return "unreadable"
	}
	return words[2] + "." + words[4]
}

// Types are those that the audit shows.
func Types() []events.Type {
	var types []events.Type
	for _, t := range events.Types() {
		if isShown(t) {
			types = append(types, t)
		}
	}
	return types
}

func isShown(t events.Type) bool {
	switch area, _, _ := strings.Cut(NameOf(t), "."); area {
	case "user", "base", "language", "audit":
		return true
	}
	return t == events.WatcherCordoned{}.Type() || t == events.WatcherUncordoned{}.Type()
}

// Shows reports whether the audit shows the event: of a watcher most events are its own. What cannot be
// read is shown.
func Shows(r events.Record) bool { return r.Data == nil || isShown(r.Data.Type()) }

// Reader remembers what a row needs of the events before it: the labels of keys. Its zero value is one
// that has read nothing. The events of each stream must be given in their order.
type Reader struct{ labels map[string]string }

// Row is what an event says. unreadable is why it cannot be decoded, nil for one that can.
func (a *Reader) Row(r events.Record, unreadable error) Row {
	row := Row{Time: r.Time, By: r.By, Outcome: OK, Count: 1, ID: r.ID, Subject: r.Subject, Sequence: r.Sequence}
	if unreadable != nil {
		row.Detail = "it cannot be read: " + unreadable.Error()
		return row
	}
	row.Type = r.Data.Type()
	if name, err := events.ParseUserSubject(r.Subject); err == nil {
		row.User = name
		a.user(&row, r.Data)
		return row
	}
	a.rest(&row, r)
	return row
}

// user tells an event of a user.
func (a *Reader) user(row *Row, data events.Data) {
	switch d := data.(type) {
	case events.UserRegistered:
		if d.Local {
			row.Detail = "signed in by the NATS server's configuration"
		}
	case events.UserKeyEnrolled:
		a.label(d.PublicKey, d.Label)
		row.Key, row.Label = d.PublicKey, d.Label
		if !d.Expires.IsZero() {
			row.Detail = "until " + d.Expires.UTC().Format(time.RFC3339)
		}
	case events.UserKeyRevoked:
		row.Key, row.Label = d.PublicKey, a.labels[d.PublicKey]
	case events.UserQuotaSet:
		row.Detail = cmp.Or(quotas.Words(d), "all as by default")
	case events.UserDisabled:
		row.By = cmp.Or(row.By, d.By)
		if d.Leaving {
			row.Detail = "to be removed"
		}
	case events.UserEnabled:
		row.By = cmp.Or(row.By, d.By)
	case events.UserUnregistered:
		row.By = cmp.Or(row.By, d.By)
	}
}

// rest tells an event that has no user of its own.
func (a *Reader) rest(row *Row, r events.Record) {
	switch d := r.Data.(type) {
	case events.BaseImported:
		row.Detail = join(nameIn(r.Subject, events.ParseBaseSubject), d.Image.Digest, "from "+d.Source)
	case events.BaseRemoved:
		row.Detail = join(nameIn(r.Subject, events.ParseBaseSubject), strings.Join(d.Images, " "))
		if d.Forced {
			row.Detail += ", forced"
		}
	case events.WatcherCordoned:
		row.By = cmp.Or(row.By, d.By)
		row.Detail = join(nameIn(r.Subject, events.ParseWatcherSubject), d.GPU, d.Reason)
	case events.WatcherUncordoned:
		row.By = cmp.Or(row.By, d.By)
		row.Detail = join(nameIn(r.Subject, events.ParseWatcherSubject), d.GPU)
	case events.LanguageBaseSet:
		row.Detail = join(nameIn(r.Subject, events.ParseLanguageSubject), "is built on "+d.Base)
	case events.LoginSucceeded:
		row.counted(d.User, d.Address, d.Count, d.Since)
		row.By = d.User
	case events.LoginFailed:
		row.counted(d.User, d.Address, d.Count, d.Since)
		row.Outcome = d.Reason
		if d.User == "" && d.Reason == events.LoginPassword {
			row.Detail = "no user's name"
		}
		if d.Address == "" {
			row.Detail = join(row.Detail, "address not known, or one of many")
		}
	case events.KeyUsed:
		row.counted(d.User, d.Address, d.Count, d.Since)
		row.By, row.Key, row.Label = d.User, d.PublicKey, a.labels[d.PublicKey]
	case events.OperatorActed:
		row.Detail = join(d.Action, d.About, d.Detail)
		row.Outcome = cmp.Or(d.Failed, OK)
		if strings.HasPrefix(d.Action, "user.") {
			row.User = d.About
		}
	}
}

func (r *Row) counted(user, address string, n int64, since time.Time) {
	r.User, r.Address, r.Count, r.Since = user, address, n, since
}

func (a *Reader) label(key, label string) {
	if a.labels == nil {
		a.labels = map[string]string{}
	}
	a.labels[key] = label
}

func nameIn(subject string, parse func(string) (string, error)) string {
	name, err := parse(subject)
	if err != nil {
		return subject
	}
	return name
}

func join(parts ...string) string {
	kept := parts[:0:0]
	for _, p := range parts {
		if p != "" {
			kept = append(kept, p)
		}
	}
	return strings.Join(kept, ", ")
}

// Filter picks rows. Its zero value picks all.
type Filter struct {
	// Since is the earliest time.
	Since time.Time
	// User is whom it is about, or who did it.
	User string
	// Types are names, "login_failed" or "audit.login_failed", or what they are about, "base".
	Types []string
}

// Check returns an error that names a type that there is not.
func (f Filter) Check() error {
	for _, word := range f.Types {
		known := false
		for _, t := range Types() {
			known = known || matches(word, NameOf(t))
		}
		if !known {
			return fmt.Errorf("%q is no type of the audit", word)
		}
	}
	return nil
}

// Picks reports whether the row is one of those.
func (f Filter) Picks(r Row) bool {
	if r.Time.Before(f.Since) || f.User != "" && f.User != r.User && f.User != r.By {
		return false
	}
	for _, word := range f.Types {
		if matches(word, r.Name()) {
			return true
		}
	}
	return len(f.Types) == 0
}

func matches(word, name string) bool {
	area, own, _ := strings.Cut(name, ".")
	return word == name || word == own || word == area
}
