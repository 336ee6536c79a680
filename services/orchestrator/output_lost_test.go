package orchestrator

import (
	"context"
	"errors"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/hermes-serverless/hermes/projections/executions"
	"github.com/hermes-serverless/hermes/services/api"
)

// TestOutputWhoseAnswerIsLostIsNotMissing: a server that goes away takes answers along, and what it had is
// asked for again.
func TestOutputWhoseAnswerIsLostIsNotMissing(t *testing.T) {
	w := newWorld(t)
	s := w.service()
	var err error
	if s.JS, err = jetstream.NewWithAPIPrefix(s.Conn, "lost"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Conn.SubscribeSync("lost.>"); err != nil { // and never answers
		t.Fatal(err)
	}
	e := executions.Execution{Owner: "ana", ID: "A", Attempt: 1, Watcher: "local", Status: executions.Success}
	if page, _, err := s.readPage(t.Context(), e, api.ExecutionOutput{}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%+v, %v", page, err)
	}
}
