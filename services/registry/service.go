package registry

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/events/log"
	"github.com/hermes-serverless/hermes/projections/functions"
	"github.com/hermes-serverless/hermes/services/api"
	"github.com/hermes-serverless/hermes/services/blobs"
)

const source = "registry"

// Names of errors that only the registry has.
const (
	versionsLimitReached = "VersionsLimitReached"
	uploadsLimitReached  = "UploadsLimitReached"
)

// Views is what lists are read from. It may lag behind the log.
type Views interface {
	// ListFunctions returns the views of all of the owner's functions, in any order.
	ListFunctions(ctx context.Context, owner string) ([]functions.Function, error)
	// WaitForFunctions returns when the functions' view has seen the sequence.
	WaitForFunctions(ctx context.Context, sequence uint64) error
}

// Options are what the registry is made of. All fields without a default are required.
type Options struct {
	Conn                  *nats.Conn
	Functions, Executions log.Log
	// Bases is the log of what functions are built on.
	Bases  log.Log
	Blobs  *blobs.Store
	Views  Views
	Quotas Quotas // default: no user has one
	// Maxima bound what a function's config may ask for; a 0 does not.
	Maxima events.Limits
	// Network: a function may ask for a network.
	Network bool
	// MaxBundleBytes bounds a bundle, MaxBlobBytes (not below it) whatever is uploaded.
	MaxBundleBytes, MaxBlobBytes int64
	// ReadOnly is the answer to whoever would change something, and nothing is followed; nil: they may.
	ReadOnly error
	// UploadIdle ends an upload that nothing arrives for; default 1 minute.
	UploadIdle time.Duration
	// Version is this program's, in semver.
	Version string
	Log     *slog.Logger     // default: discards
	Now     func() time.Time // default: time.Now
	NewID   func() string    // default: api.NewID
}

// Service is a registry. Any number of them may run side by side.
type Service struct {
	Options
	bundles Bundles
	// uploads are the users', artifacts the watchers'.
	uploads, artifacts *uploads
	// appended is the sequence of the last event that this instance appended to the functions' log.
	appended atomic.Uint64
	// ending is over when Run is about to return: nobody waits for a build any more.
	ending context.Context
	end    context.CancelFunc
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
	if o.Quotas == nil {
		o.Quotas = unbounded{}
	}
	if o.UploadIdle == 0 {
		o.UploadIdle = time.Minute
	}
	o.MaxBlobBytes = max(o.MaxBlobBytes, o.MaxBundleBytes)
	s := &Service{
		Options: o,
		bundles: Bundles{
			Blobs: o.Blobs, MaxBytes: o.MaxBundleBytes, Maxima: o.Maxima, Network: o.Network,
			Bases: Bases{Log: o.Bases, Functions: o.Functions, Blobs: o.Blobs, Logger: o.Log, Now: o.Now, NewID: o.NewID},
		},
		uploads: newUploads(o, users(o)), artifacts: newUploads(o, watchers(o)),
	}
	s.ending, s.end = context.WithCancel(context.Background())
	return s
}

// Run answers and follows the builds until the context ends; it returns nil then. What is in work
// at that moment is finished first, uploads are not. It may be called once.
func (s *Service) Run(ctx context.Context) error {
	if err := s.uploads.start(); err != nil {
		return err
	}
	if err := s.artifacts.start(); err != nil {
		return errors.Join(err, s.uploads.stop())
	}
	server, err := s.serve()
	if err != nil {
		return errors.Join(err, s.uploads.stop(), s.artifacts.stop())
	}
	var followErr error
	if s.ReadOnly == nil {
		followErr = s.followBuilds(ctx)
	} else {
		<-ctx.Done()
	}
	s.end()
	return errors.Join(followErr, server.Stop(), s.uploads.stop(), s.artifacts.stop())
}

func (s *Service) serve() (*api.Server, error) {
	server, err := api.NewServer(s.Conn, "hermes-registry", s.Version, "functions and their bundles", s.Log)
	if err != nil {
		return nil, err
	}
	server.Limit(s.Quotas.Rate)
	server.ReadOnly(s.ReadOnly)
	err = errors.Join(
		api.HandleUser(server, api.OpBlobBegin, s.uploads.begin),
		api.HandleWatcher(server, api.OpBlobBegin, s.artifacts.begin),
		api.HandleUser(server, api.OpFunctionDeploy, s.deploy),
		api.HandleUser(server, api.OpFunctionList, s.list),
		api.HandleUser(server, api.OpFunctionInspect, s.inspect),
		api.HandleUser(server, api.OpFunctionDelete, s.delete),
	)
	if err != nil {
		return nil, errors.Join(err, server.Stop())
	}
	return server, nil
}
