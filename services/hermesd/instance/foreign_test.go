package instance_test

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/hermes-serverless/hermes/services/api"
	"github.com/hermes-serverless/hermes/services/hermesd/instance"
)

// TestForeignCertificate: who is on the way and shows a certificate of their own reads what a client says that
// takes any, and nothing of what one says that knows the server's.
func TestForeignCertificate(t *testing.T) {
	everywhere(t, func(t *testing.T, _ func(*testing.T) place) {
		dir := t.TempDir()
		certificate, err := instance.SelfSigned(filepath.Join(dir, "tls"), "127.0.0.1")
		if err != nil {
			t.Fatal(err)
		}
		foreign, err := instance.SelfSigned(filepath.Join(dir, "foreign"), "127.0.0.1")
		if err != nil {
			t.Fatal(err)
		}
		p := encrypted(t, certificate)
		sign, err := nats.NkeyOptionFromSeed(p.key("user"))
		if err != nil {
			t.Fatal(err)
		}
		secret := "secret-of-ana"
		for _, trustful := range []bool{false, true} {
			trust := nats.RootCAs(certificate.CertFile)
			if trustful {
				trust = nats.Secure(&tls.Config{InsecureSkipVerify: true})
			}
			between := newImpostor(t, strings.TrimPrefix(p.url, "tls://"), foreign)
			nc, err := nats.Connect("tls://"+between.address, sign, trust, nats.NoReconnect())
			if err == nil {
				err = errors.Join(nc.Publish(api.Subject("ana", api.OpInfo), []byte(secret)), nc.Flush())
				nc.Close()
			}
			reads := strings.Contains(between.text(), secret)
			if trustful {
				weak(t, "what is said to a foreign certificate", err == nil && reads, err)
				continue
			}
			var unknown *tls.CertificateVerificationError
			var authority x509.UnknownAuthorityError
			probe(t, "a foreign certificate is trusted", errors.As(err, &unknown) || errors.As(err, &authority), err)
			probe(t, "what is said to a foreign certificate", between.text() == "", "it can be read")
		}
	})
}

// encrypted is a server with a certificate, of the kind that the test's name says.
func encrypted(t *testing.T, certificate *instance.Certificate) place {
	t.Helper()
	if kindOf(t) == onExternal {
		p, _ := bareWith(t, certificate, asItIs)
		p.url = strings.Replace(p.url, "nats://", "tls://", 1)
		return p
	}
	dir := t.TempDir()
	in := startWith(t, dir, func(o *instance.Options) { o.Certificate = certificate })
	t.Cleanup(func() {
		if err := in.Stop(); err != nil {
			t.Error(err)
		}
	})
	return placeOf(dir, in)
}

// newImpostor is a way to a server on which somebody speaks TLS with a certificate of their own, and remembers
// what they read.
func newImpostor(t *testing.T, to string, own *instance.Certificate) *way {
	t.Helper()
	pair, err := tls.LoadX509KeyPair(own.CertFile, own.KeyFile)
	if err != nil {
		t.Fatal(err)
	}
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
			work.Go(func() { _ = w.relay(near, to, pair) }) // it fails where it is not trusted
		}
	})
	return w
}

// relay passes on what two ends say that take each for the other.
func (w *way) relay(near net.Conn, to string, own tls.Certificate) error {
	defer near.Close()
	far, err := net.Dial("tcp", to)
	if err != nil {
		return err
	}
	defer far.Close()
	if err := greet(far, near); err != nil {
		return err
	}
	client := tls.Server(near, &tls.Config{Certificates: []tls.Certificate{own}})
	if err := client.Handshake(); err != nil {
		return err
	}
	server := tls.Client(far, &tls.Config{InsecureSkipVerify: true})
	var work sync.WaitGroup
	work.Go(func() { _, _ = io.Copy(client, server); _ = near.Close() })
	_, err = io.Copy(io.MultiWriter(w, server), client) // first what is remembered: the answer comes after it
	_ = far.Close()
	work.Wait()
	return err
}

// greet passes the line on with which a server begins. TLS begins with the next byte.
func greet(from io.Reader, to io.Writer) error {
	for one := make([]byte, 1); one[0] != '\n'; {
		if _, err := io.ReadFull(from, one); err != nil {
			return err
		}
		if _, err := to.Write(one); err != nil {
			return err
		}
	}
	return nil
}
