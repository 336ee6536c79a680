package instance_test

import (
	"bufio"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/hermes-serverless/hermes/services/api"
)

// TestRegisteredUserIsConfined: who registered may do what the user of the configuration may, and who
// has not logged in may log in.
func TestRegisteredUserIsConfined(t *testing.T) {
	everywhere(t, func(t *testing.T, open func(*testing.T) place) {
		p := open(t)
		bob := registered(t, p, "bob").connect(t, p, "bob")
		probes := checkConfined(t, bob.Conn(), bob.refused, "bob")

		i, other := newIdentity(t), newIdentity(t)
		guest, refused := connectAs(t, p, api.Guest(i.public, i.pair.Sign), "")
		hears := []string{
			">", "hermes.>", "_INBOX.>", "_INBOX_bob.>", "_INBOX_login.>", "_INBOX_login_*.>", api.LoginInbox(other.public) + ".>",
			"hermes.output.>", "hermes.login.>", api.LoginSubject(i.public, ">"), "$SYS.>",
		}
		for _, subject := range hears {
			expectRefusal(t, "a guest to hear "+subject, guest, refused, func() error { _, err := guest.SubscribeSync(subject); return err })
		}
		says := []string{
			"hermes.api.bob.info", "hermes.api.login.info", api.LoginSubject(other.public, api.OpLogin), "hermes.admin.root.user.list",
			"hermes.user.bob", "$JS.API.INFO", "$SYS.REQ.USER.AUTH", "$SYS.REQ.SERVER.PING", "$KV.hermes_secrets.x",
		}
		for _, subject := range says {
			expectRefusal(t, "a guest to publish on "+subject, guest, refused, func() error { return guest.Publish(subject, []byte("{}")) })
		}
		t.Logf("%d probes", probes+len(hears)+len(says))
	})
}

// TestRegisteredUserCannotForge: nor can a guest.
func TestRegisteredUserCannotForge(t *testing.T) {
	everywhereAndOnACluster(t, func(t *testing.T, open func(*testing.T) place) {
		var carl connection
		var guest identity
		v := newVictim(t, func(t *testing.T) place {
			p := open(t)
			carl, guest = registered(t, p, "carl").connect(t, p, "carl"), newIdentity(t)
			return p
		})
		var subjects []string
		for _, op := range forgers {
			subjects = append(subjects, api.Subject("carl", op))
		}
		sent := attack(t, carl.Conn(), subjects, harmless("carl"))
		state := api.LoginSubject(guest.public, api.OpKeyState)
		sent += attack(t, guest.guest(t, v.place), []string{state}, map[string][]byte{state: []byte("{}")})
		t.Logf("%d requests", sent)
		v.checkUnhurt(t)
	})
}

// TestForgingNeedsNoSkillInOneAccount: the same attack succeeds where users are in the account of the
// streams, with the same permissions.
func TestForgingNeedsNoSkillInOneAccount(t *testing.T) {
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
	mallory := newIdentity(t)
	v := newVictim(t, func(t *testing.T) place {
		return externalWith(t, func(conf string) string {
			user := fmt.Sprintf(`{ nkey: %s, permissions: { publish: { allow: [ "hermes.api.mallory.>" ] }, subscribe: { allow: [ "_INBOX_mallory.>" ] } } }`, mallory.public)
			conf = strings.Replace(conf, "\n    users: [", "\n    users: [\n"+user, 1)
			return strings.Replace(conf, "auth_users: [", "auth_users: [ "+mallory.public, 1)
		})
	})
	nc, _ := connectAs(t, v.place, mallory.option(), api.InboxPrefix("mallory"))
	attack(t, nc, []string{api.Subject("mallory", api.OpInfo)}, harmless("mallory"))
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "an event is forged", func() bool { return len(stored(t, v.js)) > len(v.before) })
	v.ears.stop(t)
}

