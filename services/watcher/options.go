package watcher

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/services/api"
	"github.com/hermes-serverless/hermes/services/watcher/cuda"
	"github.com/hermes-serverless/hermes/services/watcher/gpu"
	"github.com/hermes-serverless/hermes/services/watcher/sandbox"
)

// Blobs is content by digest: what the orchestrator lets this watcher read, and what it makes. An
// error of Get of kind api.Unauthorized is final.
type Blobs interface {
	// Get writes a blob to w. Without an error what was written is exactly the blob.
	Get(ctx context.Context, blob events.Blob, w io.Writer) error
	// Put stores what r yields, which must be the blob.
	Put(ctx context.Context, blob events.Blob, r io.Reader) error
}

// Artifacts are extracted folders of built functions.
type Artifacts interface {
	// Dir returns the folder of an artifact. It stays until release is called.
	Dir(ctx context.Context, artifact events.Blob) (dir string, release func(), err error)
}

// Bases are root filesystems of images.
type Bases interface {
	// Stand returns the root folder of a base and what commands on it find in their environment. It
	// stays until release is called.
	Stand(ctx context.Context, ref events.BaseRef) (root string, env []string, release func(), err error)
	// Progress says how many bytes of a base have come that is being fetched; of none, if total is 0.
	Progress(ref events.BaseRef) (done, total int64)
}

// Options configure a watcher. Name, Conn, JS, Runtime, StateDir, Blobs, Artifacts and Bases are required; a
// zero elsewhere means the default that is named.
type Options struct {
	Name string
	Conn *nats.Conn
	// Bulk is another connection of the watcher, for the output of those that print much: what it has
	// to say must not wait behind that. Default: Conn.
	Bulk *nats.Conn
	// JS is Conn's JetStream, with the prefix of its API that the watcher's account has.
	JS      jetstream.JetStream
	Runtime sandbox.Runtime
	// StateDir is an absolute path, this watcher's own: reports that are still to be taken, inputs.
	StateDir  string
	Blobs     Blobs
	Artifacts Artifacts
	Bases     Bases
	// Machine is what the watcher offers, but for its GPUs, which GPUs knows; nil: there are none.
	Machine events.Machine
	GPUs    *gpu.Keeper
	// CUDA is the machine's toolkit, which builds on base host find.
	CUDA cuda.Toolkit
	Log  *slog.Logger // discards
	// Grace is how long running executions may go on when the watcher is asked to end: 0 is none.
	Grace time.Duration
	// StopGrace is the time from SIGTERM to SIGKILL: 10 s.
	StopGrace time.Duration
	// LeaseTTL is how long the watcher may be silent: api.WatcherLeaseTTL.
	LeaseTTL time.Duration
	// ReportGrace is how long the last reports are tried before they are left on disk: 5 s.
	ReportGrace time.Duration
	// KillWait is how long a killed command may take to be gone before it is given up: 60 s.
	KillWait time.Duration
	// InputSilence ends the input of an interactive execution of whose sender nothing is heard:
	// api.InputSilence.
	InputSilence time.Duration
	// BuildBytes is the size of a build's writable folder: 2 GiB.
	BuildBytes int64
	// Warm is how many sandboxes may be kept ready for runs to come, of all functions together; 0
	// is none. Each costs the memory of a waiting container, about 5 MiB.
	Warm int
	// WarmIdle is how long after its last run a function's sandboxes are kept: 10 minutes.
	WarmIdle time.Duration
	// MaxHeld bounds the attempts that are prepared or run at once, whatever the orchestrator
	// places: twice the machine's slots and 8 more.
	MaxHeld int
}

const (
	defaultStopGrace   = 10 * time.Second
	defaultReportGrace = 5 * time.Second
	defaultKillWait    = 60 * time.Second
	defaultBuildBytes  = 2 << 30
	defaultWarmIdle    = 10 * time.Minute
	spareHeld          = 8
)

func (o Options) withDefaults() (Options, error) {
	if err := events.CheckWatcherName(o.Name); err != nil {
		return o, err
	}
	if o.Conn == nil || o.JS == nil || o.Runtime == nil || o.Blobs == nil || o.Artifacts == nil || o.Bases == nil {
		return o, errors.New("watcher: Conn, JS, Runtime, Blobs, Artifacts and Bases are required")
	}
	if !filepath.IsAbs(o.StateDir) {
		return o, fmt.Errorf("watcher: state folder %q: want an absolute path", o.StateDir)
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	o.Log = o.Log.With("watcher", o.Name)
	setDefault(&o.StopGrace, defaultStopGrace)
	setDefault(&o.LeaseTTL, api.WatcherLeaseTTL)
	setDefault(&o.ReportGrace, defaultReportGrace)
	setDefault(&o.KillWait, defaultKillWait)
	setDefault(&o.InputSilence, api.InputSilence)
	setDefault(&o.BuildBytes, defaultBuildBytes)
	setDefault(&o.WarmIdle, defaultWarmIdle)
	setDefault(&o.MaxHeld, 2*o.Machine.Slots+spareHeld)
	return o, nil
}

func setDefault[T comparable](value *T, otherwise T) {
	var zero T
	if *value == zero {
		*value = otherwise
	}
}
