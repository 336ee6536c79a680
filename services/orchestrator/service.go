package orchestrator

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/events/log"
	"github.com/hermes-serverless/hermes/projections/executions"
	"github.com/hermes-serverless/hermes/projections/fleet"
	"github.com/hermes-serverless/hermes/projections/users"
	"github.com/hermes-serverless/hermes/services/api"
)

// Views are the projections that the orchestrator reads. What is not there is the zero value and
// no error.
type Views interface {
	// Execution finds one of the owner's executions by its number.
	Execution(ctx context.Context, owner string, number int64) (executions.Execution, error)
	// ExecutionByID finds one of the owner's executions by its id.
	ExecutionByID(ctx context.Context, owner, id string) (executions.Execution, error)
	// ListExecutions returns at most limit of the owner's executions with numbers below before (0:
	// all), newest first, and whether there are more.
	ListExecutions(ctx context.Context, owner string, before int64, limit int) ([]executions.Execution, bool, error)
	// LastNumber is the number of the owner's newest execution, 0 if there is none.
	LastNumber(ctx context.Context, owner string) (int64, error)
	// Blocks returns the block that the number before the given one is in and those below it, at most
	// so many, the newest first, and how many of them were not in memory. One that is not there is empty.
	Blocks(ctx context.Context, owner string, before int64, most int) (blocks []executions.Block, read int, err error)
	// Executions returns those of the owner's executions with these numbers that exist, newest first.
	Executions(ctx context.Context, owner string, numbers []int64) ([]executions.Execution, error)
	// Batch says where one of the owner's batches is among their executions.
	Batch(ctx context.Context, owner, batch string) (executions.Batch, error)
	// Active returns every execution that has not ended, as of the returned sequence.
	Active(ctx context.Context) ([]executions.Execution, uint64, error)
	// WaitForExecutions returns when the executions' view has seen the sequence.
	WaitForExecutions(ctx context.Context, sequence uint64) error
	// Watchers returns the fleet.
	Watchers(ctx context.Context) ([]fleet.Watcher, error)
	// User returns one user.
	User(ctx context.Context, name string) (users.User, error)
}

// Blobs is what the orchestrator asks of the blob store.
type Blobs interface {
	// IsHolder reports whether the user, or the watcher by its blobs.WatcherHolder, has uploaded the content,
	// and it is stored. To know a digest is not enough: lists and histories show digests.
	IsHolder(ctx context.Context, holder, digest string) (bool, error)
	// Keep reports whether the content is stored, and keeps it for a while if nothing refers to it yet.
	Keep(ctx context.Context, digest string) (bool, error)
	// Stat returns the content's digest and size. Errors: blobs.ErrNoBlob.
	Stat(ctx context.Context, digest string) (events.Blob, error)
	// Part returns some of the content behind a cursor (0: from its beginning), at most 512 KiB, and the
	// cursor for what follows; nothing at its end. Errors: blobs.ErrNoBlob.
	Part(ctx context.Context, digest string, after uint64) (data []byte, cursor uint64, err error)
}

// Bundles reads a function's config out of a stored bundle.
type Bundles interface {
	// Manifest returns what the bundle's hermes.config.json says, and what it is built on now, or an
	// *api.Error.
	Manifest(ctx context.Context, bundle events.Blob) (ref events.FunctionRef, config events.FunctionConfig, base string, err error)
}

// Options are what the orchestrator is made of. All fields without a default are required.
type Options struct {
	Conn *nats.Conn
	JS   jetstream.JetStream
	// The logs.
	Executions, Functions, Fleet, Bases log.Log
	// Audit is the log of what the operator tried in vain.
	Audit log.Log
	// Archive has what Executions has let go.
	Archive Archive
	// Runs and Output are the streams of run requests and of output.
	Runs, Output jetstream.Stream
	// Leases is the bucket of the leases.
	Leases  jetstream.KeyValue
	Views   Views
	Blobs   Blobs
	Bundles Bundles
	Policy  Policy
	Quotas  Quotas // default: no user has one
	// ReadOnly is the answer to whoever would change something, and nobody leads; nil: they may.
	ReadOnly error
	// NoOutput says why there is no output at all; empty where there is.
	NoOutput string
	// Version is this program's, in semver.
	Version string
	Log     *slog.Logger
}

