package accounts

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nkeys"
	"golang.org/x/sync/errgroup"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/events/log"
	"github.com/hermes-serverless/hermes/projections/executions"
	"github.com/hermes-serverless/hermes/projections/users"
	"github.com/hermes-serverless/hermes/services/api"
)

const source = "accounts"

// Purger removes messages from a stream.
type Purger interface {
	// Purge is that of a jetstream.Stream.
	Purge(ctx context.Context, opts ...jetstream.StreamPurgeOpt) error
}

// Views tells what runs.
type Views interface {
	// Active returns every execution that has not ended, as of the returned sequence.
	Active(ctx context.Context) ([]executions.Execution, uint64, error)
	// WaitForExecutions returns when the view has seen the sequence.
	WaitForExecutions(ctx context.Context, sequence uint64) error
}

// Options are what the service is made of. All fields without a default are required.
type Options struct {
	// Conn is in the account of the services, Callout in the one that the server asks who somebody
	// is, System in the system account.
	Conn, Callout, System *nats.Conn
	// Issuer is the account nkey that the server believes, XKey the curve key that it encrypts for.
	Issuer, XKey nkeys.KeyPair
	Users, Audit log.Log
	// Functions and Executions tell what a user who leaves has.
	Functions, Executions log.Log
	// Secrets is the bucket of password hashes and invitations, Output the stream of output.
	Secrets jetstream.KeyValue
	Output  Purger
	Views   Views
	// Quotas tells what users use; nil: nobody has a quota.
	Quotas Quotas
	// Registration is who may register; default: nobody.
	Registration api.Registration
	// Local are the users that the server's configuration signs in: nobody else can have the names.
	Local []string
	// Cost of a password's hash; default: RFC 9106's second recommended option.
	Cost Cost
	// Version is this program's, in semver.
	Version string
	Log     *slog.Logger     // default: discards
	Now     func() time.Time // default: time.Now
	NewID   func() string    // default: api.NewID
}

// Service answers those who log in, users about their keys, the operator about users, and the server
// about who connects. Any number may run side by side; each bounds failed logins on its own.
type Service struct {
	Options
	secrets   secrets
	hasher    *hasher
	failures  struct{ user, address *throttle }
	directory *directory
	recorder  *recorder
	live      *live
	// leaving are users to be removed.
	leaving chan string
	ready   chan struct{}
}

// New returns a service that does nothing before Run.
func New(o Options) *Service {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.NewID == nil {
		o.NewID = api.NewID
	}
	if o.Registration == "" {
		o.Registration = api.RegistrationClosed
	}
	s := &Service{
		Options: o, secrets: secrets{o.Secrets}, hasher: newHasher(o.Cost), directory: newDirectory(), recorder: newRecorder(), live: newLive(o.System),
		leaving: make(chan string, 1000), ready: make(chan struct{}),
	}
	s.failures.user, s.failures.address = newThrottle(perUser), newThrottle(perAddress)
	return s
}

// Ready is closed when people can log in.
func (s *Service) Ready() <-chan struct{} { return s.ready }

// Run answers until the context ends; it returns nil then. It may be called once.
func (s *Service) Run(ctx context.Context) error {
	for _, name := range s.Local {
		if _, err := s.commit(ctx, name, source, func(u users.User) ([]events.Data, error) { return decideLocal(u, name) }); err != nil {
			return err
		}
	}
	if err := s.live.start(); err != nil {
		return err
	}
	defer s.live.stop()
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return s.directory.run(ctx, s.Users) })
	g.Go(func() error { return s.recordAlways(ctx) })
	g.Go(func() error { return s.sweepAlways(ctx) })
	g.Go(func() error { return s.finishLeaving(ctx) })
	g.Go(func() error { return s.serve(ctx) })
	if err := g.Wait(); err != nil && !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// serve answers when the directory has seen what the log holds: before that it would turn away
