package users

import (
	"maps"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/projections"
)

// MaxKeys bounds the keys of one user: the view must fit into one message.
const MaxKeys = 1000

// Fold returns the state after the record. It is pure and total over legal histories; anything
// else is an *events.ImpossibleError and leaves the state as it was.
func Fold(u User, r events.Record) (User, error) {
	name, err := events.ParseUserSubject(r.Subject)
	if err != nil {
		return u, projections.Impossible(r, "%v", err)
	}
	next, err := u.apply(r)
	if err != nil {
		return u, err
	}
	next.Name, next.Sequence = name, r.Sequence
	return next, nil
}

func (u User) apply(r events.Record) (User, error) {
	if registered, ok := r.Data.(events.UserRegistered); ok {
		if u.Registered {
			return u, projections.Impossible(r, "the user is registered already")
		}
		return User{
			Registered: true, RegisteredAt: r.Time, Registration: r.ID, Operator: registered.Operator, Local: registered.Local,
		}, nil
	}
	if _, left := r.Data.(events.UserUnregistered); left && u.Sequence == 0 {
		return User{}, nil // all that is kept of who was forgotten
	}
	if !u.Registered {
		return u, projections.Impossible(r, "the user is not registered")
	}
	switch d := r.Data.(type) {
	case events.UserKeyEnrolled:
		return u.enrolled(r, d)
	case events.UserKeyRevoked:
		if _, ok := u.Keys[d.PublicKey]; !ok {
			return u, projections.Impossible(r, "key %q is not enrolled", d.PublicKey)
		}
		u.Keys = maps.Clone(u.Keys)
		delete(u.Keys, d.PublicKey)
		return u, nil
	case events.UserQuotaSet:
		u.Quota = d
		return u, nil
	case events.UserPasswordSet:
		if u.Local {
			return u, projections.Impossible(r, "the NATS server's configuration signs the user in")
		}
		u.PasswordSet = r.ID
		return u, nil
	case events.UserDisabled:
		u.Disabled, u.Leaving = true, u.Leaving || d.Leaving
		return u, nil
	case events.UserEnabled:
		if !u.Disabled || u.Leaving {
			return u, projections.Impossible(r, "the user is not disabled, or is being removed")
		}
		u.Disabled = false
		return u, nil
	case events.UserUnregistered:
		return User{}, nil
	}
	return u, projections.Impossible(r, "it is not an event of a user")
}

// enrolled adds a key. One that is there already gets the new label and expiry: that is how a
// key is kept past its end.
func (u User) enrolled(r events.Record, d events.UserKeyEnrolled) (User, error) {
	_, known := u.Keys[d.PublicKey]
	switch {
	case d.PublicKey == "":
		return u, projections.Impossible(r, "it names no key")
	case !known && len(u.Keys) >= MaxKeys:
		return u, projections.Impossible(r, "there are %d keys already", len(u.Keys))
	}
	keys := maps.Clone(u.Keys)
	if keys == nil {
		keys = map[string]Key{}
	}
	keys[d.PublicKey] = Key{Label: d.Label, EnrolledAt: r.Time, Expires: d.Expires}
	u.Keys = keys
	return u, nil
}
