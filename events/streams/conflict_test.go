package streams_test

import (
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/synadia-io/orbit.go/jetstreamext"

	"github.com/hermes-serverless/hermes/events/natstest"
	"github.com/hermes-serverless/hermes/events/streams"
)

// TestIsTooLarge: the server says which batch is too large for it, and stores nothing of it.
func TestIsTooLarge(t *testing.T) {
	js := natstest.Connect(t)
	s, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "S", Subjects: []string{"a"}, AllowAtomicPublish: true})
	if err != nil {
		t.Fatal(err)
	}
	batch := func(n int) error {
		messages := make([]*nats.Msg, n)
		for i := range messages {
			messages[i] = nats.NewMsg("a")
		}
		_, err := jetstreamext.PublishMsgBatch(t.Context(), js, messages, jetstreamext.BatchFlowControl{})
		return err
	}
	if err := batch(natstest.MaxBatch + 1); !streams.IsTooLarge(err) || streams.IsConflict(err) {
		t.Errorf("one message more than the server takes: %v", err)
	}
	if err := batch(natstest.MaxBatch); err != nil {
		t.Errorf("as many as the server takes: %v", err)
	}
	if info, err := s.Info(t.Context()); err != nil || info.State.Msgs != natstest.MaxBatch {
		t.Errorf("%+v, %v", info, err)
	}
}
