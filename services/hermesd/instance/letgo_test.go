package instance_test

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hermes-serverless/hermes/events/log/jslog"
	"github.com/hermes-serverless/hermes/events/streams"
	"github.com/hermes-serverless/hermes/projections/projector/views"
	"github.com/hermes-serverless/hermes/services/hermesd/instance"
	"github.com/hermes-serverless/hermes/services/retention"
)

// letGo lets go of everything that has ended, as an instance does after its time. It demands that something was.
func letGo(ctx context.Context, t *testing.T, nc *nats.Conn) {
	t.Helper()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	logs := instance.OpenLogs(js)
	v := views.New(js, logs.Executions)
	if _, err := (retention.Executions{
		JS: js, Views: v, History: jslog.NewWhole(js, streams.History, streams.Executions), Users: logs.Users, Keep: retention.MinKeep,
		Now: func() time.Time { return time.Now().Add(24 * time.Hour) }, Log: slog.New(slog.NewTextHandler(t.Output(), nil)),
	}).LetGo(ctx); err != nil {
		t.Fatal(err)
	}
	owners, err := v.Owners(ctx)
	if err != nil || owners["ana"].LetGo == 0 {
		t.Fatalf("nothing was let go: %+v, %v", owners, err)
	}
}
