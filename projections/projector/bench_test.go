package projector_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/events/log/jslog"
	"github.com/hermes-serverless/hermes/events/log/memlog"
	"github.com/hermes-serverless/hermes/events/streams"
	"github.com/hermes-serverless/hermes/projections/projector"
	"github.com/hermes-serverless/hermes/projections/projector/views"
)

// life is the events of the n-th execution of alice, as large as those of a small run, and their subject.
func life(n int, random *rand.Rand) (subject string, all []events.Event) {
	sum := fmt.Sprintf("%064x", random.Uint64())
	began := time.Unix(int64(1e9+n), 123_456_000).UTC()
	for i, d := range []events.Data{
		events.ExecutionRequested{
			Kind: events.KindRun, Function: events.FunctionRef{Owner: "alice", Name: fmt.Sprint("vadd-", n%20), Version: "1.0.0"},
			Source: events.Blob{Digest: "sha256:" + sum, SizeBytes: 1 << 20}, Base: events.HostBase, Handler: "./main", Language: "cpp",
			Input:  events.Input{Inline: []byte("41 points of the input")},
			Limits: events.Limits{TimeoutMillis: 600_000, MemoryBytes: 512 << 20, CPUMillis: 1000, PIDs: 256, TmpBytes: 64 << 20, OutputBytes: 64 << 20},
		},
		events.ExecutionStarted{Attempt: 1, Watcher: fmt.Sprint("node-", n%8), Sandbox: "warm", SandboxMicros: 4123},
		events.ExecutionSucceeded{
			Attempt: 1, Output: events.Output{StdoutBytes: 1234, Chunks: 3, SHA256: sum},
			Usage: events.Usage{RunMicros: 2_000_000, CPUMicros: 1_800_000, PeakMemoryBytes: 8 << 20},
		},
	} {
		all = append(all, events.Event{ID: fmt.Sprintf("01JDX%015d%05dX", n, i), Source: "orchestrator", Time: began.Add(time.Duration(i) * time.Second), Data: d})
	}
	return events.ExecutionSubject("alice", fmt.Sprintf("01JDY%015d%05dX", n, random.IntN(1e5))), all
}

// load publishes n executions of one owner, three events each, and returns the last sequence.
func load(b *testing.B, js jetstream.JetStream, n int) uint64 {
	b.Helper()
	random := rand.New(rand.NewPCG(1, 1))
	var last jetstream.PubAckFuture
	for i := range n {
		subject, all := life(i, random)
		for _, e := range all {
			m, err := events.Encode(e)
			if err != nil {
				b.Fatal(err)
			}
			msg := nats.NewMsg(subject)
			msg.Data = m.Data
			for key, value := range m.Header {
				msg.Header.Set(key, value)
			}
			msg.Header.Del(events.HeaderMsgID) // the server remembers each for half a minute
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

// clock is what a benchmark took since it began: on a machine with other work, the processor time says more.
type clock struct {
	b   *testing.B
	cpu time.Duration
}

func begin(b *testing.B) clock {
	b.Helper()
	runtime.GC() // what came before is not ours
	b.ResetTimer()
	return clock{b, cpuTime(b)}
}

// perSecond reports a rate of events, and the processor time of each, the server's included.
func (c clock) perSecond(n uint64) {
	c.b.Helper()
	cpu := cpuTime(c.b) - c.cpu
	c.b.ReportMetric(float64(n)/c.b.Elapsed().Seconds(), "events/s")
	c.b.ReportMetric(float64(cpu.Nanoseconds())/1000/float64(n), "cpu-µs/event")
	c.b.ReportMetric(0, "ns/op")
}

// cpuTime is the processor time of this process.
func cpuTime(b *testing.B) time.Duration {
	b.Helper()
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		b.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// BenchmarkReadLog decodes nothing: whoever folds what it reads is no faster.
func BenchmarkReadLog(b *testing.B) {
	js := projector.Connect(b)
	last := load(b, js, b.N)
	c, err := js.OrderedConsumer(b.Context(), streams.Executions, jetstream.OrderedConsumerConfig{})
	if err != nil {
		b.Fatal(err)
	}
	clock := begin(b)
	messages, err := c.Messages(jetstream.PullMaxMessages(4096))
	if err != nil {
		b.Fatal(err)
	}
	defer messages.Stop()
	for range last {
		if _, err := messages.Next(); err != nil {
			b.Fatal(err)
		}
	}
	clock.perSecond(last)
}

// BenchmarkFold folds a log in memory: what reading and writing cost is left out.
func BenchmarkFold(b *testing.B) {
	l, random := memlog.New(), rand.New(rand.NewPCG(1, 1))
	last := uint64(0)
	for i := range b.N {
		subject, all := life(i, random)
		expected := uint64(0)
		for _, e := range all {
			var err error
			if expected, err = l.Append(b.Context(), subject, expected, e); err != nil {
				b.Fatal(err)
			}
		}
		last = expected
	}
	clock := begin(b)
	projector.Fold(b, l, last)
	clock.perSecond(last)
}

// BenchmarkCatchUp projects executions from the beginning.
func BenchmarkCatchUp(b *testing.B) {
	js := projector.Connect(b)
	last := load(b, js, b.N)
	p := projector.NewExecutions(js)
	clock := begin(b)
	projector.Start(b, p)
	for at, changed := p.Progress(); at < last; at, changed = p.Progress() {
		<-changed
	}
	clock.perSecond(last)
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
	clock := begin(b)
	if found, err := p.Verify(context.Background()); err != nil || len(found) != 0 {
		b.Fatal(len(found), err)
	}
	clock.perSecond(last)
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
