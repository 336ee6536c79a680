package instance_test

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hermes-serverless/hermes/events/log/jslog"
	"github.com/hermes-serverless/hermes/events/streams"
	"github.com/hermes-serverless/hermes/projections/projector/views"
	"github.com/hermes-serverless/hermes/services/api"
	"github.com/hermes-serverless/hermes/services/hermesd/instance"
	"github.com/hermes-serverless/hermes/services/retention"
)

// letGo lets go of everything, as an instance does after its time: all has ended, or soon will have.
func letGo(ctx context.Context, t *testing.T, nc *nats.Conn) {
	t.Helper()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	logs := instance.OpenLogs(js)
	v := views.New(js, logs.Executions)
	r := retention.Executions{
		JS: js, Views: v, History: jslog.NewWhole(js, streams.History, streams.Executions), Keep: retention.MinKeep,
		Now: func() time.Time { return time.Now().Add(24 * time.Hour) }, Log: slog.New(slog.NewTextHandler(t.Output(), nil)),
	}
	eventually(t, "everything was let go", func() bool { // the history may be behind
		if _, err := r.LetGo(ctx); err != nil {
			t.Fatal(err)
		}
		owners, err := v.Owners(ctx)
		if err != nil {
			t.Fatal(err)
		}
		return owners["ana"].Last > 0 && owners["ana"].LetGo == owners["ana"].Last
	})
}

// TestWhatWasLetGoIsShown, on servers that answer for one another too: what is let go of is listed and inspected
// as it was.
func TestWhatWasLetGoIsShown(t *testing.T) {
	everywhereAndOnACluster(t, func(t *testing.T, open func(*testing.T) place) {
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
		defer cancel()
		p := open(t)
		user, _ := as(t, p, "user", api.InboxPrefix("ana"))
		operator, _ := as(t, p, "operator", "")
		c := api.NewClient(user, "ana")
		deploy(ctx, t, c, echo)
		var ids []string
		for range 10 {
			id := api.NewID()
			if err := run(ctx, c, id); err != nil {
				t.Fatal(err)
			}
			ids = append(ids, id)
		}
		for _, id := range ids {
			wait(ctx, t, c, id)
		}
		look := func() (all []string) {
			list, err := api.Call[api.Executions](ctx, c, api.OpExecutionList, api.ExecutionList{})
			all = append(all, shown(t, list, err))
			for i, id := range ids {
				e, err := api.Call[api.Execution](ctx, c, api.OpExecutionInspect, api.ExecutionRef{ID: id})
				all = append(all, shown(t, e, err))
				e, err = api.Call[api.Execution](ctx, c, api.OpExecutionInspect, api.ExecutionRef{Number: int64(i) + 2})
				all = append(all, shown(t, e, err))
				h, err := api.Call[api.History](ctx, c, api.OpExecutionHistory, api.ExecutionRef{ID: id})
				all = append(all, shown(t, h, err))
			}
			return all
		}
		before := look()
		letGo(ctx, t, operator)
		for i, answer := range look() {
			if answer != before[i] {
				t.Errorf("answered is\n%s\nand was\n%s", answer, before[i])
			}
		}
		verified(ctx, t, operator)
	})
}

func shown(t *testing.T, answer any, err error) string {
	t.Helper()
	raw, jsonErr := json.Marshal(answer)
	if err := errors.Join(err, jsonErr); err != nil {
		t.Fatal(err)
	}
	return string(raw)
}
