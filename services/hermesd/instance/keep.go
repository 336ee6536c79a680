package instance

import (
	"context"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/hermes-serverless/hermes/events/log/jslog"
	"github.com/hermes-serverless/hermes/events/streams"
	"github.com/hermes-serverless/hermes/projections/projector/views"
	"github.com/hermes-serverless/hermes/services/api"
	"github.com/hermes-serverless/hermes/services/blobs"
	"github.com/hermes-serverless/hermes/services/retention"
)

// Keep says how long an instance keeps what has ended.
type Keep struct {
	// Executions is how long the log keeps the events of executions that have ended. Default 30 days.
	Executions time.Duration
	// Output and OutputBytes bound what was printed. 0 leaves a bound as it is; at first they are 7
	// days and 4 GiB.
	Output      time.Duration
	OutputBytes int64
	// LetOutputGo accepts that tighter bounds drop what is stored.
	LetOutputGo bool
}

// MinKeep is the shortest time that anything can be kept.
const MinKeep = retention.MinKeep

func (k Keep) executions() time.Duration {
	if k.Executions == 0 {
		return retention.DefaultKeep
	}
	return k.Executions
}

func newRetention(js jetstream.JetStream, o serviceOptions, v *views.Views) retention.Executions {
	return retention.Executions{
		JS: js, Views: v, History: jslog.NewWhole(js, streams.History, streams.Executions),
		Keep: o.keep.executions(), Spare: retention.DefaultSpare, Now: time.Now, Log: o.log.With("part", "retention"),
	}
}

// NewCollector returns what removes blobs of an instance that nothing refers to.
func NewCollector(ctx context.Context, js jetstream.JetStream, keep Keep, log *slog.Logger) (retention.Blobs, error) {
	store, err := blobs.Open(ctx, js, streams.Blobs)
	if err != nil {
		return retention.Blobs{}, err
	}
	logs := OpenLogs(js)
	return retention.Blobs{
		Store: store, Functions: logs.Functions, Bases: logs.Bases, Users: logs.Users, Executions: logs.Executions,
		Views: views.New(js, logs.Executions), Keep: keep.executions(), Grace: retention.DefaultGrace, Now: time.Now, Log: log,
	}, nil
}

// NewForget returns what removes what an instance keeps of users who have left; the collector is its own.
func NewForget(js jetstream.JetStream, collector retention.Blobs, v *views.Views, log *slog.Logger) retention.Forget {
	return retention.Forget{
		JS: js, Views: v, History: jslog.NewWhole(js, streams.History, streams.Executions), Audit: jslog.New(js, streams.Audit),
		Blobs: collector, NewID: api.NewID, Now: time.Now, Log: log,
	}
}
