package instance_test

import (
	"bufio"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/services/api"
	"github.com/hermes-serverless/hermes/services/hermesd/instance"
)

// careless lets people in as the accounts' callout does, but that it leaves out the checks: it asks admit
// alone, and lets every guest in. What it lets in has a user's, or a guest's, permissions.
func careless(t *testing.T, change func(conf string) string, admit func(ask *jwt.AuthorizationRequestClaims) (user string, ok bool)) place {
	t.Helper()
	p, dir := bare(t, change)
	issuer, curve := keyOf(t, p, "issuer"), keyOf(t, p, "callout-xkey")
	nc, _ := as(t, p, "callout", "")
	_, err := nc.Subscribe("$SYS.REQ.USER.AUTH", func(m *nats.Msg) {
		if err := answerCarelessly(m, issuer, curve, admit); err != nil {
			t.Errorf("the careless callout: %v", err)
		}
	})
	if err := errors.Join(err, nc.Flush()); err != nil {
		t.Fatal(err)
	}
	serveUngated(t, p, dir)
	return p
}

func keyOf(t *testing.T, p place, name string) nkeys.KeyPair {
	t.Helper()
	seed, err := os.ReadFile(p.key(name))
	if err != nil {
		t.Fatal(err)
	}
	pair, err := nkeys.FromSeed(seed)
	if err != nil {
		t.Fatal(err)
	}
	return pair
}

func answerCarelessly(m *nats.Msg, issuer, curve nkeys.KeyPair, admit func(*jwt.AuthorizationRequestClaims) (string, bool)) error {
	raw, err := curve.Open(m.Data, m.Header.Get("Nats-Server-Xkey"))
	if err != nil {
		return err
	}
	ask, err := jwt.DecodeAuthorizationRequestClaims(string(raw))
	if err != nil {
		return err
	}
	answer := jwt.NewAuthorizationResponseClaims(ask.UserNkey)
	answer.Audience = ask.Server.ID
	key, c := ask.ConnectOptions.Nkey, jwt.NewUserClaims(ask.UserNkey)
	user, ok := api.GuestName, ask.ConnectOptions.Username == api.GuestName
	if ok {
		c.Audience = "LOGIN"
		c.Permissions.Pub.Allow.Add(api.LoginSubject(key, ">"))
		c.Permissions.Sub.Allow.Add(api.LoginInbox(key) + ".>")
	} else if user, ok = admit(ask); ok {
		c.Audience = "USERS"
		c.Permissions.Pub.Allow.Add(api.Subject(user, ">"))
		c.Permissions.Sub.Allow.Add(events.OutputSubject("*", user, ">"), api.InboxPrefix(user)+".>")
	}
	if ok {
		c.Name = user + "/" + key
		if answer.Jwt, err = c.Encode(issuer); err != nil {
			return err
		}
	} else {
		answer.Error = "not admitted"
	}
	token, err := answer.Encode(issuer)
	if err != nil {
		return err
	}
	sealed, err := curve.Seal([]byte(token), ask.Server.XKey)
	if err != nil {
		return err
	}
	return m.Respond(sealed)
}

// TestWhatTheCalloutPrevents: where it does not look at signatures, at who enrolled a key and at names, attackers
// are let in.
func TestWhatTheCalloutPrevents(t *testing.T) {
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
	bob, expired, star := newIdentity(t), newIdentity(t), newIdentity(t)
	// Who enrolled what is known, and nothing else is looked at: not even until when.
	keys := map[string]string{bob.public: "bob", expired.public: "eve", star.public: "*"}
	p := careless(t, asItIs, func(ask *jwt.AuthorizationRequestClaims) (string, bool) {
		user, known := keys[ask.ConnectOptions.Nkey]
		if !known && ask.ConnectOptions.Nkey != "" {
			user, known = "stranger", true
		}
		return user, known
	})
	letIn := func(what string, options ...nats.Option) {
		t.Helper()
		nc, err := nats.Connect(p.url, options...)
		if err == nil {
			nc.Close()
		}
		weak(t, what, err == nil, err)
	}
	letIn("a key that nobody enrolled, was revoked, or is another server's", newIdentity(t).option())
	letIn("an expired key", expired.option())
	letIn("a name and another's key", nats.Nkey(bob.public, newIdentity(t).pair.Sign))
	letIn("a signature of something else", nats.Nkey(bob.public, func([]byte) ([]byte, error) { return bob.pair.Sign([]byte("nonce")) }))

	said := sniff(t, p, bob)
	answer := say(t, p, said)
	weak(t, "a repeated login", strings.Contains(answer, "PONG"), answer)

	// The name is all that makes a user's permissions: with this one they are everybody's.
	ana, _ := as(t, p, "user", api.InboxPrefix("ana"))
	deploy(t.Context(), t, api.NewClient(ana, "ana"), hello("private"))
	nc, _ := connectAs(t, p, star.option(), "")
	heard, inbox := newEars(), api.InboxPrefix("*")+".x"
	heard.hear(t, nc, "hermes.output.*.*.>", inbox)
	if err := nc.PublishRequest(api.Subject("ana", api.OpInfo), inbox, []byte("{}")); err != nil {
		t.Fatal(err)
	}
	soon(t, "to ask as anybody, for a user who is called *", func() bool {
		return heard.has(inbox, func(m *nats.Msg) bool { return strings.Contains(string(m.Data), `"user":"ana"`) })
	})
	ran := runAs(t, api.NewClient(ana, "ana"), "secret-of-ana")
	soon(t, "the output of all, for a user who is called *", func() bool {
		return heard.has("hermes.output.*.*.>", func(m *nats.Msg) bool {
			return strings.HasSuffix(m.Subject, "."+ran.ID) && strings.Contains(string(m.Data), "secret-of-ana")
		})
	})
}

