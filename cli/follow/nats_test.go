package follow

import (
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/hermes-serverless/hermes/services/api"
)

// TestNothingIsAskedOnABrokenConnection: a request that is under way when the connection breaks,
// and one after it, end at once and not when their time is over.
func TestNothingIsAskedOnABrokenConnection(t *testing.T) {
	ns, nc, asked := asking(t, api.OpExecutionWait)
	client := api.NewClient(nc, "ana")
	live, err := Subscribe(client, "01")
	if err != nil {
		t.Fatal(err)
	}
	defer live.Close()
	source := Execution{Client: client, Live: live}
	answers := make(chan error)
	go func() {
		for range 2 {
			_, err := source.Wait(t.Context(), 0, time.Hour)
			answers <- err
		}
	}()
	if _, err := asked.NextMsg(time.Minute); err != nil {
		t.Fatal(err)
	}
	ns.Shutdown()
	for range 2 {
		select {
		case err := <-answers:
			if !api.IsKind(err, api.Unavailable) {
				t.Fatalf("got %v", err)
			}
		case <-time.After(time.Minute):
			t.Fatal("the request waits on")
		}
	}
}

// TestAskEndsWithTheConnection: neither what was asked before it broke nor what is asked after waits for
// the end of its time.
func TestAskEndsWithTheConnection(t *testing.T) {
	ns, nc, asked := asking(t, api.OpEvents)
	answers := make(chan error)
	go func() {
		for range 2 {
			_, err := Ask[api.Events](t.Context(), api.NewClient(nc, "ana"), time.Hour, api.OpEvents, api.EventsRequest{})
			answers <- err
		}
	}()
	if _, err := asked.NextMsg(time.Minute); err != nil {
		t.Fatal(err)
	}
	ns.Shutdown()
	for n := range 2 {
		select {
		case err := <-answers:
			if !api.IsKind(err, api.Unavailable) {
				t.Errorf("request %d: %v", n+1, err)
			}
		case <-time.After(time.Minute):
			t.Fatalf("request %d still waits", n+1)
		}
	}
}

// asking returns a server, ana's connection to it, and what she asks of the operation there.
func asking(t *testing.T, op string) (*server.Server, *nats.Conn, *nats.Subscription) {
	t.Helper()
	ns, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, NoSigs: true, NoLog: true})
	if err != nil {
		t.Fatal(err)
	}
	ns.Start()
	t.Cleanup(ns.Shutdown)
	nc, err := nats.Connect(ns.ClientURL(), nats.MaxReconnects(-1), nats.CustomInboxPrefix(api.InboxPrefix("ana")))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	asked, err := nc.SubscribeSync(api.Subject("ana", op))
	if err != nil {
		t.Fatal(err)
	}
	return ns, nc, asked
}
