package instance_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats.go"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/services/api"
)

// unlimited takes the limits of connections away, each as far as no attack of the tests reaches.
func unlimited(conf string) string {
	for _, change := range [][2]string{
		{`max_payload: 1MB`, "max_payload: 8MB\nmax_pending: 4GB\nwrite_deadline: \"10m\""},
		{`max_sub_tokens: 8`, ``},
		{`authorization \{\n  timeout: 3`, "authorization {\n  timeout: 600"},
		{`limits: \{ max_subscriptions: 1000 \}`, ``},
		{`limits: \{ max_connections: 1000, max_subscriptions: 10, max_payload: 8192 \}`, ``},
	} {
		conf = regexp.MustCompile(change[0]).ReplaceAllLiteralString(conf, change[1])
	}
	return conf
}

// TestWhatLimitsPrevent: where there are none, one user, and somebody who has not logged in or says nothing,
// holds many times as much.
func TestWhatLimitsPrevent(t *testing.T) {
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
	sol := newIdentity(t)
	p := careless(t, unlimited, func(ask *jwt.AuthorizationRequestClaims) (string, bool) {
		return "sol", ask.ConnectOptions.Nkey == sol.public
	})
	system := counter(t, p)
	t.Run("connections", func(t *testing.T) {
		c := &crowd{place: p, who: sol}
		defer c.leave()
		c.connect(50, 400, func() bool { return true }) // as many as a process may have that can have few files
		got := countOf(t, system, "USERS", "sol", sol.public)
		weak(t, "400 connections of one user", got.connections == 400, got)
	})
	t.Run("subscriptions", func(t *testing.T) {
		enter(t, p, sol).say(subscribes(20_000, func(i int) string { return fmt.Sprint("_INBOX_sol.", i) }))
		got := countOf(t, system, "USERS", "sol", sol.public)
		weak(t, "20000 subscriptions of one connection", got.subscriptions == 20_000, got)
	})
	t.Run("tokens", func(t *testing.T) {
		eventually(t, "all are gone", func() bool { return countOf(t, system, "USERS", "sol", sol.public).connections == 0 })
		enter(t, p, sol).say(subscribes(100, deepSubject))
		got := countOf(t, system, "USERS", "sol", sol.public)
		weak(t, "subjects of many tokens", got.subscriptions == 100, got)
	})
	t.Run("log", func(t *testing.T) {
		enter(t, p, sol).say(strings.Repeat("PUB hermes.user.sol 2\r\n{}\r\n", 1000))
		soon(t, "a line in the server's log for each refusal", func() bool { return strings.Count(p.serverLog.text(), "Publish Violation") >= 1000 })
	})
	t.Run("silence", func(t *testing.T) { checkSilence(t, p, system) })
	t.Run("payload", func(t *testing.T) { checkPayload(t, p, sol) })
	t.Run("guests", func(t *testing.T) { checkGuestsUnlimited(t, p, system) })
	t.Run("nobody reads", func(t *testing.T) {
		user := sol.connect(t, p, "sol")
		deploy(t.Context(), t, user.Client, hello("private"))
		deaf(t, p, sol, "sol")
		pending := int64(0)
		prints(t, user.Client)
		soon(t, "to make the server keep what nobody reads", func() bool {
			pending = max(pending, countOf(t, system, "USERS", "sol", sol.public).pendingBytes)
			return pending > mostPending
		})
	})
}

// checkSilence: sockets that say nothing stay when those of a server with the limit are gone.
func checkSilence(t *testing.T, p place, system *nats.Conn) {
	limited, _ := bare(t, asItIs)
	before := countAll(t, system).connections
	var gone []plain
	for range 100 {
		for _, at := range []place{p, limited} {
			c, err := knock(at, nil)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			if at.url == limited.url {
				gone = append(gone, c)
			}
		}
	}
	for _, c := range gone {
		if c.pong() {
			t.Error("a socket that says nothing is answered")
		}
	}
	got := countAll(t, system).connections - before
	weak(t, "100 sockets that say nothing", got >= 100, got)
}

// checkPayload: what is larger than a megabyte arrives.
func checkPayload(t *testing.T, p place, sol identity) {
	operator, _ := as(t, p, "operator", "")
	heard := newEars()
	heard.hear(t, operator, "hermes.api.>")
	large := make([]byte, 2<<20)
	if err := sol.connect(t, p, "sol").Conn().Publish(api.Subject("sol", "test"), large); err != nil {
		t.Fatal(err)
	}
	soon(t, "a message of 2 MiB", func() bool {
		return heard.has("hermes.api.>", func(m *nats.Msg) bool { return len(m.Data) == len(large) })
	})
}

