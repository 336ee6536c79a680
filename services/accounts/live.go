package accounts

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/hermes-serverless/hermes/projections/users"
)

const (
	// answerWithin is how long an answer may take to reach a caller whose connection it ends.
	answerWithin = 100 * time.Millisecond
	// sweepWithin bounds one look at all connections of all servers.
	sweepWithin = 30 * time.Second
	// sweepEach is how often all connections are compared with their keys whatever was heard.
	sweepEach = time.Minute
	// settleWithin is longer than a server waits for the answer to a callout: a connection that was
	// let in by what was true before is there by then.
	settleWithin = 5 * time.Second
	// connectionsPage keeps an answer below the largest message.
	connectionsPage = 500
)

// The accounts of connections that callouts let in.
const (
	usersAccount = "USERS"
	guestAccount = "LOGIN"
)

// connectionName is what the server calls a connection of the key: it stands in the token, and no
// name of a user or of the configuration has a slash.
func connectionName(user, key string) string { return user + "/" + key }

func connectionNames(u users.User) []string {
	names := make([]string, 0, len(u.Keys))
	for key := range u.Keys {
		names = append(names, connectionName(u.Name, key))
	}
	return names
}

// connection is one that a callout let in.
type connection struct {
	server string
	id     uint64
	// name is connectionName's.
	account, name, host string
}

func (c connection) user() (user, key string) {
	user, key, _ = strings.Cut(c.name, "/")
	return user, key
}

// label is whose connections are counted together.
func (c connection) label() string {
	if c.account == guestAccount {
		return hostLabel(c.host)
	}
	user, _ := c.user()
	return userLabel(user)
}

func userLabel(user string) string { return "user " + user }
func hostLabel(host string) string { return "host " + networkOf(host) }

// live asks the servers about connections, counts them as it hears of them, and ends them.
type live struct {
	conn *nats.Conn
	subs []*nats.Subscription
	// page is how many connections one answer of a server tells.
	page int

	mu     sync.Mutex
	labels map[connectionID]string
	counts map[string]int
}

type connectionID struct {
	server string
	id     uint64
}

func newLive(conn *nats.Conn) *live {
	return &live{conn: conn, page: connectionsPage, labels: map[connectionID]string{}, counts: map[string]int{}}
}

// start counts.
func (l *live) start() error {
	for _, account := range []string{usersAccount, guestAccount} {
		for event, change := range map[string]func(connection){"CONNECT": l.add, "DISCONNECT": l.drop} {
			sub, err := l.conn.Subscribe("$SYS.ACCOUNT."+account+"."+event, func(m *nats.Msg) {
				if c, err := parseAdvisory(m.Data); err == nil {
					change(c)
				}
			})
			if err != nil {
				return fmt.Errorf("hear of connections: %w", err)
			}
			l.subs = append(l.subs, sub)
		}
	}
	return nil
}

func (l *live) stop() {
	for _, sub := range l.subs {
		_ = sub.Unsubscribe() // fails when the connection is closed
	}
}

func parseAdvisory(raw []byte) (connection, error) {
	var m struct {
		Server struct{ ID string }
		Client struct {
			ID              uint64
			Acc, User, Host string
		}
	}
	err := json.Unmarshal(raw, &m)
	return connection{server: m.Server.ID, id: m.Client.ID, account: m.Client.Acc, name: m.Client.User, host: m.Client.Host}, err
}

func (l *live) add(c connection) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if id := (connectionID{c.server, c.id}); l.labels[id] == "" {
		l.labels[id] = c.label()
		l.counts[c.label()]++
	}
}

func (l *live) drop(c connection) {
	l.mu.Lock()
	defer l.mu.Unlock()
	id := connectionID{c.server, c.id}
	label := l.labels[id]
	if label == "" {
		return
	}
	delete(l.labels, id)
	if l.counts[label]--; l.counts[label] <= 0 {
		delete(l.counts, label)
	}
}

// replace takes what the servers say over what was heard: an advisory may have been missed.
func (l *live) replace(all []connection) {
	l.mu.Lock()
	l.labels, l.counts = map[connectionID]string{}, map[string]int{}
	l.mu.Unlock()
	for _, c := range all {
		l.add(c)
	}
}

