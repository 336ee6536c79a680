package projector_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/events/log/jslog"
	"github.com/hermes-serverless/hermes/events/streams"
	"github.com/hermes-serverless/hermes/projections/projector"
	"github.com/hermes-serverless/hermes/projections/projector/views"
)

// load publishes n executions of one owner, three events each, and returns the last sequence.
func load(b *testing.B, js jetstream.JetStream, n int) uint64 {
	b.Helper()
	random := rand.New(rand.NewPCG(1, 1))
	var last jetstream.PubAckFuture
	for i := range n {
		subject := events.ExecutionSubject("alice", fmt.Sprintf("01JDY%015d%05dX", i, random.IntN(1e5)))
		for _, d := range []events.Data{
			events.ExecutionRequested{Kind: events.KindRun, Function: events.FunctionRef{Owner: "alice", Name: "vadd", Version: "1.0.0"}},
			events.ExecutionStarted{Attempt: 1, Watcher: "node-1", Sandbox: "warm"},
			events.ExecutionSucceeded{Attempt: 1},
		} {
			m, err := events.Encode(events.Event{ID: fmt.Sprint(i, d.Type()), Source: "bench", Data: d})
			if err != nil {
				b.Fatal(err)
			}
			msg := nats.NewMsg(subject)
			msg.Data = m.Data
			for key, value := range m.Header {
				msg.Header.Set(key, value)
			}
			if last, err = js.PublishMsgAsync(msg, jetstream.WithStallWait(time.Minute)); err != nil {
				b.Fatal(err)
			}
		}
	}
	select {
	case ack := <-last.Ok():
		return ack.Sequence
	case err := <-last.Err():
		b.Fatal(err)
		return 0
	}
}

// BenchmarkCatchUp projects executions from the beginning.
func BenchmarkCatchUp(b *testing.B) {
	js := projector.Connect(b)
	last := load(b, js, b.N)
	p := projector.NewExecutions(js)
	b.ResetTimer()
	projector.Start(b, p)
	for at, changed := p.Progress(); at < last; at, changed = p.Progress() {
		<-changed
	}
	b.ReportMetric(float64(last)/b.Elapsed().Seconds(), "events/s")
}

// BenchmarkVerify folds the log and compares every key.
func BenchmarkVerify(b *testing.B) {
	js := projector.Connect(b)
	last := load(b, js, b.N)
	p := projector.NewExecutions(js)
	projector.Start(b, p)
	for at, changed := p.Progress(); at < last; at, changed = p.Progress() {
		<-changed
	}
	b.ResetTimer()
	if found, err := p.Verify(context.Background()); err != nil || len(found) != 0 {
		b.Fatal(len(found), err)
	}
	b.ReportMetric(float64(last)/b.Elapsed().Seconds(), "events/s")
}

// BenchmarkViews reads from an owner with 20,000 executions.
func BenchmarkViews(b *testing.B) {
	js := projector.Connect(b)
	last := load(b, js, 20_000)
	p := projector.NewExecutions(js)
	projector.Start(b, p)
	l := jslog.New(js, streams.Executions)
	v := views.New(js, l, p)
	if err := v.WaitForExecutions(context.Background(), last); err != nil {
		b.Fatal(err)
	}
	ctx := context.Background()
	b.Run("list50", func(b *testing.B) {
		for b.Loop() {
			if page, _, err := v.ListExecutions(ctx, "alice", 10_000, 50); err != nil || len(page) != 50 {
				b.Fatal(len(page), err)
			}
		}
	})
	b.Run("inspect", func(b *testing.B) {
		for b.Loop() {
			if _, err := v.Execution(ctx, "alice", 7777); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("active", func(b *testing.B) {
		for b.Loop() {
			if _, _, err := v.Active(ctx); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("append, seen in the view", func(b *testing.B) {
		for i := 0; b.Loop(); i++ {
			subject := events.ExecutionSubject("bob", fmt.Sprintf("01JDZ%020dX", i))
			sequence, err := l.Append(ctx, subject, 0, events.Event{ID: fmt.Sprint("bench", b.N, i), Source: "bench", Data: events.ExecutionRequested{}})
			if err == nil {
				err = v.WaitForExecutions(ctx, sequence)
			}
			if err != nil {
				b.Skip(err) // the subject exists after the benchmark's first round
			}
		}
	})
}
