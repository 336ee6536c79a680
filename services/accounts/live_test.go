package accounts

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

// newServer is a server with the accounts that connections are counted in, and some names there.
func newServer(t *testing.T, names ...string) *server.Server {
	t.Helper()
	members := make([]string, len(names))
	for i, name := range names {
		members[i] = fmt.Sprintf("{ user: %q, password: x }", name)
	}
	conf := filepath.Join(t.TempDir(), "nats.conf")
	text := fmt.Sprintf(`listen: "127.0.0.1:-1"
accounts { USERS { users: [ %s ] }, LOGIN { users: [ { user: "login/U", password: x } ] }, SYS { users: [ { user: system, password: x } ] } }
system_account: SYS`, strings.Join(members, ", "))
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	opts, err := server.ProcessConfigFile(conf)
	if err != nil {
		t.Fatal(err)
	}
	opts.NoSigs = true
	s, err := server.NewServer(opts)
	if err != nil {
		t.Fatal(err)
	}
	go s.Start()
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	if !s.ReadyForConnections(30 * time.Second) {
		t.Fatal("the server does not start")
	}
	return s
}

func connect(t *testing.T, s *server.Server, name string) *nats.Conn {
	t.Helper()
	nc, err := nats.Connect(s.ClientURL(), nats.UserInfo(name, "x"), nats.NoReconnect())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return nc
}

func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !is(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("in vain: %s", what)
		}
	}
}

// TestLive: connections are counted as they come and go, all pages of them are listed, and those of
// a name are ended, and no other.
func TestLive(t *testing.T) {
	s := newServer(t, "ana/U1", "ana/U2", "bob/U3")
	l := newLive(connect(t, s, "system"))
	l.page = 2
	early := connect(t, s, "ana/U1")
	if err := l.start(); err != nil {
		t.Fatal(err)
	}
	defer l.stop()
	all, err := l.all(t.Context())
	if err != nil || len(all) != 1 || all[0].account != usersAccount || all[0].name != "ana/U1" || all[0].host != "127.0.0.1" {
		t.Fatalf("%+v, %v", all, err)
	}
	l.replace(all)
	var second []*nats.Conn
	for range 4 {
		second = append(second, connect(t, s, "ana/U2"))
	}
	bob, guest := connect(t, s, "bob/U3"), connect(t, s, "login/U")
	counts := func(ana, bob, guests int) func() bool {
		return func() bool {
			return l.count(userLabel("ana")) == ana && l.count(userLabel("bob")) == bob && l.count(hostLabel("127.0.0.1")) == guests
		}
	}
	eventually(t, "all are counted", counts(5, 1, 1))
	if all, err = l.all(t.Context()); err != nil || len(all) != 7 {
		t.Fatalf("%d connections: %+v, %v", len(all), all, err)
	}
	if err := l.end(t.Context(), "ana/U2", "nobody/U"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "those of the key have ended", func() bool {
		for _, nc := range second {
			if !nc.IsClosed() {
				return false
			}
		}
		return true
	})
	eventually(t, "they are not counted any more", counts(1, 1, 1))
	for what, nc := range map[string]*nats.Conn{"the other key's": early, "the other user's": bob, "the guest's": guest} {
		if err := nc.Flush(); err != nil {
			t.Errorf("%s connection: %v", what, err)
		}
	}
	if err := l.kick(t.Context(), connection{server: all[0].server, id: 1 << 40}); err != nil {
		t.Errorf("to end one that is gone: %v", err)
	}
}
