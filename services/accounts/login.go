package accounts

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/projections/users"
	"github.com/hermes-serverless/hermes/services/api"
)

// wrong is the one answer to a wrong name and to a wrong password.
func wrong() error {
	return api.Errorf(api.Unauthorized, api.AuthenticationError, "wrong username or password")
}

// login enrols the key that the connection proved to hold.
func (s *Service) login(ctx context.Context, key string, ask api.Login) (api.LoggedIn, error) {
	if err := checkLogin(key, ask); err != nil {
		return api.LoggedIn{}, err
	}
	u, err := s.checkPassword(ctx, ask.User, ask.Password)
	if err != nil {
		return api.LoggedIn{}, err
	}
	return s.enrol(ctx, key, u.Password(), ask)
}

// checkPassword finds out whether the password is the user's. It does the same work whatever is wrong,
// and few failures are forgiven, of the name and of the address. It returns the user whose password it is.
func (s *Service) checkPassword(ctx context.Context, name, password string) (users.User, error) {
	host := api.ClientHost(ctx)
	u := users.User{}
	if err := s.takeAttempt(name, host); err != nil {
		s.failed(name, host, events.LoginThrottled)
		return u, err
	}
	if events.CheckUserName(name) == nil {
		var err error
		if u, err = s.fold(ctx, name); err != nil {
			return u, err
		}
	}
	hash, err := s.secrets.hash(ctx, u.Password())
	if err != nil {
		return u, err
	}
	matches, err := s.hasher.matches(ctx, hash, password)
	switch {
	case err != nil:
		return u, err
	case !matches:
		s.failed(name, host, events.LoginPassword)
		return u, wrong()
	}
	now := s.Now()
	s.failures.user.giveBack(name, now)
	s.failures.address.giveBack(networkOf(host), now)
	return u, nil
}

// takeAttempt counts an attempt for the name and for the address. Those who are logged in come without
// an address: one of them must not use up the attempts of all others.
func (s *Service) takeAttempt(name, host string) error {
	now := s.Now()
	wait := time.Duration(0)
	if host != "" {
		wait = s.failures.address.take(networkOf(host), now)
	}
	if wait == 0 {
		if wait = s.failures.user.take(api.Clip(name), now); wait > 0 {
			s.failures.address.giveBack(networkOf(host), now)
		}
	}
	if wait == 0 {
		return nil
	}
	return api.Errorf(api.LimitReached, api.TooManyAttempts, "too many failed logins").
		WithHint("try again in %s", max(wait, time.Second).Round(time.Second))
}

func checkLogin(key string, ask api.Login) error {
	switch {
	case len(ask.Password) > api.MaxPasswordBytes, len(ask.User) > events.MaxNameBytes:
		return wrong()
	case ask.ExpiresSeconds < 0 || ask.ExpiresSeconds > int64(api.MaxLogin.Seconds()):
		return api.Errorf(api.Invalid, api.InvalidArguments, "a login of %d seconds: must be from 1 second to %d days", ask.ExpiresSeconds, int(api.MaxLogin.Hours()/24))
	case len(ask.Label) > api.MaxLabelBytes:
		return api.Errorf(api.Invalid, api.InvalidArguments, "the label is longer than %d bytes", api.MaxLabelBytes)
	}
	return checkKey(key)
}

// enrol lets the key act as the user. checked is which password was found to be right: it may have been
// changed meanwhile, and the keys that it was good for revoked.
func (s *Service) enrol(ctx context.Context, key, checked string, ask api.Login) (api.LoggedIn, error) {
	now := s.Now()
	lasts := time.Duration(ask.ExpiresSeconds) * time.Second
	if lasts == 0 {
		lasts = api.DefaultLogin
	}
	command := enrol{Key: key, Label: printable(ask.Label), Expires: now.Add(lasts).UTC().Truncate(time.Second), Checked: checked}
	_, err := s.commit(ctx, ask.User, ask.User, func(u users.User) ([]events.Data, error) { return decideEnrol(u, command, now) })
	if err != nil {
		if _, known := api.AsError(err); known {
			s.failed(ask.User, api.ClientHost(ctx), events.LoginRefused)
		}
		return api.LoggedIn{}, err
	}
	s.recorder.note(s.recorder.logins, fact{user: ask.User, address: api.ClientHost(ctx)}, now)
	return api.LoggedIn{User: ask.User, Key: key, Expires: command.Expires}, nil
}

