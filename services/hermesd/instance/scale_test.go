package instance_test

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/nats-io/nats.go"
	"golang.org/x/sys/unix"

	"github.com/hermes-serverless/hermes/services/api"
)

// What one user tries in number on the embedded server; elsewhere it is a tenth, but for what it takes to ask for
// more subscriptions than each connection may have.
const (
	manyConnections   = 10_000
	manySubscriptions = 1_000_000
	// manySilent sockets say nothing meanwhile.
	manySilent = 1000
	// atOnce is how many sockets attack at once, where the machine allows as many.
	atOnce = 3500
	// mostMemory is what all of that may take of the server.
	mostMemory = 1 << 30
	// mostLines of it may be in the log.
	mostLines = 500
)

// sockets is how many of so many this process, which may have both ends of each, can have besides what else
// it has open.
func sockets(t *testing.T, n int) int {
	t.Helper()
	var files unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &files); err != nil {
		t.Fatal(err)
	}
	return min(n, (int(min(files.Cur, 1<<20))-800)/3)
}

// TestScale: who tries ten thousand connections and a million subscriptions, beside sockets that say nothing,
// holds as many as one may; and somebody else connects, lists and runs meanwhile.
func TestScale(t *testing.T) {
	everywhereAndOnACluster(t, func(t *testing.T, open func(*testing.T) place) { checkScale(t, open(t)) })
}

// checkScale attacks one instance.
func checkScale(t *testing.T, p place) {
	part := 1
	if kindOf(t) != onEmbedded {
		part = 10
	}
	window := sockets(t, min(atOnce, manyConnections/part))
	sol, system := registered(t, p, "sol"), counter(t, p)
	o := newOnlooker(t, p)
	before, lines := countAll(t, system), warnings(p)

	silent := make([]plain, sockets(t, manySilent/part))
	for i := range silent {
		var err error
		if silent[i], err = knock(p, nil); err != nil {
			t.Fatal(err)
		}
	}
	c := &crowd{place: p, who: sol}
	if part == 1 {
		c.queueUp()
	}
	tries := min(manyConnections/part, 4*window)
	o.during(t, "one user connects", func(enough func() bool) { c.connect(window, tries, enough) })
	got := countOf(t, system, "USERS", "sol", sol.public)
	t.Logf("of %d connections %d were let in", tries, got.connections)
	probe(t, "connections at scale", got.connections <= 208 && len(c.in) <= 208, got)
	stay := 0
	for _, s := range silent {
		if s.pong() { // or the server hangs up
			stay++
		}
		_ = s.Close()
	}
	probe(t, "sockets that say nothing", stay == 0, stay)

	each := max(manySubscriptions/part/max(len(c.in), 1), 1500)
	o.during(t, "one user subscribes", func(enough func() bool) { c.subscribe(each, enough) })
	got = countOf(t, system, "USERS", "sol", sol.public)
	t.Logf("of %d subscriptions on %d connections %d are held", each*len(c.in), len(c.in), got.subscriptions)
	probe(t, "subscriptions at scale", len(c.in) > 0 && got.subscriptions <= 1000*len(c.in), got)
	c.leave()
	eventually(t, "all are gone", func() bool { return countOf(t, system, "USERS", "sol", sol.public).connections == 0 })

	deep := enter(t, p, sol)
	deep.say(subscribes(100, deepSubject))
	got = countOf(t, system, "USERS", "sol", sol.public)
	probe(t, "subjects of many tokens", got.subscriptions == 0, got)
	_ = deep.Close()

	memory := o.memoryBytes - before.memoryBytes
	t.Logf("memory: %d MiB more", memory>>20)
	probe(t, "memory at scale", memory < mostMemory, memory)
	lines = warnings(p) - lines
	probe(t, "a full log", lines < mostLines, lines)
}

// warnings are the lines in the log that an operator is to look at.
func warnings(p place) int {
	text := p.log.text()
	return strings.Count(text, "level=WARN") + strings.Count(text, "level=ERROR")
}

