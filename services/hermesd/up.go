package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/services/api"
	"github.com/hermes-serverless/hermes/services/commandline"
	"github.com/hermes-serverless/hermes/services/hermesd/instance"
)

const (
	defaultDataDir = "/var/lib/hermes"
	defaultListen  = "127.0.0.1:4222"
	defaultGrace   = 30 * time.Second
)

type upOptions struct {
	dataDir, listen, containerd, sync, user, metrics string
	slots, warm                                      int
	grace                                            time.Duration
	registration                                     registration
	tls                                              tlsFlags
	limits                                           instance.Limits
	keep                                             instance.Keep
	verbose                                          bool
	network                                          networkOptions
}

func newUpCommand() *cobra.Command {
	o := upOptions{registration: newRegistration()}
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Run a whole instance on this machine",
		Long: `Runs everything on this machine: an embedded NATS server with JetStream, the services and a
watcher with its own containerd. It prints one line when it is ready and writes two NATS contexts:
hermes-local for you as a user, hermes-operator for you as the operator. Under sudo they are yours and
not only root's, below ~/.config, with copies of their keys that only you can read.

SIGTERM or Ctrl-C drains: running executions may go on for --grace, what is queued stays queued.

--max, --default and --build bound what runs. Their keys are those of hermes.config.json: timeout, memory,
cpus, pids, tmp, output and results; ` + "`hermes remote info`" + ` shows what holds.`,
		Example: "  hermesd up\n  hermesd up --data-dir /srv/hermes --listen 127.0.0.1:4333 --slots 8\n  hermesd up --listen 0.0.0.0:4222 --tls-self-signed --registration invite\n" +
			"  hermesd up --max memory=16GiB,timeout=12h --default memory=2GiB --build timeout=15m\n" +
			"  hermesd up --keep-executions 90d --keep-output 14d --max-output-bytes 20GiB",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := errors.Join(checkSlots(cmd, o.slots), o.check()); err != nil {
				return commandline.UsageOf(cmd, err)
			}
			return runUp(cmd.Context(), cmd, o)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.dataDir, "data-dir", defaultDataDir, "everything the instance keeps is in this `directory`")
	f.StringVar(&o.listen, "listen", defaultListen, "`host:port` for clients; off loopback only with TLS")
	f.StringVar(&o.containerd, "containerd", "", "`address` of a containerd to use (default: the system's if it answers, else one of our own)")
	f.StringVar(&o.sync, "sync", "always", "`always`: acknowledged means on disk. A duration such as 100ms is faster; a power cut may then take what was acknowledged within it")
	f.IntVar(&o.slots, "slots", 0, "executions at once (default: twice the cores)")
	f.Var(newWarm(&o.warm), "warm", warmUsage)
	f.StringVar(&o.user, "user", "", "`name` of the local user (default: your login name)")
	o.registration.flag(cmd)
	o.tls.flags(cmd)
	f.DurationVar(&o.grace, "grace", defaultGrace, "how long running executions may go on when the instance is stopped")
	metricsFlag(f, &o.metrics)
	o.network.flags(f)
	limitFlags(cmd, &o.limits)
	keepFlags(cmd, &o.keep)
	f.BoolVarP(&o.verbose, "verbose", "v", false, "log more")
	return cmd
}

func (o upOptions) check() error {
	if o.sync != "always" {
		if d, err := time.ParseDuration(o.sync); err != nil || d <= 0 {
			return fmt.Errorf("--sync %q: must be always, or a duration such as 100ms", o.sync)
		}
	}
	if o.user != "" {
		if err := events.CheckUserName(o.user); err != nil {
			return fmt.Errorf("--user: %w", err)
		}
	}
	if _, err := o.network.networks(); err != nil {
		return err
	}
	_, err := o.tls.check(o.listen)
	return errors.Join(o.limits.Check(), err)
}

// checkSlots refuses a number of slots with which nothing could run.
func checkSlots(cmd *cobra.Command, slots int) error {
	if cmd.Flags().Changed("slots") && slots < 1 {
		return fmt.Errorf("--slots %d: must be 1 or more, or left out", slots)
	}
	return nil
}

func runUp(ctx context.Context, cmd *cobra.Command, o upOptions) (err error) {
	log := newLogger(o.verbose)
	raisePriority(log)
	go tidyMemory(ctx)
	if o.sync != "always" {
		log.Warn("what was acknowledged may be lost in a power cut", "within", o.sync)
	}
	who, err := sudoer()
	if err != nil {
		return err
	}
	set, stopMetrics, err := serveMetrics(o.metrics, log)
	if err != nil {
		return err
	}
	defer stopMetrics()
	if err := requirements(ctx, o.dataDir, o.containerd, o.network.allow); err != nil {
		return err
	}
	if err := instance.CanListen(o.listen); err != nil {
		return err
	}
	data, err := instance.OpenDataDir(o.dataDir)
	if err != nil {
		return err
	}
	certificate, err := o.tls.certificate(o.listen, data.Path("tls"))
	if err != nil {
		return errors.Join(err, data.Close())
	}
	boxes, err := openRuntime(ctx, data.Path(), o.containerd, o.network, log)
	if err != nil {
		return errors.Join(err, data.Close())
	}
	// The runtime ends with the instance, containerd after it.
	defer func() { err = errors.Join(err, boxes.stop()) }()
	options := instance.Options{
		Data: data, Listen: o.listen, Certificate: certificate, Sync: o.sync, Slots: o.slots, Warm: o.warm, Grace: o.grace, Limits: o.limits, Keep: o.keep, Runtime: boxes.runtime, GPUs: boxes.gpus,
		User: o.user, Network: o.network.allow, Accounts: o.registration.options(), Version: api.Version, Metrics: set, Log: log,
	}
	if who != nil {
		options.SaveContexts = contextsFor(who)
	}
	in, err := instance.Start(ctx, options)
	if err != nil {
		return err
	}
	if certificate != nil {
		fmt.Fprintf(cmd.OutOrStdout(), "certificate: %s\n", certificate.Fingerprint)
	}
	fmt.Fprintf(cmd.OutOrStdout(), "hermesd is ready: %s, context %s (user %s)\n", in.URL(), instance.UserContext, in.User())
	return serveUntil(ctx, in, log)
}

// serveUntil stops the instance when the context ends, or when a part of it fails.
func serveUntil(ctx context.Context, in *instance.Instance, log *slog.Logger) error {
	var failed error
	select {
	case <-ctx.Done():
		log.Info("stopping: running executions may end")
	case failed = <-in.Failed():
		log.Error("a part of the instance failed, stopping", "err", failed)
	}
	return errors.Join(failed, in.Stop())
}

// containerdDir is where a containerd of our own keeps its things.
func containerdDir(dataDir string) string { return filepath.Join(dataDir, "containerd") }
