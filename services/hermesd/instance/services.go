package instance

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

	"github.com/hermes-serverless/hermes/events/log"
	"github.com/hermes-serverless/hermes/events/log/jslog"
	"github.com/hermes-serverless/hermes/events/streams"
	"github.com/hermes-serverless/hermes/projections/bases"
	"github.com/hermes-serverless/hermes/projections/executions"
	"github.com/hermes-serverless/hermes/projections/fleet"
	"github.com/hermes-serverless/hermes/projections/functions"
	"github.com/hermes-serverless/hermes/projections/projector"
	"github.com/hermes-serverless/hermes/projections/projector/views"
	"github.com/hermes-serverless/hermes/projections/quotas"
	"github.com/hermes-serverless/hermes/projections/users"
	"github.com/hermes-serverless/hermes/services/accounts"
	"github.com/hermes-serverless/hermes/services/api"
	"github.com/hermes-serverless/hermes/services/blobs"
	"github.com/hermes-serverless/hermes/services/hermesd/metrics"
	"github.com/hermes-serverless/hermes/services/orchestrator"
	"github.com/hermes-serverless/hermes/services/registry"
	"github.com/hermes-serverless/hermes/services/retention"
	"github.com/hermes-serverless/hermes/services/usage"
)

// Logs are the streams of events.
type Logs struct {
	Functions, Executions, Fleet, Users, Bases, Audit log.Log
}

// OpenLogs returns the logs of an instance.
func OpenLogs(js jetstream.JetStream) Logs {
	return Logs{
		Functions: jslog.New(js, streams.Functions), Executions: jslog.New(js, streams.Executions),
		Fleet: jslog.New(js, streams.Fleet), Users: jslog.New(js, streams.Users), Bases: jslog.New(js, streams.Bases),
		Audit: jslog.New(js, streams.Audit),
	}
}

// linger is how long the view of an execution may wait for its next event, and for those of others:
// each commit of views costs the disk as much as a run does. Who reads for a user waits for what that
// user's executions have come to, which is written at once then.
const linger = 100 * time.Millisecond

// Projectors returns one for every view of an instance. They do nothing before Run.
func Projectors(js jetstream.JetStream, logs Logs, logger *slog.Logger) []*projector.Projector {
	history := jslog.NewWhole(js, streams.History, streams.Executions)
	return []*projector.Projector{
		projector.New(projector.Options{JS: js, Log: logs.Functions, Projection: functions.Projection, Logger: logger}),
		projector.New(projector.Options{
			JS: js, Log: logs.Executions, Projection: executions.Projection, Whole: history.Read, Archive: jslog.New(js, streams.Archive),
			Logger: logger, Linger: linger,
		}),
		projector.New(projector.Options{JS: js, Log: logs.Fleet, Projection: fleet.Projection, Logger: logger}),
		projector.New(projector.Options{JS: js, Log: logs.Users, Projection: users.Projection, Logger: logger}),
		projector.New(projector.Options{JS: js, Log: logs.Bases, Projection: bases.Projection, Logger: logger}),
	}
}

type serviceOptions struct {
	conn     *nats.Conn
	replicas int
	// syncDir is JetStream's folder when it is on this machine, "" otherwise.
	syncDir string
	keep    Keep
	policy  orchestrator.Policy
	// quota bounds each user who has none of their own.
	quota quotas.Limits
	// gate is nil where nobody can log in.
	gate    *gate
	version string
	metrics *metrics.Set // or nil
	// readOnly and noOutput are the answers to who would change something, or read output.
	readOnly error
	noOutput string
	log      *slog.Logger
}

// services are everything that answers users and watchers.
type services struct {
	projectors   []*projector.Projector
	orchestrator *orchestrator.Service
	registry     *registry.Service
	accounts     *accounts.Service // nil where nobody can log in
	retention    retention.Executions
	collector    retention.Blobs
	forget       retention.Forget
	usage        *usage.Service
	log          *slog.Logger
	conn         *nats.Conn
	// provision makes what is missing of streams, buckets and stores.
	provision func(context.Context) error
}