// checkGuestsUnlimited: who has not logged in sends as much, hears as much and comes as often as they like.
func checkGuestsUnlimited(t *testing.T, p place, system *nats.Conn) {
	operator, _ := as(t, p, "operator", "")
	heard := newEars()
	heard.hear(t, operator, "hermes.login.>")
	i := newIdentity(t)
	nc, _ := connectAs(t, p, api.Guest(i.public, i.pair.Sign), api.LoginInbox(i.public))
	large := make([]byte, 1<<20-100)
	if err := nc.Publish(api.LoginSubject(i.public, "test"), large); err != nil {
		t.Fatal(err)
	}
	soon(t, "1 MB of a guest", func() bool {
		return heard.has("hermes.login.>", func(m *nats.Msg) bool { return len(m.Data) == len(large) })
	})
	err := subscribeMany(nc, api.LoginInbox(i.public)+".", 20)
	got := countOf(t, system, "LOGIN", api.GuestName, i.public)
	weak(t, "20 subscriptions of a guest", err == nil && got.subscriptions == 20, fmt.Sprint(got, err))
	conns, err := connectMany(p, api.Guest(i.public, i.pair.Sign), 100)
	weak(t, "100 guests of one address", len(conns) == 100, err)
	for _, nc := range conns {
		nc.Close()
	}
}

// mostPending is how much of what a connection does not read the server keeps.
const mostPending = 64 << 20

// deaf subscribes a thousand times to what the user's executions print, and reads nothing.
func deaf(t *testing.T, p place, who identity, name string) {
	t.Helper()
	c := enter(t, p, who)
	if !c.say(subscribes(1000, func(int) string { return events.OutputSubject("*", name, ">") })) {
		t.Fatal("the server hung up")
	}
}

// prints has the user's function print so much that a thousand subscriptions get some hundred megabytes.
func prints(t *testing.T, c *api.Client) {
	t.Helper()
	id := api.NewID()
	ask := api.Run{ID: id, Function: events.FunctionRef{Name: "hello"}, Input: events.Input{Inline: []byte("head -c 200000 /dev/zero\n")}}
	if _, err := api.Call[api.Accepted](t.Context(), c, api.OpRun, ask); err != nil {
		t.Fatal(err)
	}
	wait(t.Context(), t, c, id)
}

// checkNobodyReads: the server hangs up on who does not read, and keeps no more for them than the limit.
func checkNobodyReads(t *testing.T, p place) {
	gus, system := registered(t, p, "gus"), counter(t, p)
	user := gus.connect(t, p, "gus")
	deploy(t.Context(), t, user.Client, hello("private"))
	before, pending := countAll(t, system).slowConsumers, int64(0)
	deaf(t, p, gus, "gus")
	prints(t, user.Client)
	eventually(t, "the server gives up on who does not read", func() bool {
		pending = max(pending, countOf(t, system, "USERS", "gus", gus.public).pendingBytes)
		return countAll(t, system).slowConsumers > before
	})
	probe(t, "a connection that does not read", pending <= mostPending, pending)
}

// largeWaits are requests to wait for an execution, with as much around them as a message can have.
const largeWaits = 100

// sendLargeWaits sends them, and yields the answers.
func sendLargeWaits(t *testing.T, nc *nats.Conn, user, id string) *nats.Subscription {
	t.Helper()
	ask, err := json.Marshal(api.ExecutionWait{ExecutionRef: api.ExecutionRef{ID: id}, WaitMillis: 30_000})
	if err != nil {
		t.Fatal(err)
	}
	ask = append(ask, bytes.Repeat([]byte(" "), 1<<20-1000-len(ask))...)
	answers, err := nc.SubscribeSync(nc.NewInbox())
	if err != nil {
		t.Fatal(err)
	}
	for range largeWaits {
		if err := nc.PublishRequest(api.Subject(user, api.OpExecutionWait), answers.Subject, ask); err != nil {
			t.Fatal(err)
		}
	}
	return answers
}

// checkLargeRequests: of large requests that wait on purpose so many are kept as have 8 MiB together, and all
// others are refused.
func checkLargeRequests(t *testing.T, c *api.Client, user string) {
	deploy(t.Context(), t, c, hello("private"))
	id := api.NewID()
	ask := api.Run{ID: id, Function: events.FunctionRef{Name: "hello"}, Input: events.Input{Inline: []byte("sleep 600\n")}}
	if _, err := api.Call[api.Accepted](t.Context(), c, api.OpRun, ask); err != nil {
		t.Fatal(err)
	}
	answers, refused := sendLargeWaits(t, c.Conn(), user, id), 0
	for refused < largeWaits-8 {
		m, err := answers.NextMsg(20 * time.Second)
		if err != nil {
			break
		}
		if strings.Contains(string(m.Data), api.TooManyRequests) {
			refused++
		}
	}
	probe(t, "large requests that wait", refused >= largeWaits-8, fmt.Sprint(refused, " are refused"))
	if _, err := api.Call[api.Execution](t.Context(), c, api.OpExecutionCancel, api.ExecutionRef{ID: id}); err != nil {
		t.Error(err)
	}
}

// TestWhatTurnsPrevent: a service that works on all that it is asked keeps all of it, at a megabyte each.
func TestWhatTurnsPrevent(t *testing.T) {
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
	p, _ := bare(t, asItIs)
	services, _ := as(t, p, "services", "")
	kept := make(chan *nats.Msg, largeWaits)
	_, err := services.Subscribe("hermes.api.*."+api.OpExecutionWait, func(m *nats.Msg) { kept <- m })
	if err := errors.Join(err, services.Flush()); err != nil {
		t.Fatal(err)
	}
	user, _ := as(t, p, "user", api.InboxPrefix("ana"))
	sendLargeWaits(t, user, "ana", api.NewID())
	soon(t, "100 large requests that wait", func() bool { return len(kept) == largeWaits })
}
