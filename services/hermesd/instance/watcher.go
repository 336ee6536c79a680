package instance

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hermes-serverless/hermes/events/streams"
	"github.com/hermes-serverless/hermes/services/blobs"
	"github.com/hermes-serverless/hermes/services/bundle"
	"github.com/hermes-serverless/hermes/services/hermesd/metrics"
	"github.com/hermes-serverless/hermes/services/watcher"
	"github.com/hermes-serverless/hermes/services/watcher/cuda"
	"github.com/hermes-serverless/hermes/services/watcher/gpu"
	"github.com/hermes-serverless/hermes/services/watcher/sandbox"
)

// artifactCacheBytes bounds the built functions that a watcher keeps on its disk.
const artifactCacheBytes = 20 * gib

// baseCacheBytes bounds the unpacked bases.
const baseCacheBytes = 20 * gib

// DefaultWarm leaves the number of sandboxes that are kept ready to the number of slots.
const DefaultWarm = -1

// WatcherOptions of a watcher on this machine.
type WatcherOptions struct {
	Name string
	Conn *nats.Conn
	// Bulk is another connection of the watcher, for much output. Default: Conn.
	Bulk *nats.Conn
	// Runtime stays the caller's.
	Runtime sandbox.Runtime
	// GPUs are the machine's, which Runtime must be able to give; nil: there are none. They stay the
	// caller's.
	GPUs gpu.Inventory
	// Dir holds what the watcher keeps: artifacts, reports that are still to be taken.
	Dir string
	// Slots is how many executions may run at once; 0 is twice the number of cores.
	Slots int
	// Warm is how many sandboxes may wait for runs to come; DefaultWarm is four a slot, at most 100.
	Warm int
	// Grace is how long running executions may go on after the end was asked for; StopGrace lies
	// between SIGTERM and SIGKILL, 10 s when 0.
	Grace, StopGrace time.Duration
	Version          string
	Metrics          *metrics.Set // or nil
	Log              *slog.Logger
}

// Watcher is a watcher with what it stands on.
type Watcher struct {
	*watcher.Watcher
	cache *blobs.Cache
	bases *storedBases
}

// Run runs executions until the context ends and what ran has ended.
func (w *Watcher) Run(ctx context.Context) error {
	defer w.cache.Close()
	defer w.bases.cache.Close()
	return w.Watcher.Run(ctx)
}

// NewWatcher wires a watcher; Run starts it.
func NewWatcher(ctx context.Context, o WatcherOptions) (*Watcher, error) {
	js, err := jetstream.NewWithAPIPrefix(o.Conn, streams.WatcherAPI)
	if err != nil {
		return nil, fmt.Errorf("open JetStream: %w", err)
	}
	content := newWatcherBlobs(o.Conn, o.Name)
	log := o.Log.With("part", "watcher")
	cache, err := blobs.OpenCache(blobs.CacheOptions{
		Source: content, Folder: filepath.Join(o.Dir, "artifacts"), MaxBytes: artifactCacheBytes,
		Unpack: bundle.ExtractReadOnly, Log: log,
	})
	if err != nil {
		return nil, err
	}
	bases, err := openBases(content, filepath.Join(o.Dir, "bases"), log)
	if err != nil {
		return nil, err
	}
	info, err := o.Runtime.Info(ctx)
	if err != nil {
		return nil, fmt.Errorf("ask the container runtime what it is: %w", err)
	}
	toolkit := cuda.Find(ctx)
	machine, err := describeMachine(o.Slots, o.Version, info, toolkit)
	if err != nil {
		return nil, err
	}
	if o.Warm == DefaultWarm {
		o.Warm = min(4*machine.Slots, 100)
	}
	if o.Metrics != nil {
		o.Runtime = o.Metrics.Runtime(o.Runtime)
	}
	var gpus *gpu.Keeper
	if o.GPUs != nil {
		gpus = gpu.NewKeeper(gpu.Options{Inventory: o.GPUs, Log: log})
	}
	w, err := watcher.New(watcher.Options{
		Name: o.Name, Conn: o.Conn, Bulk: o.Bulk, JS: js, Runtime: o.Runtime, StateDir: filepath.Join(o.Dir, "state"),
		Blobs: content, Artifacts: cache, Bases: bases, Machine: machine, GPUs: gpus, CUDA: toolkit, Log: log,
		Warm: o.Warm, Grace: o.Grace, StopGrace: o.StopGrace,
	})
	if err != nil {
		return nil, err
	}
	if o.Metrics != nil {
		o.Metrics.Watcher(w.Stats)
	}
	return &Watcher{Watcher: w, cache: cache, bases: bases}, nil
}

// WatcherInbox is the only place where a watcher's replies may go.
func WatcherInbox(name string) string { return "_INBOX_watcher_" + name }