// TestWhoConnects: only who holds the seed of a key that is enrolled now, by this server.
func TestWhoConnects(t *testing.T) {
	everywhereAndOnACluster(t, func(t *testing.T, open func(*testing.T) place) {
		p := open(t)
		bob, eve := registered(t, p, "bob"), registered(t, p, "eve")
		probes := 0
		refuses := func(what string, options ...nats.Option) {
			t.Helper()
			probes++
			nc, err := nats.Connect(p.url, options...)
			if err == nil {
				nc.Close()
			}
			if !errors.Is(err, nats.ErrAuthorization) {
				t.Errorf("%s: %v", what, err)
			}
		}
		newIdentity(t).turnedAway(t, p, "a key that nobody enrolled")
		refuses("nothing")
		refuses("a password", nats.UserInfo("bob", password))
		refuses("a guest without a key", nats.UserInfo(api.GuestName, ""))
		refuses("a name and another's key", nats.Nkey(bob.public, eve.pair.Sign))
		refuses("a name and another's key, as a guest", api.Guest(bob.public, eve.pair.Sign))
		refuses("a signature of something else", nats.Nkey(bob.public, func([]byte) ([]byte, error) { return bob.pair.Sign([]byte("nonce")) }))
		refuses("no signature", nats.Nkey(bob.public, func([]byte) ([]byte, error) { return nil, nil }))
		refuses("a token", nats.Token(bob.public))
		user, err := bob.pair.PublicKey()
		if err != nil {
			t.Fatal(err)
		}
		refuses("a made-up JWT", nats.UserJWT(func() (string, error) { return "eyJ0eXAiOiJKV1QifQ.e30." + user, nil }, bob.pair.Sign))

		// What a login said on one connection is of no use on another.
		said := sniff(t, p, bob)
		if answer := say(t, p, said); !strings.Contains(answer, "Authorization Violation") {
			t.Errorf("a repeated login was answered with %q", answer)
		}
		probes += 2
		t.Logf("%d probes", probes)
	})
}

// sniff returns the CONNECT line of a login that succeeds.
func sniff(t *testing.T, p place, i identity) string {
	t.Helper()
	conn, info := dial(t, p)
	defer conn.Close()
	sig, err := i.pair.Sign([]byte(info.Nonce))
	if err != nil {
		t.Fatal(err)
	}
	line := connectLine(t, i.public, sig)
	if answer := exchange(t, conn, line); !strings.Contains(answer, "PONG") {
		t.Fatalf("the login was answered with %q", answer)
	}
	return line
}

func say(t *testing.T, p place, line string) string {
	t.Helper()
	conn, _ := dial(t, p)
	defer conn.Close()
	return exchange(t, conn, line)
}

type serverInfo struct {
	Nonce string `json:"nonce"`
}

func dial(t *testing.T, p place) (net.Conn, serverInfo) {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(p.url, "nats://"))
	if err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(conn).ReadString('\n')
	var info serverInfo
	if err == nil {
		err = json.Unmarshal([]byte(strings.TrimPrefix(line, "INFO ")), &info)
	}
	if err != nil || info.Nonce == "" {
		t.Fatalf("%q: %v", line, err)
	}
	return conn, info
}

func exchange(t *testing.T, conn net.Conn, line string) string {
	t.Helper()
	if _, err := conn.Write([]byte(line + "PING\r\n")); err != nil {
		t.Fatal(err)
	}
	if err := conn.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	answer, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return answer
}

// TestNames: what is no name registers nobody, and what looks like a name is another one.
func TestNames(t *testing.T) {
	everywhere(t, func(t *testing.T, open func(*testing.T) place) {
		p := open(t)
		i := newIdentity(t)
		guest := i.guest(t, p)
		names := []string{
			"", "*", ">", "a.b", "a b", "a/b", "..", "$SYS", "Ana", "ANA", "-ana", "ana\n", "ana\x00", "аna", "ana\u200b", "ａna", "_INBOX.x", strings.Repeat("a", 65), "\xff", "hermes.api.>",
		}
		for n, name := range names {
			_, err := api.Ask[api.LoggedIn](t.Context(), guest, api.LoginSubject(i.public, api.OpRegister), api.Register{Login: api.Login{User: name, Password: password}})
			if !api.IsKind(err, api.Invalid) && !api.IsKind(err, api.Unauthorized) {
				t.Errorf("to register %q: %v", name, err)
			}
			if n%2 == 0 { // half as many as are forgiven
				_, err = api.Ask[api.LoggedIn](t.Context(), guest, api.LoginSubject(i.public, api.OpLogin), api.Login{User: name, Password: password})
				wantError(t, fmt.Sprintf("to log in as %q", name), err, api.AuthenticationError)
			}
			if _, err := admin[api.User](t, p, api.OpUserAdd, api.UserAdd{User: name, Password: password}); !api.IsKind(err, api.Invalid) {
				t.Errorf("to add %q: %v", name, err)
			}
		}
		// The users of the configuration are taken.
		_, err := api.Ask[api.LoggedIn](t.Context(), guest, api.LoginSubject(i.public, api.OpRegister), api.Register{Login: api.Login{User: "ana", Password: password}})
		wantError(t, "to register the local user's name", err, api.UserAlreadyExists)
		_, err = api.Ask[api.LoggedIn](t.Context(), guest, api.LoginSubject(i.public, api.OpLogin), api.Login{User: "ana", Password: ""})
		wantError(t, "to log in as the local user", err, api.AuthenticationError)

		checkLimits(t, p)
		users, err := admin[api.Users](t, p, api.OpUserList, api.UserList{})
		if err != nil || len(users.Users) != 1 || users.Users[0].Name != "ana" {
			t.Errorf("users %+v, %v", users, err)
		}
		t.Logf("%d probes", 2*len(names)+len(names)/2+3)
	})
}

