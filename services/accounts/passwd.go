package accounts

import (
	"context"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/projections/users"
	"github.com/hermes-serverless/hermes/services/api"
)

// changePassword lets another password be the caller's. The old one is asked for, and guesses of it are
// bounded as those of a login are: a key that lies around must not be enough.
func (s *Service) changePassword(ctx context.Context, caller string, ask api.PasswordChange) (api.PasswordChanged, error) {
	none := api.PasswordChanged{User: caller}
	u, err := s.fold(ctx, caller)
	if err != nil {
		return none, err
	}
	switch _, enrolled := u.Keys[ask.Keep]; {
	case u.Local:
		_, err = decidePassword(u, "")
	case len(ask.Password) > api.MaxPasswordBytes:
		err = wrong()
	case ask.RevokeOthers && !enrolled:
		err = api.Errorf(api.NotFound, api.NoSuchKey, "you have no key %q, which is to be kept", api.Clip(ask.Keep)).
			WithHint("`hermes remote keys list` shows yours")
	default:
		err = checkNewPassword(ask.New)
	}
	if err != nil {
		return none, err
	}
	if u, err = s.checkPassword(ctx, caller, ask.Password); err != nil {
		return none, err
	}
	if err := s.replacePassword(ctx, caller, caller, u.Password(), ask.New); err != nil {
		return none, err
	}
	return s.afterPassword(ctx, caller, caller, ask.Keep, ask.RevokeOthers)
}

// setPassword is the operator's. What the user has failed until then is forgiven.
func (s *Service) setPassword(ctx context.Context, who string, ask api.UserPassword) (api.PasswordChanged, error) {
	none := api.PasswordChanged{User: ask.User}
	if events.CheckUserName(ask.User) != nil {
		return none, noSuchUser(ask.User)
	}
	if err := checkNewPassword(ask.Password); err != nil {
		return none, err
	}
	u, err := s.fold(ctx, ask.User)
	if err == nil {
		_, err = decidePassword(u, "")
	}
	if err != nil {
		return none, err
	}
	if err := s.replacePassword(ctx, who, ask.User, "", ask.Password); err != nil {
		return none, err
	}
	s.failures.user.forgive(ask.User)
	return s.afterPassword(ctx, who, ask.User, "", ask.Revoke)
}

func checkNewPassword(password string) error {
	if err := api.CheckPassword(password); err != nil {
		return api.Errorf(api.Invalid, api.InvalidArguments, "%v", err)
	}
	return nil
}

// replacePassword keeps the hash first, under the id of the event that will make it count, as makeUser
// does; the one before goes when nothing refers to it.
func (s *Service) replacePassword(ctx context.Context, by, name, checked, password string) error {
	hash, err := s.hasher.hash(ctx, password)
	if err != nil {
		return err
	}
	id := s.NewID()
	if err := s.secrets.keep(ctx, id, hash); err != nil {
		return err
	}
	before := ""
	_, err = s.commitAs(ctx, name, by, func() string { return id }, func(u users.User) ([]events.Data, error) {
		before = u.Password()
		return decidePassword(u, checked)
	})
	useless := before
	if _, refused := api.AsError(err); refused {
		useless = id
	} else if err != nil {
		return err
	}
	if forgetErr := s.secrets.forget(context.WithoutCancel(ctx), useless); forgetErr != nil {
		s.Log.Warn("a password's hash stays that is of no use", "err", forgetErr)
	}
	return err
}

// afterPassword ends the keys that are to end, and says which are good.
func (s *Service) afterPassword(ctx context.Context, by, name, keep string, revoke bool) (api.PasswordChanged, error) {
	changed := api.PasswordChanged{User: name, Revoked: []api.Key{}}
	var before users.User
	after, err := s.commit(ctx, name, by, func(u users.User) ([]events.Data, error) {
		before = u
		if !revoke {
			return nil, nil
		}
		return decideRevokeOthers(u, keep), nil
	})
	if err != nil {
		return changed, err
	}
	for _, k := range shown(before, s.Now(), true) {
		if _, still := after.Keys[k.Key]; !still {
			changed.Revoked = append(changed.Revoked, k)
		}
	}
	changed.Kept = len(shown(after, s.Now(), false))
	s.endSoon(name, changed.Revoked)
	return changed, nil
}

// forgetPasswords forgets every hash that may be kept of a user.
func (s *Service) forgetPasswords(ctx context.Context, u users.User) error {
	if err := s.secrets.forget(ctx, u.Password()); err != nil || u.PasswordSet == "" {
		return err
	}
	return s.secrets.forget(ctx, u.Registration)
}