// deepSubject is one of many subjects with many tokens, as short as they can be.
func deepSubject(i int) string { return fmt.Sprint("_INBOX_sol.", i) + strings.Repeat(".a", 900) }

// crowd is one user's attack by numbers.
type crowd struct {
	place place
	who   identity
	tried atomic.Int64
	mu    sync.Mutex
	in    []plain
}

// queueUp connects one after another, until one is refused: so all that may be are let in.
func (c *crowd) queueUp() {
	for c.tried.Add(1) <= 400 {
		conn, err := knock(c.place, &c.who)
		if err != nil {
			return
		}
		if !conn.pong() {
			_ = conn.Close()
			return
		}
		c.in = append(c.in, conn)
	}
}

// connect tries so many connections, so many of them at once, and goes on until it is enough. It keeps those
// that are let in.
func (c *crowd) connect(atOnce, tries int, enough func() bool) {
	var work sync.WaitGroup
	for range atOnce {
		work.Go(func() {
			for c.tried.Add(1) <= int64(tries) || !enough() {
				conn, err := knock(c.place, &c.who)
				if err != nil {
					continue
				}
				if !conn.pong() {
					_ = conn.Close()
					continue
				}
				c.mu.Lock()
				c.in = append(c.in, conn)
				c.mu.Unlock()
			}
		})
	}
	work.Wait()
}

// subscribe subscribes so many times on each connection, and goes on until it is enough.
func (c *crowd) subscribe(each int, enough func() bool) {
	for again := true; again; again = !enough() {
		var work sync.WaitGroup
		for n, conn := range c.in {
			work.Go(func() {
				conn.say(subscribes(each, func(i int) string { return fmt.Sprintf("_INBOX_sol.%d.%d", n, i) }))
			})
		}
		work.Wait()
	}
}

func (c *crowd) leave() {
	for _, conn := range c.in {
		_ = conn.Close()
	}
}

// onlooker is somebody else, who is to notice nothing of attacks.
type onlooker struct {
	place  place
	who    identity
	client connection
	system *nats.Conn
	// memoryBytes is the most that the server had.
	memoryBytes int64
}

func newOnlooker(t *testing.T, p place) *onlooker {
	t.Helper()
	tess := registered(t, p, "tess")
	o := &onlooker{place: p, who: tess, client: tess.connect(t, p, "tess"), system: counter(t, p)}
	deploy(t.Context(), t, o.client.Client, hello("private"))
	return o
}

// during connects, lists and runs, at least once while the attack goes on, until it ends: it goes on until it
// has done its work and is told that it is enough.
func (o *onlooker) during(t *testing.T, attack string, do func(enough func() bool)) {
	t.Helper()
	var rounds atomic.Int64
	over := make(chan struct{})
	go func() {
		defer close(over)
		do(func() bool { return rounds.Load() > 0 || t.Failed() })
	}()
	defer func() { <-over }()
	for {
		eventually(t, "somebody else is let in, while "+attack, func() bool {
			nc, err := nats.Connect(o.place.url, o.who.option(), nats.CustomInboxPrefix(api.InboxPrefix("tess")))
			if err == nil {
				nc.Close()
			}
			return err == nil
		})
		if ran := runAs(t, o.client.Client, "tess"); ran.ExitCode != 0 {
			t.Errorf("somebody else, while %s: %+v", attack, ran)
		}
		if _, err := api.Call[api.Functions](t.Context(), o.client.Client, api.OpFunctionList, api.FunctionList{}); err != nil {
			t.Errorf("somebody else, while %s: %v", attack, err)
		}
		o.memoryBytes = max(o.memoryBytes, countAll(t, o.system).memoryBytes)
		rounds.Add(1)
		select {
		case <-over:
			t.Logf("while %s, somebody else did it %d times", attack, rounds.Load())
			return
		default:
		}
	}
}
