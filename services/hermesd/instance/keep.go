package instance

import (
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/hermes-serverless/hermes/events/log/jslog"
	"github.com/hermes-serverless/hermes/events/streams"
	"github.com/hermes-serverless/hermes/projections/projector/views"
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

func newRetention(js jetstream.JetStream, o serviceOptions, v *views.Views) retention.Executions {
	keep := o.keep.Executions
	if keep == 0 {
		keep = retention.DefaultKeep
	}
	return retention.Executions{
		JS: js, Views: v, History: jslog.NewWhole(js, streams.History, streams.Executions),
		Keep: keep, Spare: retention.DefaultSpare, Now: time.Now, Log: o.log.With("part", "retention"),
	}
}
