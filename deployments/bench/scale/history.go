package main

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/oklog/ulid/v2"

	"github.com/hermes-serverless/hermes/events"
)

const (
	// functionsPerUser are called equally often; rareFunction besides, once in rarely.
	functionsPerUser = 20
	rareFunction     = "rare"
	rarely           = 10_000
	// historyAge is over how long the history is spread.
	historyAge = 20 * 24 * time.Hour
)

// generator makes the events of executions, as the services would append them: one execution after
// another, the users in turns.
type generator struct {
	users  int
	begins time.Time
	apart  time.Duration
	random *rand.Rand
	ids    *rand.ChaCha8
	// made is how many executions it has made.
	made int
	sums string
}

func newGenerator(o options, now time.Time) *generator {
	var seed [32]byte
	copy(seed[:], fmt.Sprint("hermes", o.seed))
	return &generator{
		users: o.users, begins: now.Add(-historyAge), apart: historyAge / time.Duration(o.executions),
		random: rand.New(rand.NewPCG(o.seed, 1)), ids: rand.NewChaCha8(seed), sums: strings.Repeat("0123456789abcdef", 4),
	}
}

func userName(n int) string { return fmt.Sprintf("user%04d", n) }

// record is an event and where it belongs.
type record struct {
	subject string
	event   events.Event
}

// next returns the events of one execution: asked for, started and ended, at made-up times.
func (g *generator) next() []record {
	at := g.begins.Add(time.Duration(g.made) * g.apart)
	owner := userName(g.made % g.users)
	g.made++
	id := g.id(at)
	ran := time.Duration(g.random.ExpFloat64() * float64(2*time.Second))
	watcher := fmt.Sprint("node-", g.random.IntN(8))
	var all []record
	add := func(after time.Duration, d events.Data) {
		at := at.Add(after).Truncate(time.Microsecond)
		all = append(all, record{
			subject: events.ExecutionSubject(owner, id),
			event:   events.Event{ID: g.id(at), Source: "orchestrator", Time: at.UTC(), Data: d},
		})
	}
	add(0, g.requested(owner))
	add(20*time.Millisecond, events.ExecutionStarted{Attempt: 1, Watcher: watcher, Sandbox: "warm", SandboxMicros: 3000 + g.random.Int64N(5000)})
	add(20*time.Millisecond+ran, g.ended(ran))
	return all
}

func (g *generator) id(at time.Time) string {
	return ulid.MustNew(ulid.Timestamp(at), g.ids).String()
}

func (g *generator) digest() string {
	const turns = 64
	n := g.random.IntN(turns)
	return g.sums[n:] + g.sums[:n]
}

func (g *generator) requested(owner string) events.ExecutionRequested {
	name := fmt.Sprint("function-", g.random.IntN(functionsPerUser))
	// The first is one, too: whoever has the fewest has it.
	if (g.made-1)/g.users%rarely == 0 {
		name = rareFunction
	}
	return events.ExecutionRequested{
		Kind: events.KindRun, Function: events.FunctionRef{Owner: owner, Name: name, Version: fmt.Sprintf("1.%d.0", g.random.IntN(3))},
		Source: events.Blob{Digest: g.digest(), SizeBytes: 1 << 20}, Base: events.HostBase, Handler: "./main", Language: "cpp",
		Input:  events.Input{Inline: []byte(fmt.Sprintf("%d points of the input\n", g.random.IntN(1_000_000)))},
		Limits: events.Limits{TimeoutMillis: 600_000, MemoryBytes: 512 << 20, CPUMillis: 1000, PIDs: 256, TmpBytes: 64 << 20, OutputBytes: 64 << 20},
	}
}

// ended: one in a hundred fails, some are too slow.
func (g *generator) ended(ran time.Duration) events.Data {
	usage := events.Usage{RunMicros: ran.Microseconds(), CPUMicros: ran.Microseconds() * 9 / 10, PeakMemoryBytes: 8<<20 + g.random.Int64N(64<<20)}
	output := events.Output{StdoutBytes: g.random.Int64N(100_000), Chunks: 1 + g.random.Int64N(20), SHA256: g.digest()}
	switch n := g.random.IntN(1000); {
	case n < 10:
		return events.ExecutionFailed{Attempt: 1, Reason: events.ReasonExit, Message: "the handler exited with 1", ExitCode: 1, Output: output, Usage: usage}
	case n < 13:
		return events.ExecutionTimedOut{Attempt: 1, TimeoutMillis: 600_000, ExitCode: 143, Signal: "SIGTERM", Output: output, Usage: usage}
	}
	return events.ExecutionSucceeded{Attempt: 1, Output: output, Usage: usage}
}

// message is a record as it is published.
func (r record) message() (*nats.Msg, error) {
	m, err := events.Encode(r.event)
	if err != nil {
		return nil, err
	}
	msg := nats.NewMsg(r.subject)
	msg.Data = m.Data
	for key, value := range m.Header {
		msg.Header.Set(key, value)
	}
	return msg, nil
}