// TestWhatTLSPrevents: who is on the way reads a password where there is no TLS, and nothing where there is;
// and a server with TLS does not hear who speaks without.
func TestWhatTLSPrevents(t *testing.T) {
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
	certificate, err := instance.SelfSigned(filepath.Join(t.TempDir(), "tls"), "127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	for _, encrypted := range []bool{false, true} {
		dir := t.TempDir()
		in := startWith(t, dir, func(o *instance.Options) {
			o.Accounts = instance.AccountOptions{Registration: api.RegistrationOpen, PasswordCost: cheap}
			if encrypted {
				o.Certificate = certificate
			}
		})
		address := strings.TrimPrefix(strings.TrimPrefix(in.URL(), "nats://"), "tls://")
		way := newWay(t, address)
		i := newIdentity(t)
		options := []nats.Option{api.Guest(i.public, i.pair.Sign)}
		if encrypted {
			options = append(options, nats.RootCAs(certificate.CertFile))
		}
		guest, err := nats.Connect("nats://"+way.address, options...)
		if err != nil {
			t.Fatal(err)
		}
		_, err = api.Ask[api.LoggedIn](t.Context(), guest, api.LoginSubject(i.public, api.OpRegister), api.Register{Login: api.Login{User: "bob", Password: password}})
		guest.Close()
		if err != nil {
			t.Fatal(err)
		}
		reads := strings.Contains(way.text(), password)
		conn, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		hears := hearsPlaintext(t, conn)
		if encrypted {
			probe(t, "a password, on the way", !reads, "it can be read")
			probe(t, "plaintext to a server with TLS", !hears, "it is heard")
		} else {
			weak(t, "a password, on the way", reads, "it cannot be read")
			weak(t, "plaintext", hears, "it is not heard")
		}
		if err := errors.Join(conn.Close(), in.Stop()); err != nil {
			t.Error(err)
		}
	}
}

// hearsPlaintext: the server reads what is said without TLS, and answers it.
func hearsPlaintext(t *testing.T, conn net.Conn) bool {
	t.Helper()
	if _, err := conn.Write([]byte("CONNECT {\"verbose\":true}\r\nPING\r\n")); err != nil {
		t.Fatal(err)
	}
	if err := conn.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	r := bufio.NewReader(conn)
	if greeting, err := r.ReadString('\n'); err != nil || !strings.HasPrefix(greeting, "INFO ") {
		t.Fatalf("the greeting is %q, %v", greeting, err)
	}
	// Whatever it thinks of the login: that it was read is the point.
	answer, err := r.ReadString('\n')
	return err == nil && (strings.HasPrefix(answer, "-ERR 'Authorization Violation'") || strings.HasPrefix(answer, "+OK") || strings.HasPrefix(answer, "PONG"))
}

// way is a relay to a server that remembers what passes.
type way struct {
	safeLog
	address string
}

func newWay(t *testing.T, to string) *way {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &way{address: l.Addr().String()}
	var work sync.WaitGroup
	t.Cleanup(func() { _ = l.Close(); work.Wait() })
	work.Go(func() {
		for {
			near, err := l.Accept()
			if err != nil {
				return
			}
			far, err := net.Dial("tcp", to)
			if err != nil {
				_ = near.Close()
				return
			}
			work.Go(func() { _, _ = io.Copy(io.MultiWriter(w, far), near); _ = far.Close() })
			work.Go(func() { _, _ = io.Copy(io.MultiWriter(w, near), far); _ = near.Close() })
		}
	})
	return w
}
