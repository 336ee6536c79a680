package accounts

import (
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nkeys"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/projections/users"
	"github.com/hermes-serverless/hermes/services/api"
)

// maxKeys bounds the keys of one user that are good at the same time.
const maxKeys = 50

// decideRegister makes the user. Error: UserAlreadyExists, also for a name that somebody had once.
func decideRegister(u users.User, name string) ([]events.Data, error) {
	if u.Sequence != 0 {
		return nil, api.Errorf(api.Exists, api.UserAlreadyExists, "the user name %s is taken", name).
			WithHint("choose another; the name of a user who left is not given again either")
	}
	return []events.Data{events.UserRegistered{}}, nil
}

// decideLocal makes a user that the server's configuration signs in, if they are not there. Error:
// somebody else has the name.
func decideLocal(u users.User, name string) ([]events.Data, error) {
	switch {
	case u.Registered && u.Local:
		return nil, nil
	case u.Sequence != 0:
		return nil, api.Errorf(api.Exists, api.UserAlreadyExists,
			"%s is in the NATS server's configuration, and somebody who registered has, or had, that name", name).
			WithHint("choose another name for the local user")
	}
	return []events.Data{events.UserRegistered{Local: true}}, nil
}

// enrol is the command to let a key act as a user.
type enrol struct {
	Key, Label string
	Expires    time.Time
	// Checked is which password was found to be right; empty for who has just registered.
	Checked string
}

// decideEnrol enrols the key. Keys that have expired make room. Error: KeysLimitReached, what usable
// refuses, and a password that is not the user's any more.
func decideEnrol(u users.User, e enrol, now time.Time) ([]events.Data, error) {
	if err := usable(u); err != nil {
		return nil, err
	}
	if e.Checked != "" && e.Checked != u.Password() {
		return nil, wrong()
	}
	var decided []events.Data
	good := 0
	for _, key := range slices.Sorted(maps.Keys(u.Keys)) {
		switch {
		case key == e.Key:
		case expired(u.Keys[key], now):
			decided = append(decided, events.UserKeyRevoked{PublicKey: key})
		default:
			good++
		}
	}
	if good >= maxKeys {
		return nil, api.Errorf(api.LimitReached, api.KeysLimitReached, "%s is logged in %d times, which is the limit", u.Name, good).
			WithHint("`hermes remote keys list` shows where, `hermes remote keys revoke KEY` ends one")
	}
	return append(decided, events.UserKeyEnrolled{PublicKey: e.Key, Label: e.Label, Expires: e.Expires}), nil
}

// usable says why a user cannot log in although the password is right.
func usable(u users.User) error {
	if u.Disabled || u.Local || !u.Registered {
		return api.Errorf(api.Unauthorized, api.UserDisabled, "the account %s is disabled", u.Name).
			WithHint("the operator of the server can enable it")
	}
	return nil
}

// decideRevoke ends the keys that begin with the prefix, all of them if it is empty. Error: NoSuchKey,
// or InvalidArguments if several begin so.
func decideRevoke(u users.User, prefix string) (decided []events.Data, revoked []string, err error) {
	for _, key := range slices.Sorted(maps.Keys(u.Keys)) {
		if strings.HasPrefix(key, prefix) {
			decided = append(decided, events.UserKeyRevoked{PublicKey: key})
			revoked = append(revoked, key)
		}
	}
	switch {
	case prefix != "" && len(revoked) == 0:
		return nil, nil, api.Errorf(api.NotFound, api.NoSuchKey, "you have no key %q", api.Clip(prefix)).
			WithHint("`hermes remote keys list` shows yours")
	case prefix != "" && len(revoked) > 1:
		return nil, nil, api.Errorf(api.Invalid, api.InvalidArguments, "%d of your keys begin with %q", len(revoked), api.Clip(prefix)).
			WithHint("give more of it")
	}
	return decided, revoked, nil
}

// decidePassword lets another password be the user's, instead of the one that was checked; checked is
// empty where the operator decides.
func decidePassword(u users.User, checked string) ([]events.Data, error) {
	switch {
	case !u.Registered:
		return nil, noSuchUser(u.Name)
	case u.Local:
		return nil, api.Errorf(api.State, api.InvalidArguments, "%s has no password: the NATS server's configuration signs them in", u.Name)
	case u.Leaving:
		return nil, api.Errorf(api.State, api.UserDisabled, "%s is being removed", u.Name)
	case checked != "" && checked != u.Password():
		return nil, api.Errorf(api.State, api.AuthenticationError, "somebody else has changed the password of %s at this moment", u.Name)
	}
	return []events.Data{events.UserPasswordSet{}}, nil
}

// decideRevokeOthers ends all keys but one; empty: all.
func decideRevokeOthers(u users.User, keep string) (decided []events.Data) {
	for _, key := range slices.Sorted(maps.Keys(u.Keys)) {
		if key != keep {
			decided = append(decided, events.UserKeyRevoked{PublicKey: key})
		}
	}
	return decided
}

// decideDisable takes the use of all keys away.
func decideDisable(u users.User, by string, leaving bool) ([]events.Data, error) {
	switch {
	case !u.Registered:
		return nil, noSuchUser(u.Name)
	case u.Local:
		return nil, api.Errorf(api.State, api.InvalidArguments, "%s is signed in by the NATS server's configuration", u.Name).
			WithHint("take the key out of the configuration of the server")
	case u.Leaving, u.Disabled && !leaving:
		return nil, nil
	}
	return []events.Data{events.UserDisabled{By: by, Leaving: leaving}}, nil
}

func decideEnable(u users.User, by string) ([]events.Data, error) {
	switch {
	case !u.Registered:
		return nil, noSuchUser(u.Name)
	case u.Leaving:
		return nil, api.Errorf(api.State, api.UserDisabled, "%s is being removed", u.Name)
	case !u.Disabled:
		return nil, nil
	}
	return []events.Data{events.UserEnabled{By: by}}, nil
}

// decideUnregister ends a user whose things are gone.
func decideUnregister(u users.User, by string) ([]events.Data, error) {
	if !u.Registered || !u.Leaving {
		return nil, nil
	}
	return []events.Data{events.UserUnregistered{By: by}}, nil
}

// admits says whether the key lets its holder in as the user, now.
func admits(u users.User, key string, now time.Time) bool {
	k, enrolled := u.Keys[key]
	return enrolled && u.Registered && !u.Disabled && !u.Local && !expired(k, now)
}

func expired(k users.Key, now time.Time) bool { return !k.Expires.IsZero() && !now.Before(k.Expires) }

func noSuchUser(name string) error {
	return api.Errorf(api.NotFound, api.NoSuchUser, "there is no user %q", api.Clip(name)).
		WithHint("`hermesd user list` shows all")
}

// checkKey refuses what is no public nkey of a user.
func checkKey(key string) error {
	if !nkeys.IsValidPublicUserKey(key) {
		return api.Errorf(api.Invalid, api.InvalidArguments, "the key is no public nkey of a user")
	}
	return nil
}
