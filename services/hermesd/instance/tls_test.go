package instance_test

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/hermes-serverless/hermes/services/api"
	"github.com/hermes-serverless/hermes/services/hermesd/instance"
)

// TestTLS: with a certificate nothing is said in the clear, and no other certificate is taken.
func TestTLS(t *testing.T) {
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
	dir := t.TempDir()
	certificate, err := instance.SelfSigned(filepath.Join(dir, "tls"), "127.0.0.1")
	if err != nil || !certificate.SelfSigned || !strings.HasPrefix(certificate.Fingerprint, "sha256:") {
		t.Fatalf("%+v, %v", certificate, err)
	}
	other, err := instance.SelfSigned(filepath.Join(dir, "other"), "127.0.0.1")
	if err != nil || other.Fingerprint == certificate.Fingerprint {
		t.Fatalf("%+v, %v", other, err)
	}
	in := startWith(t, dir, func(o *instance.Options) {
		o.Certificate = certificate
		o.Accounts = instance.AccountOptions{Registration: api.RegistrationOpen, PasswordCost: cheap}
	})
	defer func() {
		if err := in.Stop(); err != nil {
			t.Error(err)
		}
	}()
	p := placeOf(dir, in)
	if !strings.HasPrefix(p.url, "tls://127.0.0.1:") {
		t.Errorf("the URL is %s", p.url)
	}
	sign, err := nats.NkeyOptionFromSeed(p.key("user"))
	if err != nil {
		t.Fatal(err)
	}
	user, _ := connectAs(t, p, func(o *nats.Options) error { return errors.Join(sign(o), nats.RootCAs(certificate.CertFile)(o)) }, api.InboxPrefix("ana"))
	if _, err := api.Call[api.Info](t.Context(), api.NewClient(user, "ana"), api.OpInfo, api.InfoRequest{}); err != nil {
		t.Errorf("with the certificate: %v", err)
	}
	i := newIdentity(t)
	guest, err := nats.Connect(p.url, api.Guest(i.public, i.pair.Sign), nats.RootCAs(certificate.CertFile))
	if err != nil {
		t.Fatal(err)
	}
	defer guest.Close()
	if _, err := api.Ask[api.LoggedIn](t.Context(), guest, api.LoginSubject(i.public, api.OpRegister), api.Register{Login: api.Login{User: "bob", Password: password}}); err != nil {
		t.Errorf("to register: %v", err)
	}
	for what, options := range map[string][]nats.Option{
		"no certificate": {sign}, "another certificate": {sign, nats.RootCAs(other.CertFile)},
	} {
		var unknown *tls.CertificateVerificationError
		var authority x509.UnknownAuthorityError
		nc, err := nats.Connect(p.url, options...)
		if err == nil {
			nc.Close()
		}
		probe(t, "TLS with "+what, errors.As(err, &unknown) || errors.As(err, &authority), err)
	}
	if info, err := os.Stat(filepath.Join(dir, "tls", "key.pem")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the key: %v, %v", info, err)
	}
}