// newServices provisions the streams and wires the services; run starts them.
func newServices(ctx context.Context, o serviceOptions) (*services, error) {
	js, err := jetstream.New(o.conn, jetstream.WithPublishAsyncMaxPending(4096))
	if err != nil {
		return nil, fmt.Errorf("open JetStream: %w", err)
	}
	if err := ensureStreams(ctx, js, o); err != nil {
		return nil, err
	}
	logs := OpenLogs(js)
	s := &services{
		projectors: Projectors(js, logs, o.log.With("part", "projector")), log: o.log, conn: o.conn,
		provision: func(ctx context.Context) error { return ensureStreams(ctx, js, o) },
	}
	v := views.New(js, logs.Executions, s.projectors...)
	s.retention = newRetention(js, o, v)
	if s.collector, err = NewCollector(ctx, js, o.keep, o.log.With("part", "retention")); err != nil {
		return nil, err
	}
	s.forget = NewForget(js, s.collector, v, o.log.With("part", "retention"))
	store, err := blobs.Open(ctx, js, streams.Blobs)
	if err != nil {
		return nil, err
	}
	s.usage = newUsage(js, o, logs, v)
	s.registry = registry.New(registry.Options{
		Quotas: s.usage,
		Conn:   o.conn, Functions: logs.Functions, Executions: logs.Executions, Bases: logs.Bases, Blobs: store, Views: v,
		Maxima: o.policy.Maxima, Network: o.policy.Network, MaxBundleBytes: o.policy.MaxBundleBytes, MaxBlobBytes: max(o.policy.MaxBundleBytes, o.policy.MaxInputBytes),
		ReadOnly: o.readOnly, Version: o.version, Log: o.log.With("part", "registry"),
	})
	if s.orchestrator, err = newOrchestrator(ctx, js, o, logs, v, store, s.usage); err != nil {
		return nil, err
	}
	if o.metrics != nil {
		o.metrics.Projectors(s.projectors, o.log)
		o.metrics.Orchestrator(s.orchestrator.Stats)
	}
	if o.gate != nil {
		s.accounts, err = newAccounts(ctx, js, o, logs, v, s.usage)
	}
	return s, err
}

func newAccounts(ctx context.Context, js jetstream.JetStream, o serviceOptions, logs Logs, v *views.Views, used *usage.Service) (*accounts.Service, error) {
	secrets, err := js.KeyValue(ctx, streams.BucketSecrets)
	if err != nil {
		return nil, fmt.Errorf("open the bucket %s: %w", streams.BucketSecrets, err)
	}
	output, err := js.Stream(ctx, streams.Output)
	if err != nil {
		return nil, fmt.Errorf("open the stream %s: %w", streams.Output, err)
	}
	return accounts.New(accounts.Options{
		Conn: o.conn, Callout: o.gate.callout, System: o.gate.system, Issuer: o.gate.issuer, XKey: o.gate.xkey,
		Users: logs.Users, Audit: logs.Audit, Functions: logs.Functions, Executions: logs.Executions, Secrets: secrets, Output: output, Views: v, Local: o.gate.local,
		Quotas: used, Registration: o.gate.Registration, Cost: o.gate.PasswordCost, Version: o.version, Log: o.log.With("part", "accounts"),
	}), nil
}

func newOrchestrator(ctx context.Context, js jetstream.JetStream, o serviceOptions, logs Logs, v *views.Views, store *blobs.Store, used *usage.Service) (*orchestrator.Service, error) {
	runs, err := js.Stream(ctx, streams.Runs)
	if err != nil {
		return nil, fmt.Errorf("open the stream %s: %w", streams.Runs, err)
	}
	output, err := js.Stream(ctx, streams.Output)
	if err != nil {
		return nil, fmt.Errorf("open the stream %s: %w", streams.Output, err)
	}
	leases, err := js.KeyValue(ctx, streams.BucketLeases)
	if err != nil {
		return nil, fmt.Errorf("open the bucket %s: %w", streams.BucketLeases, err)
	}
	return orchestrator.New(orchestrator.Options{
		Conn: o.conn, JS: js, Executions: logs.Executions, Functions: logs.Functions, Fleet: logs.Fleet, Bases: logs.Bases, Audit: logs.Audit,
		Archive: jslog.NewWhole(js, streams.History, streams.Executions), Runs: runs, Output: output, Leases: leases, Views: v, Blobs: store,
		Bundles: registry.Bundles{Blobs: store, MaxBytes: o.policy.MaxBundleBytes, Maxima: o.policy.Maxima, Network: o.policy.Network, Bases: OpenBases(logs, store, o.log)},
		Policy:  o.policy, Quotas: used, ReadOnly: o.readOnly, NoOutput: o.noOutput, Version: o.version, Log: o.log.With("part", "orchestrator"),
	}), nil
}

// OpenBases returns the bases of an instance.
func OpenBases(logs Logs, store *blobs.Store, logger *slog.Logger) registry.Bases {
	return registry.Bases{
		Log: logs.Bases, Functions: logs.Functions, Blobs: store, Logger: logger, Now: time.Now, NewID: api.NewID,
	}
}

const (
	// codeNoPeers is the server's word for a cluster that has too few servers for the replicas.
	codeNoPeers = 10005
	// codeOneServer is its word for replicas where there is no cluster.
	codeOneServer = 10074
	// codeNoStorage is its word for a disk on which the streams have no room.
	codeNoStorage = 10047
	// clusterComesUp is how long a cluster may take to know all of its servers.
	clusterComesUp, clusterLook = 30 * time.Second, 250 * time.Millisecond
)