// checkLimits: a connection that asks for too much is refused it, or ended.
func checkLimits(t *testing.T, p place) {
	t.Helper()
	for what, greedy := range map[string]func(nc *nats.Conn, key string) error{
		"1 MB": func(nc *nats.Conn, key string) error {
			return nc.Publish(api.LoginSubject(key, api.OpRegister), make([]byte, 1<<20-100))
		},
		"subscriptions": func(nc *nats.Conn, key string) (err error) {
			for range 20 {
				_, subErr := nc.SubscribeSync(nc.NewInbox())
				err = errors.Join(err, subErr)
			}
			return err
		},
	} {
		i, closed, refused := newIdentity(t), make(chan error, 1), make(chan error, 100)
		nc, err := nats.Connect(p.url, api.Guest(i.public, i.pair.Sign), nats.NoReconnect(),
			nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { refused <- err }), nats.ClosedHandler(func(nc *nats.Conn) { closed <- nc.LastError() }))
		if err != nil {
			t.Fatal(err)
		}
		err = greedy(nc, i.public)
		if errors.Is(err, nats.ErrMaxPayload) {
			t.Logf("%s of a guest: the server told its client already: %v", what, err)
			nc.Close()
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		select {
		case err := <-closed:
			t.Logf("%s of a guest: %v", what, err)
		case err := <-refused:
			t.Logf("%s of a guest: %v", what, err)
		case <-time.After(20 * time.Second):
			t.Errorf("%s of a guest: nothing happened", what)
		}
		nc.Close()
	}
}

func connectLine(t *testing.T, key string, sig []byte) string {
	t.Helper()
	raw, err := json.Marshal(map[string]any{
		"verbose": false, "pedantic": false, "nkey": key, "sig": base64.RawURLEncoding.EncodeToString(sig), "lang": "test", "version": "0", "protocol": 1,
	})
	if err != nil {
		t.Fatal(err)
	}
	return "CONNECT " + string(raw) + "\r\n"
}

// TestConnectionsAreBounded: of one who has not logged in, by the address, and of one user.
func TestConnectionsAreBounded(t *testing.T) {
	everywhere(t, func(t *testing.T, open func(*testing.T) place) {
		p := open(t)
		bob, i := registered(t, p, "bob"), newIdentity(t)
		for what, c := range map[string]struct {
			sign nats.Option
			most int
		}{
			"guests": {api.Guest(i.public, i.pair.Sign), 32}, "a user's": {bob.option(), 200},
		} {
			var conns []*nats.Conn
			var err error
			for err == nil && len(conns) <= 2*c.most {
				var nc *nats.Conn
				if nc, err = nats.Connect(p.url, c.sign); err == nil {
					conns = append(conns, nc)
				}
			}
			// The guest that registered may still count, and what has just come may not yet.
			if n := len(conns); !errors.Is(err, nats.ErrAuthorization) || n < c.most-2 || n > c.most+8 {
				t.Errorf("%s: %d connections, then %v", what, n, err)
			}
			for _, nc := range conns {
				nc.Close()
			}
			eventually(t, what+" are let in again", func() bool {
				nc, err := nats.Connect(p.url, c.sign)
				if err == nil {
					nc.Close()
				}
				return err == nil
			})
		}
	})
}
