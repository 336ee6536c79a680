package instance_test

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
)

// plain is a connection that says what no client would.
type plain struct {
	net.Conn
	r *bufio.Reader
}

// knock connects and says who it is, or nothing. It does not wait to hear whether it is let in.
func knock(p place, who *identity) (plain, error) {
	conn, err := net.Dial("tcp", strings.TrimPrefix(p.url, "nats://"))
	if err != nil {
		return plain{}, err
	}
	c := plain{conn, bufio.NewReader(conn)}
	_ = conn.SetReadDeadline(time.Now().Add(2 * time.Minute)) // a server that has no more files does not even greet
	line, err := c.r.ReadString('\n')
	var info serverInfo
	if err == nil {
		err = json.Unmarshal([]byte(strings.TrimPrefix(line, "INFO ")), &info)
	}
	if err == nil && who != nil {
		var sig []byte
		if sig, err = who.pair.Sign([]byte(info.Nonce)); err == nil {
			_, err = io.WriteString(conn, connectLine(who.public, sig)+"PING\r\n")
		}
	}
	if err != nil {
		_ = conn.Close()
	}
	return c, err
}

// enter is a knock that must be heard.
func enter(t *testing.T, p place, who identity) plain {
	t.Helper()
	c, err := knock(p, &who)
	if err == nil && !c.pong() {
		err = errors.New("not let in")
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// pong reads until the server has worked on all that was said before the last PING; false: it has hung up.
func (c plain) pong() bool {
	for {
		line, err := c.r.ReadString('\n')
		if err != nil || strings.HasPrefix(line, "PONG") {
			return err == nil
		}
	}
}

// say sends lines, and reads until the server has worked on them.
func (c plain) say(lines string) bool {
	go func() { _, _ = io.WriteString(c, lines+"PING\r\n") }() // the server hangs up on who sends and does not read
	return c.pong()
}

// subscribes are lines that subscribe to so many subjects.
func subscribes(n int, subject func(i int) string) string {
	var lines strings.Builder
	for i := range n {
		fmt.Fprintf(&lines, "SUB %s %d\r\n", subject(i), i)
	}
	return lines.String()
}

// census is what the servers of a place say they hold.
type census struct {
	servers                    []string
	connections, slowConsumers int
	// memoryBytes is of the largest.
	memoryBytes int64
}

// counter asks the servers with the key of who counts connections.
func counter(t *testing.T, p place) *nats.Conn {
	t.Helper()
	nc, _ := as(t, p, "system", "_INBOX_system")
	return nc
}

func countAll(t *testing.T, nc *nats.Conn) census {
	t.Helper()
	inbox := nc.NewRespInbox()
	answers, err := nc.SubscribeSync(inbox)
	if err == nil {
		err = nc.PublishRequest("$SYS.REQ.SERVER.PING.STATSZ", inbox, nil)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = answers.Unsubscribe() }()
	var sum census
	for {
		m, err := answers.NextMsg(20 * time.Second)
		var one struct {
			Server struct{ ID string }
			Statsz struct {
				Connections   int
				Mem           int64
				SlowConsumers int `json:"slow_consumers"`
				ActiveServers int `json:"active_servers"`
			}
		}
		if err == nil {
			err = json.Unmarshal(m.Data, &one)
		}
		if err != nil {
			t.Fatal(err)
		}
		sum.servers = append(sum.servers, one.Server.ID)
		sum.connections += one.Statsz.Connections
		sum.slowConsumers += one.Statsz.SlowConsumers
		sum.memoryBytes = max(sum.memoryBytes, one.Statsz.Mem)
		if len(sum.servers) >= one.Statsz.ActiveServers {
			return sum
		}
	}
}

// held is what the servers hold for who lets themselves in as this user with this key.
type held struct {
	connections, subscriptions int
	pendingBytes               int64
}

func countOf(t *testing.T, nc *nats.Conn, account, user, key string) held {
	t.Helper()
	var sum held
	for _, server := range countAll(t, nc).servers {
		m, err := nc.Request("$SYS.REQ.SERVER."+server+".CONNZ", fmt.Appendf(nil, `{"acc":%q,"user":%q,"auth":true,"limit":10000}`, account, user+"/"+key), 20*time.Second)
		var one struct {
			Data struct {
				Connections []struct {
					Subscriptions int
					PendingBytes  int64 `json:"pending_bytes"`
				}
			}
		}
		if err == nil {
			err = json.Unmarshal(m.Data, &one)
		}
		if err != nil {
			t.Fatal(err)
		}
		sum.connections += len(one.Data.Connections)
		for _, c := range one.Data.Connections {
			sum.subscriptions += c.Subscriptions
			sum.pendingBytes += c.PendingBytes
		}
	}
	return sum
}