// parts is what the API side and the leader share.
type parts struct {
	Options
	ends   ends
	newest newest
	// now is what the ages of ids and of output are counted to.
	now func() time.Time
}

// Service answers users and, while it holds the leadership, leads.
type Service struct {
	*parts
	functions *functionCache
	leader    atomic.Pointer[leader]
	// ending is over when the service stops: who waits for an execution is answered then.
	ending context.Context
	end    context.CancelFunc
}

// New returns a service that does nothing before Run.
func New(o Options) *Service {
	if o.Quotas == nil {
		o.Quotas = unbounded{}
	}
	p := &parts{Options: o, now: time.Now}
	s := &Service{parts: p, functions: newFunctionCache(o.Functions)}
	s.ending, s.end = context.WithCancel(context.Background())
	return s
}

// Run answers and leads until the context ends; it returns nil then.
func (s *Service) Run(ctx context.Context) error {
	server, err := s.serve()
	if err != nil {
		return err
	}
	if s.ReadOnly == nil {
		s.lead(ctx)
	} else {
		<-ctx.Done()
	}
	s.end()
	return server.Stop()
}

// lead tries to become the leader, leads, and tries again, until the context ends. Before it knows what
// users may, it would give places away by the defaults.
func (s *Service) lead(ctx context.Context) {
	if s.Quotas.Ready(ctx) != nil {
		return
	}
	for ctx.Err() == nil {
		held, err := acquire(ctx, s.JS, s.Leases)
		if err == nil && held != nil {
			s.leadWhile(ctx, held)
		} else if err != nil && ctx.Err() == nil {
			s.Log.Warn("cannot become the leader yet", "err", err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(time.Second):
		}
	}
}

func (s *Service) leadWhile(ctx context.Context, held *leadership) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	kept := make(chan error, 1)
	go func() {
		err := held.keep(ctx)
		cancel()
		kept <- err
	}()
	l := newLeader(s.parts)
	err := l.run(ctx, func() {
		s.leader.Store(l)
		s.Log.Info("leading")
	})
	s.leader.CompareAndSwap(l, nil)
	cancel()
	lost := <-kept
	if err != nil && !errors.Is(err, context.Canceled) {
		s.Log.Error("the leader failed and starts again", "err", err)
	} else if lost != nil && !errors.Is(lost, context.Canceled) {
		s.Log.Error("the leadership was lost", "err", lost)
	}
}

// appended tells a leader in this process what was appended, ahead of the log.
func (s *Service) appended(ctx context.Context, exec executions.Execution, last events.Data) {
	if l := s.leader.Load(); l != nil {
		l.learn(context.WithoutCancel(ctx), exec, last)
	}
}

func (s *Service) serve() (*api.Server, error) {
	server, err := api.NewServer(s.Conn, "hermes-orchestrator", s.Version, "accepts, shows and cancels executions", s.Log)
	if err != nil {
		return nil, err
	}
	server.Limit(s.Quotas.Rate)
	server.ReadOnly(s.ReadOnly)
	err = errors.Join(
		api.HandleUser(server, api.OpInfo, s.info),
		api.HandleUser(server, api.OpRun, s.run),
		api.HandleUser(server, api.OpRerun, s.rerun),
		api.HandleUser(server, api.OpFunctionBuild, s.build),
		api.HandleUser(server, api.OpExecutionList, s.list),
		api.HandleUser(server, api.OpExecutionInspect, s.inspect),
		api.HandleUserWait(server, api.OpExecutionWait, s.wait),
		api.HandleUser(server, api.OpExecutionCancel, s.cancel),
		api.HandleUserWait(server, api.OpExecutionInput, s.input),
		api.HandleUser(server, api.OpExecutionHistory, s.history),
		api.HandleUser(server, api.OpExecutionGPU, s.gpuPlot),
		api.HandleUser(server, api.OpGPUList, s.gpuList),
		api.HandleUserWait(server, api.OpEvents, s.events),
		api.HandleUser(server, api.OpFleet, s.fleet),
		api.HandleAdmin(server, api.OpEvents, s.allEvents),
		server.Handle(api.OpExecutionFiles, "hermes.api.*."+api.OpExecutionFiles, s.files),
		server.Handle(api.OpExecutionOutput, "hermes.api.*."+api.OpExecutionOutput, s.output),
	)
	if err != nil {
		return nil, errors.Join(err, server.Stop())
	}
	return server, nil
}
