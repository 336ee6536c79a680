// Package usage follows what each user uses, and says what the operator's bounds still leave them:
// the services ask it before they accept anything.
//
// The figures are a fold of the logs (projections/quotas). A place in a queue that was given and is
// not in the log yet is reserved here, so that what one process accepts never exceeds a bound,
// however much is asked for at once. Several processes share the log and not the reservations: in
// the moment before one has read what another accepted, each may give the last place away.
package usage

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"golang.org/x/sync/errgroup"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/events/log"
	"github.com/hermes-serverless/hermes/projections/executions"
	"github.com/hermes-serverless/hermes/projections/quotas"
	"github.com/hermes-serverless/hermes/projections/users"
	"github.com/hermes-serverless/hermes/services/api"
)

// readyWithin bounds how long a request waits for the figures behind a start.
const readyWithin = 10 * time.Second

// Views tells what lives.
type Views interface {
	// Active returns every execution that has not ended, as of the returned sequence.
	Active(ctx context.Context) ([]executions.Execution, uint64, error)
}

// Options are what the service is made of. All fields without a default are required.
type Options struct {
	Conn *nats.Conn
	// The logs.
	Executions, Functions, Users log.Log
	// Since returns the sequence of the first event of executions that was stored at the moment or
	// later, 0 if there is none yet.
	Since func(ctx context.Context, moment time.Time) (uint64, error)
	// History returns an execution as it was right before a sequence, wherever its events are kept.
	History func(ctx context.Context, owner, id string, before uint64) (executions.Execution, error)
	Views   Views
	// Defaults are for who has no quota of their own.
	Defaults quotas.Limits
	// Build bounds every build.
	Build events.Limits
	// Version is this program's, in semver.
	Version string
	Log     *slog.Logger     // default: discards
	Now     func() time.Time // default: time.Now
}

// Service keeps the figures. Any number may run side by side.
type Service struct {
	Options
	rates *rates

	mu    sync.Mutex
	book  *quotas.Book
	users map[string]users.User
	// reserved are the places given away that the log has not shown yet, by user and execution.
	reserved map[string]map[string]reservation
	// functions and people are the last records of those logs that were taken.
	functions, people uint64
	// moved is closed and made anew with each record.
	moved chan struct{}

	// ready is closed when all that was in the logs at the start has been taken but for the day's past,
	// and today when that has been, too.
	ready, today chan struct{}
}

// New returns a service that does nothing before Run.
func New(o Options) *Service {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return &Service{
		Options: o, rates: newRates(), book: quotas.NewBook(), users: map[string]users.User{}, reserved: map[string]map[string]reservation{},
		moved: make(chan struct{}), ready: make(chan struct{}), today: make(chan struct{}),
	}
}

// Run follows the logs and answers until the context ends; it returns nil then. It may be called once.
func (s *Service) Run(ctx context.Context) error {
	live, checkpoint, err := s.Views.Active(ctx)
	if err != nil {
		return ignoreEnd(ctx, fmt.Errorf("read the live executions: %w", err))
	}
	s.mu.Lock()
	for _, e := range live {
		s.book.Load(e)
	}
	s.book.Skip(checkpoint)
	s.mu.Unlock()
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return s.followExecutions(ctx, checkpoint+1) })
	g.Go(func() error { return s.followFunctions(ctx) })
	g.Go(func() error { return s.followUsers(ctx) })
	g.Go(func() error { return s.sumUpToday(ctx, checkpoint) })
	g.Go(func() error {
		if err := s.catchUp(ctx); err != nil {
			return err
		}
		close(s.ready)
		return s.serve(ctx)
	})
	return ignoreEnd(ctx, g.Wait())
}

func ignoreEnd(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// Ready returns when what every user may is known, or the context ends.
func (s *Service) Ready(ctx context.Context) error {
	select {
	case <-s.ready:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (s *Service) serve(ctx context.Context) error {
	server, err := api.NewServer(s.Conn, "hermes-usage", s.Version, "what users use of their quotas", s.Log)
	if err != nil {
		return err
	}
	server.Limit(s.Rate)
	if err := api.HandleUser(server, api.OpQuota, s.quota); err != nil {
		return errors.Join(err, server.Stop())
	}
	<-ctx.Done()
	return server.Stop()
}
