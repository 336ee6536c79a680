package accounts

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/projections/users"
	"github.com/hermes-serverless/hermes/services/api"
)

const (
	calloutSubject  = "$SYS.REQ.USER.AUTH"
	calloutAudience = "nats-authorization-request"
	headerXKey      = "Nats-Server-Xkey"
	// maxCallouts bounds the work on connections at once, maxCalloutsEach that on one user's or one
	// address's; more wait, so many of each, and the server gives up on them.
	maxCallouts        = 64
	maxCalloutsEach    = 2
	maxCalloutsWaiting = 256
	// maxCalloutsUnread bounds those of which it is not known yet who connects, calloutReaders who look.
	maxCalloutsUnread = 512
	calloutReaders    = 2
	// calloutCosts is how many times its own time a callout stands for: the server's work on a connection
	// that comes and goes, beside it.
	calloutCosts = 4
	// catchUpWithin bounds the wait for a login that another service took a moment ago.
	catchUpWithin = time.Second
)

// How many connections are let in. What one may subscribe to and send stands in the accounts of the
// server's configuration: it does not heed the limits of a callout's answer.
const (
	maxConnectionsPerUser = 200
	maxGuestsPerHost      = 32
	// guestLasts is enough to type a password.
	guestLasts = 10 * time.Minute
)

// errRefused is all that the other side, and the server's log, hear of a refusal.
var errRefused = errors.New("not admitted")

// answerCallouts tells the server who connects, until the context ends. Who connects without end waits
// for themselves, as with requests.
func (s *Service) answerCallouts(ctx context.Context) error {
	turns := api.NewTurns(maxCallouts, maxCalloutsEach, maxCalloutsWaiting, calloutCosts)
	var readers, work sync.WaitGroup
	unread := make(chan *nats.Msg, maxCalloutsUnread)
	sub, err := s.Callout.QueueSubscribe(calloutSubject, "hermes-accounts", func(m *nats.Msg) { keepLatest(unread, m) })
	if err == nil {
		err = s.Callout.Flush()
	}
	if err != nil {
		return fmt.Errorf("answer the server's callouts: %w", err)
	}
	for range calloutReaders {
		readers.Go(func() {
			for {
				select {
				case m := <-unread:
					s.takeCallout(ctx, turns, m, &work)
				case <-ctx.Done():
					return
				}
			}
		})
	}
	close(s.ready)
	<-ctx.Done()
	err = sub.Unsubscribe()
	readers.Wait()
	work.Wait() // those in work end first
	if errors.Is(err, nats.ErrConnectionClosed) {
		err = nil
	}
	return err
}

// keepLatest puts what has come into the queue; where that is full, the oldest goes. When more connect than can
// be looked at, the server gives up on those that wait for long. To answer all in order would be to answer only
// those, and nobody would be let in.
func keepLatest(queue chan *nats.Msg, m *nats.Msg) {
	for {
		select {
		case queue <- m:
			return
		default:
		}
		select {
		case <-queue:
		default:
		}
	}
}

// takeCallout has a callout answered in its turn.
func (s *Service) takeCallout(ctx context.Context, turns *api.Turns, m *nats.Msg, work *sync.WaitGroup) {
	ask, err := s.openCallout(m)
	if err != nil {
		s.Log.Error("a callout cannot be read", "err", err)
		return // what is not the server's question gets no answer
	}
	work.Add(1)
	taken := turns.Take(s.calloutOf(ask), len(m.Data), func() {
		defer work.Done()
		s.answerCallout(ctx, m, ask)
	})
	if !taken {
		work.Done() // the server gives up on it
	}
}

// calloutOf is in whose turn a connection is looked at: of the user who proves to hold the key, or else
// of the address, so that nobody can take up somebody else's.
func (s *Service) calloutOf(ask *jwt.AuthorizationRequestClaims) string {
	key, client := ask.ConnectOptions.Nkey, ask.ClientInformation
	if u, known := s.directory.owner(key); known && provesKey(key, ask.ConnectOptions.SignedNonce, client.Nonce) {
		return u.Name
	}
	return hostLabel(client.Host)
}

// answerCallout answers one.
func (s *Service) answerCallout(ctx context.Context, m *nats.Msg, ask *jwt.AuthorizationRequestClaims) {
	if ask.Expires != 0 && s.Now().Unix() > ask.Expires {
		return // the server has given up
	}
	ctx, cancel := context.WithTimeout(ctx, settleWithin)
	defer cancel()
	response := jwt.NewAuthorizationResponseClaims(ask.UserNkey)
	response.Audience = ask.Server.ID
	grant, err := s.admit(ctx, ask)
	if err == nil {
		response.Jwt, err = grant.Encode(s.Issuer)
	}
	if err != nil {
		if errors.Is(err, errRefused) {
			u, _ := s.directory.owner(ask.ConnectOptions.Nkey)
			s.failed(u.Name, ask.ClientInformation.Host, events.LoginKey)
		} else {
			s.Log.Error("cannot find out who connects", "err", err)
		}
		response.Jwt, response.Error = "", errRefused.Error()
	}
	if err := s.respond(m, ask, response); err != nil {
		s.Log.Error("cannot answer a callout", "err", err)
	}
}

