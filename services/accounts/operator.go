package accounts

import (
	"context"
	"time"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/projections/users"
	"github.com/hermes-serverless/hermes/services/api"
)

// maxInvite bounds how long an invitation waits to be used.
const maxInvite = 366 * 24 * time.Hour

func (s *Service) invite(ctx context.Context, who string, ask api.UserInvite) (api.Invited, error) {
	ttl := time.Duration(ask.ExpiresSeconds) * time.Second
	if ask.ExpiresSeconds < 1 || ask.ExpiresSeconds > int64(maxInvite.Seconds()) {
		return api.Invited{}, api.Errorf(api.Invalid, api.InvalidArguments, "an invitation for %d seconds: must be from 1 second to 366 days", ask.ExpiresSeconds)
	}
	if s.Registration == api.RegistrationClosed {
		return api.Invited{}, api.Errorf(api.State, api.RegistrationClosedErr, "registration is closed: an invitation would be of no use").
			WithHint("start hermesd with --registration invite, or add the user yourself: `hermesd user add NAME`")
	}
	if ask.User != "" {
		if err := checkNewName(ask.User); err != nil {
			return api.Invited{}, err
		}
	}
	i := invitation{User: ask.User, By: who, Expires: s.Now().Add(ttl).UTC().Truncate(time.Second)}
	// Recorded first: no invitation is there that the audit does not tell of.
	made := events.OperatorActed{Action: api.OpUserInvite, About: ask.User, Detail: "until " + i.Expires.Format(time.DateTime)}
	if err := s.record(ctx, who, made); err != nil {
		return api.Invited{}, err
	}
	token, err := s.secrets.invite(ctx, i, ttl)
	return api.Invited{Token: token, Expires: i.Expires}, err
}

func (s *Service) add(ctx context.Context, who string, ask api.UserAdd) (api.User, error) {
	if err := checkNewUser(ask.User, ask.Password); err != nil {
		return api.User{}, err
	}
	if err := s.makeUser(ctx, who, ask.User, ask.Password); err != nil {
		return api.User{}, err
	}
	return s.described(ctx, ask.User)
}

func (s *Service) list(ctx context.Context, _ string, _ api.UserList) (api.Users, error) {
	if err := s.directory.catchUp(ctx, s.Users); err != nil {
		return api.Users{}, err
	}
	all := api.Users{Users: []api.User{}}
	for _, u := range s.directory.registered() {
		all.Users = append(all.Users, s.describe(u, false))
	}
	return all, nil
}

func (s *Service) inspect(ctx context.Context, _ string, ask api.UserRef) (api.User, error) {
	return s.described(ctx, ask.User)
}

func (s *Service) described(ctx context.Context, name string) (api.User, error) {
	if events.CheckUserName(name) != nil {
		return api.User{}, noSuchUser(name)
	}
	u, err := s.fold(ctx, name)
	if err == nil && !u.Registered {
		err = noSuchUser(name)
	}
	return s.describe(u, true), err
}

func (s *Service) describe(u users.User, all bool) api.User {
	status := "active"
	switch {
	case u.Leaving:
		status = "leaving"
	case u.Disabled:
		status = "disabled"
	case u.Local:
		status = "local"
	}
	return api.User{
		Name: u.Name, RegisteredAt: u.RegisteredAt, Status: status, Keys: shown(u, s.Now(), all), Connections: s.live.count(userLabel(u.Name)),
	}
}

func (s *Service) disable(ctx context.Context, who string, ask api.UserRef) (api.User, error) {
	return s.change(ctx, ask.User, who, func(u users.User) ([]events.Data, error) { return decideDisable(u, who, false) })
}

func (s *Service) enable(ctx context.Context, who string, ask api.UserRef) (api.User, error) {
	return s.change(ctx, ask.User, who, func(u users.User) ([]events.Data, error) { return decideEnable(u, who) })
}

func (s *Service) change(ctx context.Context, name, who string, decide func(users.User) ([]events.Data, error)) (api.User, error) {
	if events.CheckUserName(name) != nil {
		return api.User{}, noSuchUser(name)
	}
	u, err := s.commit(ctx, name, who, decide)
	if err != nil {
		return api.User{}, err
	}
	if u.Disabled {
		if err := s.live.end(ctx, connectionNames(u)...); err != nil {
			return api.User{}, err
		}
	}
	return s.describe(u, true), nil
}

func (s *Service) remove(ctx context.Context, who string, ask api.UserRef) (api.Unregistered, error) {
	if events.CheckUserName(ask.User) != nil {
		return api.Unregistered{}, noSuchUser(ask.User)
	}
	u, err := s.fold(ctx, ask.User)
	if err == nil && !u.Registered {
		err = noSuchUser(ask.User)
	}
	if err != nil {
		return api.Unregistered{}, err
	}
	return s.leave(ctx, ask.User, who)
}
