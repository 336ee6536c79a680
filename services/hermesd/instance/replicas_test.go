package instance

import (
	"log/slog"
	"strings"
	"testing"

	"github.com/hermes-serverless/hermes/events/natstest"
)

// TestReplicasNeedACluster: a server that stands alone is no reason to search for what its error means.
func TestReplicasNeedACluster(t *testing.T) {
	err := ensureStreams(t.Context(), natstest.Connect(t), serviceOptions{replicas: 3, log: slog.New(slog.DiscardHandler)})
	if err == nil || !strings.HasSuffix(err.Error(), ": --replicas 3 needs a cluster of at least as many NATS servers") {
		t.Error(err)
	}
}