// count returns how many connections are open.
func (l *live) count(label string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.counts[label]
}

// all returns every connection that a callout let in.
func (l *live) all(ctx context.Context) ([]connection, error) {
	var all []connection
	servers, err := l.servers(ctx)
	if err != nil {
		return nil, err
	}
	for _, server := range servers {
		for _, account := range []string{usersAccount, guestAccount} {
			found, err := l.list(ctx, server, map[string]any{"acc": account})
			if err != nil {
				return nil, err
			}
			all = append(all, found...)
		}
	}
	return all, nil
}

// end ends the connections of these names on every server.
func (l *live) end(ctx context.Context, names ...string) error {
	if len(names) == 0 {
		return nil
	}
	servers, err := l.servers(ctx)
	if err != nil {
		return err
	}
	for _, server := range servers {
		for _, name := range names {
			found, err := l.list(ctx, server, map[string]any{"acc": usersAccount, "user": name})
			for _, c := range found {
				err = errors.Join(err, l.kick(ctx, c))
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// kick ends one. That it is gone already is no error.
func (l *live) kick(ctx context.Context, c connection) error {
	_, err := l.conn.RequestWithContext(ctx, "$SYS.REQ.SERVER."+c.server+".KICK", fmt.Appendf(nil, `{"cid":%d}`, c.id))
	if err != nil {
		return fmt.Errorf("end connection %d of server %s: %w", c.id, c.server, err)
	}
	return nil
}

// list pages through the connections of one server. They are in the order of their ids, so one that
// comes or goes meanwhile moves no other out of sight for long.
func (l *live) list(ctx context.Context, server string, filter map[string]any) ([]connection, error) {
	var all []connection
	filter["auth"], filter["sort"], filter["limit"] = true, "cid", l.page
	for {
		filter["offset"] = len(all)
		ask, err := json.Marshal(filter)
		if err != nil {
			return nil, err
		}
		m, err := l.conn.RequestWithContext(ctx, "$SYS.REQ.SERVER."+server+".CONNZ", ask)
		if err != nil {
			return nil, fmt.Errorf("ask server %s for its connections: %w", server, err)
		}
		var reply struct {
			Data struct {
				Total       int
				Connections []struct {
					CID            uint64
					IP             string
					AuthorizedUser string `json:"authorized_user"`
					Account        string
				}
			}
		}
		if err := json.Unmarshal(m.Data, &reply); err != nil {
			return nil, fmt.Errorf("ask server %s for its connections: %w", server, err)
		}
		for _, c := range reply.Data.Connections {
			all = append(all, connection{server: server, id: c.CID, account: c.Account, name: c.AuthorizedUser, host: c.IP})
		}
		if len(reply.Data.Connections) == 0 || len(all) >= reply.Data.Total {
			return all, nil
		}
	}
}

// servers returns the ids of all servers: each says how many it knows.
func (l *live) servers(ctx context.Context) ([]string, error) {
	inbox := l.conn.NewRespInbox()
	sub, err := l.conn.SubscribeSync(inbox)
	if err != nil {
		return nil, fmt.Errorf("ask for the servers: %w", err)
	}
	defer func() { _ = sub.Unsubscribe() }()
	if err := l.conn.PublishRequest("$SYS.REQ.SERVER.PING.STATSZ", inbox, nil); err != nil {
		return nil, fmt.Errorf("ask for the servers: %w", err)
	}
	within, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	var ids []string
	for {
		m, err := sub.NextMsgWithContext(within)
		if err != nil && len(ids) > 0 && ctx.Err() == nil {
			return ids, nil // one that is known does not answer: it has gone, or is asked with the next sweep
		}
		if err != nil {
			return nil, fmt.Errorf("ask for the servers: %w", err)
		}
		var s struct {
			Server struct{ ID string }
			Statsz struct {
				ActiveServers int `json:"active_servers"`
			}
		}
		if err := json.Unmarshal(m.Data, &s); err != nil || s.Server.ID == "" {
			return nil, fmt.Errorf("a server's answer cannot be read: %w", err)
		}
		if ids = append(ids, s.Server.ID); len(ids) >= s.Statsz.ActiveServers {
			return ids, nil
		}
	}
}
