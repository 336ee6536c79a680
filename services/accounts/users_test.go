package accounts

import (
	"context"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/events/log/memlog"
	"github.com/hermes-serverless/hermes/projections/executions"
	"github.com/hermes-serverless/hermes/projections/users"
	"github.com/hermes-serverless/hermes/services/api"
)

// nothing runs, and nothing is kept that would have to go.
type nothing struct{ jetstream.KeyValue }

func (nothing) Active(context.Context) ([]executions.Execution, uint64, error) { return nil, 0, nil }
func (nothing) Purge(context.Context, string, ...jetstream.KVDeleteOpt) error  { return nil }

type noOutput struct{}

func (noOutput) Purge(context.Context, ...jetstream.StreamPurgeOpt) error { return nil }

// TestOneWhoCannotLeave: others leave nevertheless.
func TestOneWhoCannotLeave(t *testing.T) {
	server := newServer(t, "services")
	conn := connect(t, server, "services")
	// Nobody answers for ana.
	if _, err := conn.Subscribe(api.Subject("bob", api.OpFunctionList), func(m *nats.Msg) { _ = m.Respond([]byte("{}")) }); err != nil {
		t.Fatal(err)
	}
	l := memlog.New()
	defer l.Close()
	s := New(Options{Conn: conn, Users: l, Secrets: nothing{}, Output: noOutput{}, Views: nothing{}})
	for _, name := range []string{"ana", "bob"} {
		_, err := s.commit(t.Context(), name, "root", func(users.User) ([]events.Data, error) { return []events.Data{registered, leaving}, nil })
		if err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 2)
	go func() { ended <- s.directory.run(ctx, l) }()
	go func() { ended <- s.finishLeaving(ctx) }()
	is := func(name string) bool {
		u, err := s.fold(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		return u.Registered
	}
	eventually(t, "bob has left", func() bool { return !is("bob") })
	if !is("ana") {
		t.Error("ana has left although nobody removed what she has")
	}
	cancel()
	for range cap(ended) {
		<-ended
	}
}