// printable drops what would move the cursor of who lists keys.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return -1
		}
		return r
	}, text)
}

// register makes a user, if the policy lets it, and logs in.
func (s *Service) register(ctx context.Context, key string, ask api.Register) (api.LoggedIn, error) {
	if s.Registration == api.RegistrationClosed {
		s.failed("", api.ClientHost(ctx), events.LoginInvite)
		return api.LoggedIn{}, api.Errorf(api.Unauthorized, api.RegistrationClosedErr, "this server takes no registrations").
			WithHint("its operator can add you: `hermesd user add NAME`")
	}
	if err := checkLogin(key, ask.Login); err != nil {
		return api.LoggedIn{}, err
	}
	if err := checkNewUser(ask.User, ask.Password); err != nil {
		return api.LoggedIn{}, err
	}
	// Guessing invitations, and registering in bulk, is bounded like guessing passwords.
	host := api.ClientHost(ctx)
	if wait := s.failures.address.take(networkOf(host), s.Now()); wait > 0 {
		s.failed("", host, events.LoginThrottled)
		return api.LoggedIn{}, api.Errorf(api.LimitReached, api.TooManyAttempts, "too many registrations and failed logins from your address").
			WithHint("try again in %s", max(wait, time.Second).Round(time.Second))
	}
	giveBack := func(context.Context) error { return nil }
	if s.Registration == api.RegistrationInvite {
		var err error
		if giveBack, err = s.secrets.redeem(ctx, ask.Invite, ask.User, s.Now()); err != nil {
			s.failed("", host, events.LoginInvite)
			return api.LoggedIn{}, err
		}
	}
	if err := s.makeUser(ctx, ask.User, ask.User, ask.Password); err != nil {
		if backErr := giveBack(context.WithoutCancel(ctx)); backErr != nil {
			s.Log.Error("an invitation was used up for nothing", "user", ask.User, "err", backErr)
		}
		return api.LoggedIn{}, err
	}
	return s.enrol(ctx, key, "", ask.Login)
}

// reserved are names that nobody gets: they stand for others in what tells who did something. One who is in
// the server's configuration may have them.
var reserved = []string{"operator", source}

// checkNewName refuses a name that no new user can have.
func checkNewName(name string) error {
	if err := events.CheckUserName(name); err != nil {
		return api.Errorf(api.Invalid, api.InvalidArguments, "%v", err)
	}
	if slices.Contains(reserved, name) {
		return api.Errorf(api.Invalid, api.InvalidArguments, "nobody can be called %s: events that Hermes makes itself say so", name).
			WithHint("choose another name")
	}
	return nil
}

func checkNewUser(name, password string) error {
	if err := checkNewName(name); err != nil {
		return err
	}
	if err := api.CheckPassword(password); err != nil {
		return api.Errorf(api.Invalid, api.InvalidArguments, "%v", err)
	}
	return nil
}

// makeUser registers. The hash is kept first, under the id of the event that will make it count: of
// two who want one name, each has kept their own, and only the winner's is ever looked for. by is who
// asks for it.
func (s *Service) makeUser(ctx context.Context, by, name, password string) error {
	u, err := s.fold(ctx, name)
	if err == nil {
		_, err = decideRegister(u, name)
	}
	if err != nil {
		return err
	}
	hash, err := s.hasher.hash(ctx, password)
	if err != nil {
		return err
	}
	registration := s.NewID()
	if err := s.secrets.keep(ctx, registration, hash); err != nil {
		return err
	}
	same := func() string { return registration }
	_, err = s.commitAs(ctx, name, by, same, func(u users.User) ([]events.Data, error) { return decideRegister(u, name) })
	if api.IsKind(err, api.Exists) {
		if forgetErr := s.secrets.forget(context.WithoutCancel(ctx), registration); forgetErr != nil {
			s.Log.Warn("a password's hash stays that is of no use", "err", forgetErr)
		}
	}
	return err
}

// keyState tells the holder of a key what it is worth.
func (s *Service) keyState(ctx context.Context, key string, _ api.KeyStateRequest) (api.KeyState, error) {
	state := api.KeyState{Registration: s.Registration}
	if err := s.directory.catchUp(ctx, s.Users); err != nil {
		return state, err
	}
	if u, known := s.directory.owner(key); known {
		k := u.Keys[key]
		state.User, state.Expires, state.Disabled, state.Expired = u.Name, k.Expires, u.Disabled, expired(k, s.Now())
	}
	return state, nil
}
