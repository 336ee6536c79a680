// Package instance puts a Hermes instance together: the embedded NATS server, the services and a
// watcher in one process (Start), or the services alone against a NATS server that is there
// already (Serve). Both wire the same code.
package instance

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	natsconf "github.com/hermes-serverless/hermes/deployments/nats"
	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/services/hermesd/metrics"
	"github.com/hermes-serverless/hermes/services/watcher/gpu"
	"github.com/hermes-serverless/hermes/services/watcher/sandbox"
)

// Options of an instance on one machine.
type Options struct {
	// Data is the instance's folder, opened. Start takes it over and closes it.
	Data *DataDir
	// Listen is host:port; port 0 picks a free one.
	Listen string
	// Certificate is shown to clients; nil: nothing is encrypted.
	Certificate *Certificate
	// Sync is "always", or how long acknowledged data may stay off the disk, such as "100ms".
	Sync string
	// Slots is how many executions may run at once; 0 is twice the number of cores.
	Slots int
	// Warm is how many sandboxes may wait for runs to come; DefaultWarm lets the slots say.
	Warm int
	// Grace is how long running executions may go on when the instance is stopped.
	Grace time.Duration
	// StopGrace lies between SIGTERM and SIGKILL.
	StopGrace time.Duration
	// Limits bound what runs.
	Limits Limits
	// Keep says how long things are kept.
	Keep Keep
	// Runtime isolates the executions. Start takes it over and closes it. Without one there is no
	// watcher, and what is queued stays queued.
	Runtime sandbox.Runtime
	// GPUs are the machine's; nil: it has none. They stay the caller's.
	GPUs gpu.Inventory
	// Network accepts functions that ask for one; Runtime must give it.
	Network bool
	// User is the local user's name; empty picks the login name.
	User string
	// Accounts say who else may be a user.
	Accounts AccountOptions
	// SaveContexts saves the NATS contexts of the ready instance; default: the function of that name.
	SaveContexts func([]Context, *slog.Logger) error
	// Version is this program's, in semver.
	Version string
	// Metrics, if there are any, are those of everything that Start starts.
	Metrics *metrics.Set
	Log     *slog.Logger
}

// Instance is a running one.
type Instance struct {
	data    *DataDir
	runtime sandbox.Runtime
	server  *server.Server
	conns   []*nats.Conn
	cert    *Certificate
	url     string
	user    string

	// stopWatcher drains the watcher; watched is its end. The services stop after it, so that what
	// it reports at last is taken.
	stopWatcher, stopServices context.CancelFunc
	watched, served           chan error
}

// watcherName is the name of the one watcher of an instance on one machine.
const watcherName = "local"

// Start returns a ready instance. On an error nothing of it is left running.
func Start(ctx context.Context, o Options) (_ *Instance, err error) {
	in := &Instance{data: o.Data, runtime: o.Runtime, user: o.User, cert: o.Certificate}
	defer func() {
		if err != nil {
			err = errors.Join(err, in.Stop())
		}
	}()
	if in.user == "" {
		in.user = localUser()
	}
	if err := events.CheckUserName(in.user); err != nil {
		return nil, err
	}
	keys, err := loadKeys(o.Data)
	if err != nil {
		return nil, err
	}
	if in.server, err = startServer(o.Data, in.serverConfig(o, keys), o.Log); err != nil {
		return nil, err
	}
	if in.url, err = in.clientURL(o.Listen); err != nil {
		return nil, err
	}
	if err := in.startServices(ctx, o, keys); err != nil {
		return nil, err
	}
	if o.Runtime != nil {
		if err := in.startWatcher(ctx, o, keys); err != nil {
			return nil, err
		}
	}
	if o.SaveContexts == nil {
		o.SaveContexts = SaveContexts
	}
	if err := o.SaveContexts(in.contexts(keys), o.Log); err != nil {
		return nil, err
	}
	return in, nil
}

