package registry

import (
	"bytes"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/events/log/jslog"
	"github.com/hermes-serverless/hermes/events/streams"
	"github.com/hermes-serverless/hermes/services/api"
	"github.com/hermes-serverless/hermes/services/blobs"
)

// The same as in the other tests, on the streams and the bucket that an instance really has.
func TestOnJetStream(t *testing.T) {
	w := newWorld(t)
	js, err := jetstream.New(w.conn)
	must(t, err)
	_, err = streams.Ensure(t.Context(), js, streams.Options{})
	must(t, err)
	executions := jslog.New(js, streams.Executions)
	w.options.Functions, w.options.Executions = jslog.New(js, streams.Functions), executions
	w.options.Views = folding{w.options.Functions}
	w.options.Blobs, err = blobs.Open(t.Context(), js, streams.Blobs)
	must(t, err)
	stop := w.start()

	bundle, raw := w.packed(goodConfig, "all:")
	must(t, w.client("ana").Upload(t.Context(), bundle, bytes.NewReader(raw), nil))
	deploy := func() string {
		build := api.NewID()
		if err := deployError(w.deploy("ana", bundle, build, true)); err != nil {
			t.Fatal(err)
		}
		return build
	}
	build := deploy()
	last := uint64(0)
	execute := func(data events.Data) {
		last, err = executions.Append(t.Context(), events.ExecutionSubject("ana", build), last,
			events.Event{ID: api.NewID(), Source: "test", Time: noon, Data: data})
		must(t, err)
	}
	for _, data := range buildOf("pi") {
		execute(data)
	}
	stop()
	execute(succeeded()) // while nobody follows
	w.start()
	rows, err := w.inspect("ana", api.FunctionInspect{Name: "pi", Build: build})
	if err != nil || len(rows) != 1 || rows[0].Status != ready {
		t.Fatal(rows, err)
	}
	deploy()
	if rows, err = w.inspect("ana", api.FunctionInspect{Name: "pi"}); err != nil || rows[0].Status != ready {
		t.Fatal(rows, err)
	}
}