// ensureStreams waits for a cluster that is just coming up.
func ensureStreams(ctx context.Context, js jetstream.JetStream, o serviceOptions) error {
	until := time.Now().Add(clusterComesUp)
	for told := false; ; told = true {
		err := ensureOnce(ctx, js, o)
		var e *jetstream.APIError
		if !errors.As(err, &e) || e.ErrorCode != codeNoPeers || time.Now().After(until) {
			return err
		}
		if !told {
			o.log.Warn("the cluster has too few servers for the replicas; waiting for them", "err", err)
		}
		select {
		case <-time.After(clusterLook):
		case <-ctx.Done():
			return err
		}
	}
}

func ensureOnce(ctx context.Context, js jetstream.JetStream, o serviceOptions) error {
	changes, err := streams.Ensure(ctx, js, streams.Options{
		Replicas: o.replicas, DataDir: o.syncDir,
		OutputAge: o.keep.Output, OutputBytes: o.keep.OutputBytes, AllowOutputLoss: o.keep.LetOutputGo,
	})
	for _, c := range changes {
		o.log.Info("provisioned", "what", c.String())
	}
	var loss *streams.LossError
	if errors.As(err, &loss) && loss.Stream == streams.Output {
		return fmt.Errorf("provision the streams: %w: --let-output-go lets it go", err)
	}
	var refused *jetstream.APIError
	switch {
	case !errors.As(err, &refused):
	case refused.ErrorCode == codeOneServer:
		return fmt.Errorf("provision the streams: %w: --replicas %d needs a cluster of at least as many NATS servers", err, o.replicas)
	case refused.ErrorCode == codeNoStorage:
		return fmt.Errorf("provision the streams: %w: free some of the disk, choose another one, or keep less output by --max-output-bytes", err)
	}
	if err != nil {
		return fmt.Errorf("provision the streams: %w", err)
	}
	return nil
}

// run runs everything until the context ends or one part fails.
func (s *services) run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	for _, p := range s.projectors {
		g.Go(func() error { return p.Run(ctx) })
	}
	g.Go(func() error { return s.provisionAgain(ctx) })
	g.Go(func() error { return s.retention.Run(ctx) })
	g.Go(func() error { return s.collector.Run(ctx) })
	g.Go(func() error { return s.forget.Run(ctx) })
	g.Go(func() error { return s.usage.Run(ctx) })
	g.Go(func() error { return s.registry.Run(ctx) })
	g.Go(func() error { return s.orchestrator.Run(ctx) })
	if s.accounts != nil {
		g.Go(func() error { return s.accounts.Run(ctx) })
	}
	return g.Wait()
}

// look answers who looks, of views that stand still, until the context ends.
func (s *services) look(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return s.registry.Run(ctx) })
	g.Go(func() error { return s.orchestrator.Run(ctx) })
	return g.Wait()
}

// provisionAgain provisions after each reconnect: a server that was restarted has lost what it kept
// in memory, the leases, without which nobody leads and no watcher lives.
func (s *services) provisionAgain(ctx context.Context) error {
	const pause = 200 * time.Millisecond
	status := s.conn.StatusChanged(nats.CONNECTED)
	defer s.conn.RemoveStatusListener(status)
	var again <-chan time.Time
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case _, open := <-status:
			if !open {
				return nats.ErrConnectionClosed
			}
		case <-again:
		}
		again = nil
		if err := s.provision(ctx); err != nil {
			s.log.Warn("cannot provision after a reconnect yet", "err", err)
			again = time.After(pause)
		}
	}
}

// ServeOptions of services that run apart from the NATS server.
type ServeOptions struct {
	Conn     *nats.Conn
	Replicas int
	// Gate lets people in; nil: the server knows the keys of its configuration only.
	Gate *Gate
	// Network accepts functions that ask for one.
	Network bool
	// Limits bound what runs.
	Limits Limits
	// Keep says how long things are kept.
	Keep    Keep
	Version string
	Metrics *metrics.Set // or nil
	Log     *slog.Logger
	// Ready is called when the services are about to answer, and people can log in.
	Ready func()
}

// Serve runs the services on a connection until the context ends.
func Serve(ctx context.Context, o ServeOptions) error {
	policy, err := o.Limits.policy()
	if err != nil {
		return err
	}
	policy.Network = o.Network
	services := serviceOptions{conn: o.Conn, replicas: o.Replicas, keep: o.Keep, policy: policy, quota: o.Limits.quota(), version: o.Version, metrics: o.Metrics, log: o.Log}
	if o.Gate != nil {
		services.gate = o.Gate.gate
	}
	s, err := newServices(ctx, services)
	if err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- ignoreCanceled(s.run(ctx)) }()
	if s.accounts != nil {
		select {
		case <-s.accounts.Ready():
		case err := <-ended:
			return err
		}
	}
	o.Ready()
	return <-ended
}
