package accounts

import (
	"context"
	"encoding/json"
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
func (nothing) WaitForExecutions(context.Context, uint64) error                { return nil }
func (nothing) Purge(context.Context, string, ...jetstream.KVDeleteOpt) error  { return nil }

type noOutput struct{}

func (noOutput) Purge(context.Context, ...jetstream.StreamPurgeOpt) error { return nil }

// TestOneWhoCannotLeave: others leave nevertheless.
func TestOneWhoCannotLeave(t *testing.T) {
	server := newServer(t, "services")
	conn := connect(t, server, "services")
	// Nobody answers for ana.
	if _, err := conn.Subscribe(api.Subject("bob", api.OpFunctionDelete), func(m *nats.Msg) { _ = m.Respond([]byte("{}")) }); err != nil {
		t.Fatal(err)
	}
	l, functions := memlog.New(), memlog.New()
	defer l.Close()
	for _, name := range []string{"ana", "bob"} {
		if _, err := functions.Append(t.Context(), events.FunctionSubject(name, "f"), 0, events.Event{ID: name, Source: "test", Data: events.FunctionDeleted{}}); err != nil {
			t.Fatal(err)
		}
	}
	s := New(Options{Conn: conn, Users: l, Functions: functions, Executions: memlog.New(), Secrets: nothing{}, Output: noOutput{}, Views: nothing{}})
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

// behind shows nothing until it has been looked at some times.
type behind struct {
	nothing
	looks int
	shows []executions.Execution
	at    uint64
}

func (b *behind) Active(context.Context) ([]executions.Execution, uint64, error) {
	if b.looks--; b.looks > 0 {
		return nil, b.at - 1, nil
	}
	return b.shows, b.at, nil
}

// TestARunThatNoViewShowsYet: it ends too when its user leaves.
func TestARunThatNoViewShowsYet(t *testing.T) {
	conn := connect(t, newServer(t, "services"), "services")
	cancelled := ""
	_, err := conn.Subscribe(api.Subject("ana", api.OpExecutionCancel), func(m *nats.Msg) {
		var ref api.ExecutionRef
		if err := json.Unmarshal(m.Data, &ref); err != nil {
			t.Error(err)
		}
		cancelled += ref.ID
		_ = m.Respond([]byte(`{"status":"cancelled"}`))
	})
	if err != nil {
		t.Fatal(err)
	}
	l := memlog.New()
	at, err := l.Append(t.Context(), events.ExecutionSubject("ana", "RUNS"), 0, events.Event{ID: "1", Source: "test", Data: events.ExecutionRequested{Kind: events.KindRun}})
	if err != nil {
		t.Fatal(err)
	}
	v := &behind{looks: 3, at: at, shows: []executions.Execution{{Owner: "ana", ID: "RUNS"}, {Owner: "bob", ID: "OTHER"}}}
	s := New(Options{Conn: conn, Executions: l, Views: v})
	if n, err := s.cancelExecutions(t.Context(), "ana"); err != nil || n != 1 || cancelled != "RUNS" || v.looks != 0 {
		t.Errorf("%d, %v, cancelled %q, %d looks", n, err, cancelled, v.looks)
	}
}
