package instance_test

import (
	"bufio"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"

	"github.com/hermes-serverless/hermes/services/api"
)

// TestAttacks: one instance of each kind bears what strangers, users and a watcher try with what lets them in.
func TestAttacks(t *testing.T) {
	everywhereAndOnACluster(t, func(t *testing.T, open func(*testing.T) place) {
		p := open(t)
		for _, attack := range []struct {
			name string
			try  func(*testing.T, place)
		}{
			{"who connects", checkWhoConnects}, {"the configuration's", checkConfiguredAreConfined}, {"those who registered", checkRegisteredAreConfined}, {"what a watcher reads", checkWatcherReads}, {"what a watcher hears", checkWatcherHears},
			{"names", checkNames}, {"greed", checkGreed}, {"connections", checkConnections},
		} {
			t.Run(attack.name, func(t *testing.T) { attack.try(t, p) })
		}
	})
}

// checkWhoConnects: only who holds the seed of a key that is enrolled now, by this server.
func checkWhoConnects(t *testing.T, p place) {
	bob, eve := registered(t, p, "bob"), registered(t, p, "eve")
	refuses := func(what string, options ...nats.Option) {
		t.Helper()
		nc, err := nats.Connect(p.url, options...)
		if err == nil {
			nc.Close()
		}
		probe(t, what, errors.Is(err, nats.ErrAuthorization), err)
	}
	stranger := newIdentity(t)
	refuses("a key that nobody enrolled", stranger.option())
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
	// A JWT that somebody issues themselves, in the account of the streams.
	issuer, err := nkeys.CreateAccount()
	if err != nil {
		t.Fatal(err)
	}
	claims := jwt.NewUserClaims(stranger.public)
	claims.Audience = "HERMES"
	own, err := claims.Encode(issuer)
	if err != nil {
		t.Fatal(err)
	}
	refuses("a JWT of another issuer", nats.UserJWT(func() (string, error) { return own, nil }, stranger.pair.Sign))

	// What a login said on one connection is of no use on another.
	said := sniff(t, p, bob)
	answer := say(t, p, said)
	probe(t, "a repeated login", strings.Contains(answer, "Authorization Violation"), answer)
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
	line := connectLine(i.public, sig)
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
	if err := conn.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	answer, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return answer
}

// badNames are no names of users, or look like one and are another.
var badNames = []string{
	"", "*", ">", "a.b", "a b", "a/b", "..", "$SYS", "Ana", "ANA", "-ana", "ana\n", "ana\x00", "аna", "ana\u200b", "ａna", "_INBOX.x", strings.Repeat("a", 65), "\xff", "hermes.api.>",
	strings.Repeat("x", 7<<10), // as much as a guest may send at once
}

// checkNames: what is no name registers nobody, and what looks like a name is another one.
func checkNames(t *testing.T, p place) {
	before, err := admin[api.Users](t, p, api.OpUserList, api.UserList{})
	if err != nil {
		t.Fatal(err)
	}
	i := newIdentity(t)
	guest := i.guest(t, p)
	ask := func(op string, ask any) error {
		_, err := api.Ask[api.LoggedIn](t.Context(), guest, api.LoginSubject(i.public, op), ask)
		return err
	}
	for n, name := range badNames {
		err := ask(api.OpRegister, api.Register{Login: api.Login{User: name, Password: password}})
		probe(t, fmt.Sprintf("to register %.70q", name), api.IsKind(err, api.Invalid) || api.IsKind(err, api.Unauthorized), err)
		if n%2 == 0 { // half as many as are forgiven
			denied(t, fmt.Sprintf("to log in as %.70q", name), ask(api.OpLogin, api.Login{User: name, Password: password}), api.AuthenticationError)
		}
		_, err = admin[api.User](t, p, api.OpUserAdd, api.UserAdd{User: name, Password: password})
		probe(t, fmt.Sprintf("to add %.70q", name), api.IsKind(err, api.Invalid), err)
	}
	_, err = admin[api.User](t, p, api.OpUserAdd, api.UserAdd{User: strings.Repeat("x", 1<<19), Password: password})
	probe(t, "to add a name of half a megabyte", api.IsKind(err, api.Invalid), err)
	// The users of the configuration are taken.
	denied(t, "to register the local user's name", ask(api.OpRegister, api.Register{Login: api.Login{User: "ana", Password: password}}), api.UserAlreadyExists)
	denied(t, "to log in as the local user", ask(api.OpLogin, api.Login{User: "ana", Password: ""}), api.AuthenticationError)
	after, err := admin[api.Users](t, p, api.OpUserList, api.UserList{})
	if err != nil || len(after.Users) != len(before.Users) {
		t.Errorf("users %+v, %v", after, err)
	}
}

// denied counts a probe that must end with this error.
func denied(t *testing.T, what string, err error, name string) {
	t.Helper()
	e, ok := api.AsError(err)
	probe(t, what, ok && e.Name == name, err)
}