// clientURL is where programs on this machine connect.
func (in *Instance) clientURL(listen string) (string, error) {
	host, _, err := net.SplitHostPort(listen)
	if err != nil {
		return "", err
	}
	_, port, err := net.SplitHostPort(in.server.Addr().String())
	return in.cert.url(host, port), err
}

// URL is where clients connect.
func (in *Instance) URL() string { return in.url }

// User is the local user's name.
func (in *Instance) User() string { return in.user }

type keyring struct {
	services, operator, watcher, user key
	callout                           calloutKeys
}

func loadKeys(data *DataDir) (keyring, error) {
	var k keyring
	var err error
	for name, to := range map[string]*key{"services": &k.services, "operator": &k.operator, "watcher": &k.watcher, "user": &k.user} {
		if *to, err = loadKey(data.Path("keys", name+".nk")); err != nil {
			return k, err
		}
	}
	k.callout, err = loadCalloutKeys(data.Path("keys"))
	return k, err
}

func (in *Instance) serverConfig(o Options, k keyring) natsconf.Config {
	c := natsconf.Config{
		ServerName: "hermes", Listen: o.Listen, StoreDir: o.Data.Path("jetstream"), Sync: o.Sync,
		ServicesKey: k.services.public, OperatorKey: k.operator.public,
		Watchers: []natsconf.Identity{{Name: watcherName, Key: k.watcher.public}},
		Users:    []natsconf.Identity{{Name: in.user, Key: k.user.public}},
		Callout:  k.callout.config(),
	}
	if in.cert != nil {
		c.TLS = &in.cert.TLS
	}
	return c
}

// connect connects within the process, as the given key.
func (in *Instance) connect(name, inbox string, k key, log *slog.Logger) (*nats.Conn, error) {
	sign, err := k.option()
	if err != nil {
		return nil, err
	}
	// Whatever the certificate says: within the process nobody is on the way.
	nc, err := Connect("nats://"+in.server.Addr().String(), name, inbox, log, sign, nats.InProcessServer(in.server))
	if err != nil {
		return nil, err
	}
	in.conns = append(in.conns, nc)
	return nc, nil
}

