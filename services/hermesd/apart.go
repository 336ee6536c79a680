package main

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/spf13/cobra"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/services/api"
	"github.com/hermes-serverless/hermes/services/commandline"
	"github.com/hermes-serverless/hermes/services/hermesd/instance"
)

// remoteOptions are how a part that runs apart reaches NATS.
type remoteOptions struct {
	url, creds, ca string
	verbose        bool
}

func (o *remoteOptions) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&o.url, "nats", "", "`URL` of the NATS server")
	f.StringVar(&o.creds, "creds", "", "`file` with the nkey seed or the credentials to sign in with")
	f.StringVar(&o.ca, "ca", "", "`file` with the certificate to trust, for a server that no authority vouches for")
	f.BoolVarP(&o.verbose, "verbose", "v", false, "log more")
	_ = cmd.MarkFlagRequired("nats")
	_ = cmd.MarkFlagRequired("creds")
}

// connect signs in with an nkey seed or a credentials file, whichever the file holds.
func (o *remoteOptions) connect(name, inbox string, log *slog.Logger) (*nats.Conn, error) {
	raw, err := os.ReadFile(o.creds)
	if err != nil {
		return nil, fmt.Errorf("--creds: %w", err)
	}
	isSeed := bytes.HasPrefix(bytes.TrimSpace(raw), []byte("SU"))
	clear(raw)
	sign := nats.UserCredentials(o.creds)
	if isSeed {
		if sign, err = nats.NkeyOptionFromSeed(o.creds); err != nil {
			return nil, fmt.Errorf("--creds %s: %w", o.creds, err)
		}
	}
	return instance.Connect(o.url, name, inbox, log, append(o.trust(), sign)...)
}

// checkKey refuses a key that is for somebody else, at once and by name: the server would refuse what is
// done with it bit by bit. It does not disturb the log with that.
func (o *remoteOptions) checkKey(inbox, whose, file string) error {
	nc, err := o.connect("hermesd", inbox, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	defer nc.Close()
	_, err = nc.SubscribeSync(nc.NewInbox())
	if err == nil {
		err = nc.FlushTimeout(keyWithin)
	}
	if err != nil {
		return fmt.Errorf("look whether the key in %s is that of %s: %w", o.creds, whose, err)
	}
	if errors.Is(nc.LastError(), nats.ErrPermissionViolation) {
		return api.Errorf(api.Unauthorized, api.NotPermitted, "the key in %s is not that of %s", o.creds, whose).
			WithHint("`hermesd nats-config` writes it to keys/%s", file)
	}
	return nil
}

// keyWithin bounds the server's word on a key.
const keyWithin = 10 * time.Second

// trust are the options that say whom to trust as the server.
func (o *remoteOptions) trust() []nats.Option {
	if o.ca == "" {
		return nil
	}
	return []nats.Option{nats.RootCAs(o.ca)}
}

func newServeCommand() *cobra.Command {
	var o remoteOptions
	var replicas int
	registration := newRegistration()
	var metrics string
	var network bool
	var limits instance.Limits
	var keep instance.Keep
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run the services alone, against a NATS server that is there already",
		Long: `Runs the registry, the orchestrator and the projections against a NATS server with JetStream whose
accounts are set up as nats-config does it. Any number may run; one of them leads at a time. With the
other keys of nats-config beside --creds it also lets people register and log in.`,
		Example: "  hermesd serve --nats nats://gpu1:4222 --creds /etc/hermes/keys/services.nk --max cpus=64,memory=256GiB",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := limits.Check(); err != nil {
				return commandline.UsageOf(cmd, err)
			}
			log := newLogger(o.verbose)
			raisePriority(log)
			go tidyMemory(cmd.Context())
			set, stop, err := serveMetrics(metrics, log)
			if err != nil {
				return err
			}
			defer stop()
			if err := o.checkKey("", "the services", "services.nk"); err != nil {
				return err
			}
			nc, err := o.connect("hermesd services", "", log)
			if err != nil {
				return err
			}
			defer nc.Close()
			gate, err := instance.OpenGate(filepath.Dir(o.creds), o.url, registration.options(), log, o.trust()...)
			if err != nil {
				return err
			}
			defer gate.Close()
			if gate == nil {
				log.Warn("nobody can log in: the keys for that, which nats-config makes, are not beside --creds")
			}
			return instance.Serve(cmd.Context(), instance.ServeOptions{
				Conn: nc, Replicas: replicas, Gate: gate, Limits: limits, Keep: keep, Network: network, Version: api.Version, Metrics: set, Log: log,
				Ready: func() { fmt.Fprintf(cmd.OutOrStdout(), "hermesd serves: %s\n", nc.ConnectedUrlRedacted()) },
			})
		},
	}
	o.flags(cmd)
	registration.flag(cmd)
	metricsFlag(cmd.Flags(), &metrics)
	limitFlags(cmd, &limits)
	keepFlags(cmd, &keep)
	cmd.Flags().IntVar(&replicas, "replicas", 1, "copies of every stream: 1, or 3 in a cluster")
	cmd.Flags().BoolVar(&network, "allow-network", false, `accept functions that ask for "network": "outbound"; they run on watchers with this flag`)
	return cmd
}

func newWatcherCommand() *cobra.Command {
	var o remoteOptions
	var name, dataDir, address, metrics string
	var slots, warm int
	var grace time.Duration
	var network networkOptions
	cmd := &cobra.Command{
		Use:     "watcher",
		Short:   "Run functions on this machine for an instance elsewhere, or drain a watcher",
		Example: "  hermesd watcher --nats nats://gpu1:4222 --creds /etc/hermes/watcher.nk --name gpu2",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if err := events.CheckWatcherName(name); err != nil {
				return commandline.UsageOf(cmd, fmt.Errorf("--name: %w", err))
			}
			if err := checkSlots(cmd, slots); err != nil {
				return commandline.UsageOf(cmd, err)
			}
			if _, err := network.networks(); err != nil {
				return commandline.UsageOf(cmd, err)
			}
			log := newLogger(o.verbose)
			raisePriority(log)
			go tidyMemory(cmd.Context())
			return runWatcher(cmd, watcherOptions{remoteOptions: o, name: name, dataDir: dataDir, containerd: address, slots: slots, warm: warm, grace: grace, metrics: metrics, network: network}, log)
		},
	}
	o.flags(cmd)
	f := cmd.Flags()
	f.StringVar(&name, "name", "", "the watcher's `name`, the one that its credentials are for")
	f.StringVar(&dataDir, "data-dir", defaultDataDir, "everything the watcher keeps is in this `directory`")
	f.StringVar(&address, "containerd", "", "`address` of a containerd to use (default: the system's if it answers, else one of our own)")
	f.IntVar(&slots, "slots", 0, "executions at once (default: twice the cores)")
	f.Var(newWarm(&warm), "warm", warmUsage)
	f.DurationVar(&grace, "grace", defaultGrace, "how long running executions may go on when the watcher is stopped")
	metricsFlag(f, &metrics)
	network.flags(f)
	_ = cmd.MarkFlagRequired("name")
	cmd.AddCommand(newWatcherDrainCommand(), newWatcherUndrainCommand())
	return cmd
}