// checkGreed: a connection that asks for too much is refused it, or ended, and others are answered meanwhile.
func checkGreed(t *testing.T, p place) {
	user, _ := as(t, p, "user", api.InboxPrefix("ana"))
	answered := func(meanwhile string) {
		t.Helper()
		if _, err := api.Call[api.Info](t.Context(), api.NewClient(user, "ana"), api.OpInfo, api.InfoRequest{}); err != nil {
			t.Errorf("somebody else, %s: %v", meanwhile, err)
		}
	}
	checkLimits(t, p)
	greta := registered(t, p, "greta").connect(t, p, "greta")
	err := subscribeMany(greta.Conn(), api.InboxPrefix("greta")+".", 1100)
	if err == nil {
		select {
		case err = <-greta.refused:
		case err = <-greta.closed:
		case <-time.After(time.Minute):
		}
	}
	probe(t, "1100 subscriptions", errors.Is(err, nats.ErrMaxSubscriptionsExceeded) || errors.Is(err, nats.ErrConnectionClosed), err)
	answered("while one subscribes")

	// As fast as they can be sent, and nobody reads the answers.
	greedy := registered(t, p, "grace").connect(t, p, "grace")
	unread, err := greedy.Conn().SubscribeSync(greedy.Conn().NewInbox())
	if err != nil {
		t.Fatal(err)
	}
	large := make([]byte, 1<<20-1000)
	for range 100 {
		if err := greedy.Conn().PublishRequest(api.Subject("grace", api.OpFunctionDeploy), unread.Subject, large); err != nil {
			t.Fatal(err)
		}
		answered("while one sends megabytes")
	}
	count(t, found{probes: 100})
	if err := greedy.Conn().PublishRequest(api.Subject("grace", api.OpInfo), unread.Subject, make([]byte, 2<<20)); !errors.Is(err, nats.ErrMaxPayload) {
		probe(t, "a message of 2 MiB", false, err)
	}
	checkLargeRequests(t, greedy.Client, "grace")
	answered("while one asks for more than may wait")
	checkNobodyReads(t, p)
	answered("while one does not read")
}

func subscribeMany(nc *nats.Conn, prefix string, n int) error {
	var err error
	for i := range n {
		_, subErr := nc.SubscribeSync(fmt.Sprint(prefix, i))
		err = errors.Join(err, subErr)
	}
	return errors.Join(err, nc.Flush())
}

// checkLimits: a connection that asks for too much is refused it, or ended.
func checkLimits(t *testing.T, p place) {
	t.Helper()
	for what, greedy := range map[string]func(nc *nats.Conn, key string) error{
		"1 MB": func(nc *nats.Conn, key string) error {
			return nc.Publish(api.LoginSubject(key, api.OpRegister), make([]byte, 1<<20-100))
		},
		"subscriptions": func(nc *nats.Conn, key string) error {
			return subscribeMany(nc, api.LoginInbox(key)+".", 20)
		},
	} {
		i, closed, refused := newIdentity(t), make(chan error, 1), make(chan error, 100)
		nc, err := nats.Connect(p.url, api.Guest(i.public, i.pair.Sign), nats.NoReconnect(),
			nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { refused <- err }), nats.ClosedHandler(func(nc *nats.Conn) { closed <- nc.LastError() }))
		if err != nil {
			t.Fatal(err)
		}
		err = greedy(nc, i.public)
		if errors.Is(err, nats.ErrMaxPayload) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) {
			count(t, found{probes: 1}) // the server told its client already, or has hung up
			nc.Close()
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		select {
		case err = <-closed:
		case err = <-refused:
		case <-time.After(time.Minute):
		}
		probe(t, what+" of a guest", err != nil, "nothing happened")
		nc.Close()
	}
}

// connectLine says who connects, and proves it by a signature.
func connectLine(key string, sig []byte) string {
	return fmt.Sprintf(`CONNECT {"verbose":false,"pedantic":false,"nkey":%q,"sig":%q,"lang":"test","version":"0","protocol":1}`+"\r\n",
		key, base64.RawURLEncoding.EncodeToString(sig))
}

// checkConnections: they are bounded, of one who has not logged in by the address, and of one user.
func checkConnections(t *testing.T, p place) {
	cora, i := registered(t, p, "cora"), newIdentity(t)
	for what, c := range map[string]struct {
		sign nats.Option
		most int
	}{
		"guests": {api.Guest(i.public, i.pair.Sign), 32}, "a user's": {cora.option(), 200},
	} {
		conns, err := connectMany(p, c.sign, 2*c.most)
		// The guest that registered may still count, and what has just come may not yet.
		n := len(conns)
		probe(t, "connections: "+what, errors.Is(err, nats.ErrAuthorization) && n >= c.most-2 && n <= c.most+8, fmt.Sprintf("%d, then %v", n, err))
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
}

func connectMany(p place, sign nats.Option, n int) (conns []*nats.Conn, err error) {
	for err == nil && len(conns) < n {
		var nc *nats.Conn
		if nc, err = nats.Connect(p.url, sign); err == nil {
			conns = append(conns, nc)
		}
	}
	return conns, err
}