// whoever logged in before.
func (s *Service) serve(ctx context.Context) error {
	if err := s.directory.catchUp(ctx, s.Users); err != nil {
		return err
	}
	server, err := api.NewServer(s.Conn, "hermes-accounts", s.Version, "users and their keys", s.Log)
	if err != nil {
		return err
	}
	if s.Quotas != nil {
		server.Limit(s.Quotas.Rate)
	}
	err = errors.Join(
		api.HandleLogin(server, api.OpRegister, s.register),
		api.HandleLogin(server, api.OpLogin, s.login),
		api.HandleLogin(server, api.OpKeyState, s.keyState),
		api.HandleUser(server, api.OpKeysList, s.listKeys),
		api.HandleUser(server, api.OpKeysRevoke, s.revokeKeys),
		api.HandleUser(server, api.OpUnregister, s.unregister),
		api.HandleUser(server, api.OpPasswordChange, s.changePassword),
		api.HandleAudited(server, s.recordAct, api.OpUserInvite, func(a api.UserInvite) string { return a.User }, s.invite),
		api.HandleAudited(server, s.recordAct, api.OpUserAdd, func(a api.UserAdd) string { return a.User }, s.add),
		api.HandleAdmin(server, api.OpUserList, s.list),
		api.HandleAdmin(server, api.OpUserInspect, s.inspect),
		api.HandleAudited(server, s.recordAct, api.OpUserDisable, api.UserRef.String, s.disable),
		api.HandleAudited(server, s.recordAct, api.OpUserEnable, api.UserRef.String, s.enable),
		api.HandleAudited(server, s.recordAct, api.OpUserRemove, api.UserRef.String, s.remove),
		api.HandleAudited(server, s.recordAct, api.OpUserQuota, func(a api.UserQuota) string { return a.User }, s.quota),
		api.HandleAudited(server, s.recordAct, api.OpUserPassword, func(a api.UserPassword) string { return a.User }, s.setPassword),
	)
	if err != nil {
		return errors.Join(err, server.Stop())
	}
	err = s.answerCallouts(ctx)
	return errors.Join(err, server.Stop())
}

// fold reads one user from the log.
func (s *Service) fold(ctx context.Context, name string) (users.User, error) {
	u := users.User{Name: name}
	for record, err := range s.Users.Read(ctx, events.UserSubject(name), 0) {
		if err != nil {
			return u, fmt.Errorf("read user %s: %w", name, err)
		}
		if u, err = users.Fold(u, record); err != nil {
			return u, fmt.Errorf("fold user %s at sequence %d: %w", name, record.Sequence, err)
		}
	}
	u.Name = name
	return u, nil
}

// commit decides on the user as the log has it and appends. When somebody else was faster it reads
// and decides again. It returns the user behind what was appended. by is who asked for it.
func (s *Service) commit(ctx context.Context, name, by string, decide func(users.User) ([]events.Data, error)) (users.User, error) {
	return s.commitAs(ctx, name, by, s.NewID, decide)
}

// commitAs is commit with the ids of the events.
func (s *Service) commitAs(ctx context.Context, name, by string, newID func() string, decide func(users.User) ([]events.Data, error)) (users.User, error) {
	for {
		u, err := s.fold(ctx, name)
		if err != nil {
			return u, err
		}
		decided, err := decide(u)
		if err != nil {
			return u, err
		}
		for _, data := range decided {
			if u, err = s.append(ctx, u, by, newID(), data); err != nil {
				break
			}
		}
		switch {
		case err == nil:
			return u, nil
		case !errors.Is(err, log.ErrConflict):
			return u, fmt.Errorf("append to user %s: %w", name, err)
		}
	}
}

// append folds first: what would be impossible is not stored.
func (s *Service) append(ctx context.Context, u users.User, by, id string, data events.Data) (users.User, error) {
	name, subject := u.Name, events.UserSubject(u.Name)
	event := events.Event{ID: id, Source: source, By: by, Time: s.Now().UTC(), Data: data}
	next, err := users.Fold(u, events.Record{Event: event, Subject: subject, Sequence: u.Sequence + 1})
	if err != nil {
		return u, err
	}
	sequence, err := s.Users.Append(ctx, subject, u.Sequence, event)
	if err != nil {
		return u, err
	}
	next.Name, next.Sequence = name, sequence
	return next, nil
}
