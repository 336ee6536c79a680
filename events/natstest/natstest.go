// Package natstest starts NATS servers for tests.
package natstest

import (
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// MaxBatch is how many messages a batch may have, as on hermesd's own server.
const MaxBatch = 8192

// Start starts a server in this process, with JetStream and what was kept in the folder before. port -1 is
// one that is free. It ends with the test, if not before; on the same folder and port it comes back at the
// same address.
func Start(t testing.TB, dir string, port int) *server.Server {
	t.Helper()
	s, err := server.NewServer(&server.Options{
		Host: hostOf(dir), Port: port, NoLog: true, NoSigs: true, JetStream: true, StoreDir: dir,
		JetStreamLimits: server.JSLimitOpts{MaxBatchSize: MaxBatch},
	})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	if !s.ReadyForConnections(30 * time.Second) {
		t.Fatal("the server does not start")
	}
	return s
}

// Connect starts a server with nothing in it, and connects to it. Both end with the test.
func Connect(t testing.TB) jetstream.JetStream {
	t.Helper()
	nc, err := nats.Connect(Start(t, t.TempDir(), -1).ClientURL(), nats.Timeout(30*time.Second))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	return js
}