// openCallout decrypts and verifies the server's question.
func (s *Service) openCallout(m *nats.Msg) (*jwt.AuthorizationRequestClaims, error) {
	sealer := m.Header.Get(headerXKey)
	raw, err := s.XKey.Open(m.Data, sealer)
	if err != nil {
		return nil, fmt.Errorf("it is not encrypted for this service: %w", err)
	}
	ask, err := jwt.DecodeAuthorizationRequestClaims(string(raw))
	if err != nil {
		return nil, err
	}
	if ask.Audience != calloutAudience || ask.Server.XKey != sealer || !nkeys.IsValidPublicServerKey(ask.Issuer) {
		return nil, errors.New("it is not a server's question")
	}
	return ask, nil
}

func (s *Service) respond(m *nats.Msg, ask *jwt.AuthorizationRequestClaims, response *jwt.AuthorizationResponseClaims) error {
	token, err := response.Encode(s.Issuer)
	if err != nil {
		return err
	}
	sealed, err := s.XKey.Seal([]byte(token), ask.Server.XKey)
	if err != nil {
		return err
	}
	return m.Respond(sealed)
}

// admit says what the connection may do, or errRefused. Whoever connects must prove to hold the seed
// of their key, by a signature of what the server made up for this connection.
func (s *Service) admit(ctx context.Context, ask *jwt.AuthorizationRequestClaims) (*jwt.UserClaims, error) {
	key, client := ask.ConnectOptions.Nkey, ask.ClientInformation
	if client.Kind != "Client" || !provesKey(key, ask.ConnectOptions.SignedNonce, client.Nonce) {
		return nil, errRefused
	}
	if ask.ConnectOptions.Username == api.GuestName {
		if s.live.count(hostLabel(client.Host)) >= maxGuestsPerHost {
			return nil, errRefused
		}
		return guest(ask.UserNkey, key, s.Now()), nil
	}
	u, err := s.admitUser(ctx, key)
	if err != nil {
		return nil, err
	}
	s.recorder.note(s.recorder.keys, fact{u.Name, client.Host, key}, s.Now())
	return member(ask.UserNkey, u.Name, key, u.Keys[key].Expires), nil
}

// admitUser looks the key up. What the directory says is compared with the log: a key that was revoked
// a moment ago opens nothing.
func (s *Service) admitUser(ctx context.Context, key string) (users.User, error) {
	u, known := s.directory.owner(key)
	if !known {
		within, cancel := context.WithTimeout(ctx, catchUpWithin)
		defer cancel()
		if err := s.directory.catchUp(within, s.Users); err != nil {
			return u, err
		}
		if u, known = s.directory.owner(key); !known {
			return u, errRefused
		}
	}
	u, err := s.fold(ctx, u.Name)
	if err != nil {
		return u, err
	}
	if !admits(u, key, s.Now()) || s.live.count(userLabel(u.Name)) >= maxConnectionsPerUser {
		return u, errRefused
	}
	return u, nil
}

func provesKey(key, signature, nonce string) bool {
	if !nkeys.IsValidPublicUserKey(key) || nonce == "" {
		return false
	}
	pair, err := nkeys.FromPublicKey(key)
	if err != nil {
		return false
	}
	raw, err := base64.RawURLEncoding.DecodeString(signature)
	if err != nil {
		if raw, err = base64.StdEncoding.DecodeString(signature); err != nil {
			return false
		}
	}
	return pair.Verify([]byte(nonce), raw) == nil
}

// member may ask under their own name and hear their own output.
func member(subject, user, key string, expires time.Time) *jwt.UserClaims {
	c := claims(subject, usersAccount, connectionName(user, key))
	if !expires.IsZero() {
		c.Expires = expires.Unix()
	}
	c.Permissions.Pub.Allow.Add(api.Subject(user, ">"))
	c.Permissions.Sub.Allow.Add(events.OutputSubject("*", user, ">"), api.InboxPrefix(user)+".>")
	return c
}

// guest may log in.
func guest(subject, key string, now time.Time) *jwt.UserClaims {
	c := claims(subject, guestAccount, connectionName(api.GuestName, key))
	c.Expires = now.Add(guestLasts).Unix()
	c.Permissions.Pub.Allow.Add(api.LoginSubject(key, ">"))
	c.Permissions.Sub.Allow.Add(api.LoginInbox(key) + ".>")
	return c
}

func claims(subject, account, name string) *jwt.UserClaims {
	c := jwt.NewUserClaims(subject)
	c.Audience, c.Name = account, name
	c.AllowedConnectionTypes.Add(jwt.ConnectionTypeStandard, jwt.ConnectionTypeWebsocket)
	return c
}
