package instance

import (
	"log/slog"
	"strings"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hermes-serverless/hermes/events/natstest"
)

func TestServerThatCannotWrite(t *testing.T) {
	full := "JetStream stream 'HERMES > HERMES_EXECUTIONS' write error: write 1.blk: no space left on device"
	for what, c := range map[string]struct {
		errors []server.HealthzError
		fails  bool
	}{
		"healthy":    {nil, false},
		"recovering": {[]server.HealthzError{{Type: server.HealthzErrorStream, Error: "JetStream stream 'HERMES > HERMES_OUTPUT' is not current"}}, false},
		"full":       {[]server.HealthzError{{Type: server.HealthzErrorConn, Error: "slow"}, {Type: server.HealthzErrorStream, Error: full}}, true},
	} {
		err := cannotWrite(&server.HealthStatus{Errors: c.errors})
		if (err != nil) != c.fails || err != nil && !strings.Contains(err.Error(), full) {
			t.Errorf("%s: %v", what, err)
		}
	}
	s := natstest.Start(t, t.TempDir(), -1)
	if err := cannotWrite(s.Healthz(&server.HealthzOptions{Details: true})); err != nil {
		t.Errorf("a new server: %v", err)
	}
}

// TestNoRoomForTheStreams: a disk that is too small for what is kept is told with what can be done.
func TestNoRoomForTheStreams(t *testing.T) {
	s, err := server.NewServer(&server.Options{
		Host: "127.0.0.1", Port: server.RANDOM_PORT, NoSigs: true, NoLog: true, JetStream: true, StoreDir: t.TempDir(), JetStreamMaxStore: 1 << 30,
	})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	defer func() { s.Shutdown(); s.WaitForShutdown() }()
	nc, err := nats.Connect(s.ClientURL())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	o := serviceOptions{replicas: 1, log: slog.New(slog.DiscardHandler)}
	if err := ensureStreams(t.Context(), js, o); err == nil || !strings.HasSuffix(err.Error(), "or keep less output by --max-output-bytes") {
		t.Errorf("4 GiB of output on 1 GiB: %v", err)
	}
	o.keep.OutputBytes = 64 << 20
	if err := ensureStreams(t.Context(), js, o); err != nil {
		t.Errorf("64 MiB of output on 1 GiB: %v", err)
	}
}