func (in *Instance) startServices(ctx context.Context, o Options, k keyring) error {
	nc, err := in.connect("hermesd services", "", k.services, o.Log)
	if err != nil {
		return err
	}
	gate, err := openGate(k.callout, o.Accounts, []string{in.user}, func(name, inbox string, k key) (*nats.Conn, error) {
		return in.connect(name, inbox, k, o.Log)
	})
	if err != nil {
		return err
	}
	policy, err := o.Limits.policy()
	if err != nil {
		return err
	}
	policy.Network = o.Network
	services, err := newServices(ctx, serviceOptions{
		conn: nc, replicas: 1, syncDir: o.Data.Path("jetstream"), keep: o.Keep, policy: policy, quota: o.Limits.quota(), gate: gate,
		version: o.Version, metrics: o.Metrics, log: o.Log,
	})
	if err != nil {
		return err
	}
	run, cancel := context.WithCancel(context.WithoutCancel(ctx))
	in.stopServices, in.served = cancel, make(chan error, 1)
	go func() { in.served <- services.run(run) }()
	select {
	case <-services.accounts.Ready():
		return nil
	case err := <-in.served:
		in.served <- err
		return fmt.Errorf("the services ended: %w", err)
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (in *Instance) startWatcher(ctx context.Context, o Options, k keyring) error {
	nc, err := in.connect("hermesd watcher", WatcherInbox(watcherName), k.watcher, o.Log)
	if err != nil {
		return err
	}
	bulk, err := in.connect("hermesd watcher, output", WatcherInbox(watcherName), k.watcher, o.Log)
	if err != nil {
		return err
	}
	w, err := NewWatcher(ctx, WatcherOptions{
		Name: watcherName, Conn: nc, Bulk: bulk, Runtime: o.Runtime, GPUs: o.GPUs, Dir: o.Data.Path("watcher"),
		Slots: o.Slots, Warm: o.Warm, Grace: o.Grace, StopGrace: o.StopGrace, Version: o.Version, Metrics: o.Metrics, Log: o.Log,
	})
	if err != nil {
		return err
	}
	run, cancel := context.WithCancel(context.WithoutCancel(ctx))
	in.stopWatcher, in.watched = cancel, make(chan error, 1)
	go func() { in.watched <- w.Run(run) }()
	in.awaitWatcher(ctx, w)
	return nil
}

// heardWithin bounds the wait for the leader's answer to the watcher.
const heardWithin = 10 * time.Second

// awaitWatcher returns when the leader knows what this machine has now: what it knew of it before the
// start would be a reason to refuse what can run. It is not waited for without end, nor when the watcher
// has ended, which Failed tells.
func (in *Instance) awaitWatcher(ctx context.Context, w *Watcher) {
	late := time.NewTimer(heardWithin)
	defer late.Stop()
	select {
	case <-w.Greeted():
	case err := <-in.watched:
		in.watched <- err
	case <-late.C:
	case <-ctx.Done():
	}
}

// Failed yields the error that ended a part of the instance before it was stopped.
func (in *Instance) Failed() <-chan error {
	failed := make(chan error, 1)
	go func() {
		look := time.NewTicker(healthEvery)
		defer look.Stop()
		for {
			select {
			case err := <-in.watched:
				in.watched <- err
				failed <- fmt.Errorf("the watcher ended: %w", err)
				return
			case err := <-in.served:
				in.served <- err
				failed <- fmt.Errorf("the services ended: %w", err)
				return
			case <-look.C:
				if err := cannotWrite(in.server.Healthz(&server.HealthzOptions{Details: true})); err != nil {
					failed <- err
					return
				}
			}
		}
	}()
	return failed
}

// Stop drains: running executions get their grace, what is queued stays queued. Then everything
// ends, in the reverse order of the start.
func (in *Instance) Stop() error {
	var errs []error
	if in.stopWatcher != nil {
		in.stopWatcher()
		errs = append(errs, ignoreCanceled(<-in.watched))
	}
	if in.stopServices != nil {
		in.stopServices()
		errs = append(errs, ignoreCanceled(<-in.served))
	}
	for _, nc := range in.conns {
		nc.Close()
	}
	if in.runtime != nil {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		errs = append(errs, in.runtime.Close(ctx))
	}
	if in.server != nil {
		in.server.Shutdown()
		in.server.WaitForShutdown()
	}
	return errors.Join(append(errs, in.data.Close())...)
}

func ignoreCanceled(err error) error {
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// Connect connects to NATS for ever: it reconnects until it is closed.
func Connect(url, name, inbox string, log *slog.Logger, options ...nats.Option) (*nats.Conn, error) {
	if inbox != "" {
		options = append(options, nats.CustomInboxPrefix(inbox))
	}
	nc, err := nats.Connect(url, append(options,
		nats.Name(name), nats.MaxReconnects(-1), nats.ReconnectWait(100*time.Millisecond), nats.ReconnectJitter(100*time.Millisecond, time.Second),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			if err != nil {
				log.Warn("disconnected from NATS", "connection", name, "err", err)
			}
		}),
		nats.ReconnectHandler(func(*nats.Conn) { log.Info("connected to NATS again", "connection", name) }),
		nats.ErrorHandler(func(_ *nats.Conn, s *nats.Subscription, err error) {
			subject := ""
			if s != nil {
				subject = s.Subject
			}
			log.Error("NATS connection", "connection", name, "subject", subject, "err", err)
		}))...)
	if err != nil {
		return nil, fmt.Errorf("connect to NATS at %s: %w", url, err)
	}
	return nc, nil
}
