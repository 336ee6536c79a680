package main

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/spf13/cobra"

	"github.com/hermes-serverless/hermes/services/api"
	"github.com/hermes-serverless/hermes/services/hermesd/instance"
)

type watcherOptions struct {
	remoteOptions
	name, dataDir, containerd, metrics string
	slots, warm                        int
	grace                              time.Duration
	network                            networkOptions
}

// runWatcher runs until the command's context ends and what ran has ended.
func runWatcher(cmd *cobra.Command, o watcherOptions, log *slog.Logger) (err error) {
	ctx := cmd.Context()
	set, stopMetrics, err := serveMetrics(o.metrics, log)
	if err != nil {
		return err
	}
	defer stopMetrics()
	if err := o.checkKey(instance.WatcherInbox(o.name), "the watcher "+o.name, "watcher-"+o.name+".nk"); err != nil {
		return err
	}
	if err := requirements(ctx, o.dataDir, o.containerd, o.network.allow); err != nil {
		return err
	}
	data, err := instance.OpenDataDir(o.dataDir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, data.Close()) }()
	boxes, err := openRuntime(ctx, data.Path(), o.containerd, o.network, log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, boxes.close()) }()
	nc, err := o.connect("hermesd watcher "+o.name, instance.WatcherInbox(o.name), log)
	if err != nil {
		return err
	}
	defer nc.Close()
	bulk, err := o.connect("hermesd watcher "+o.name+", output", instance.WatcherInbox(o.name), log)
	if err != nil {
		return err
	}
	defer bulk.Close()
	w, err := instance.NewWatcher(ctx, instance.WatcherOptions{
		Name: o.name, Conn: nc, Bulk: bulk, Runtime: boxes.runtime, GPUs: boxes.gpus, Dir: data.Path("watcher"),
		Slots: o.slots, Warm: o.warm, Grace: o.grace, Version: api.Version, Metrics: set, Log: log,
	})
	if err != nil {
		return err
	}
	fmt.Fprintf(cmd.OutOrStdout(), "hermesd watches: %s as %s\n", nc.ConnectedUrlRedacted(), o.name)
	return w.Run(ctx)
}
