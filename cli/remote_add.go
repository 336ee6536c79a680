package cli

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"net/url"
	"path/filepath"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/spf13/cobra"

	"github.com/hermes-serverless/hermes/cli/config"
	"github.com/hermes-serverless/hermes/cli/natsctx"
	"github.com/hermes-serverless/hermes/services/api"
)

type addOptions struct {
	app *app
	ctx context.Context
	url *url.URL
	// fingerprint is the certificate's that the operator told; insecure lets passwords travel in the
	// clear.
	name, fingerprint string
	insecure          bool
}

func newRemoteAddCmd(a *app, run func(*addOptions) error) *cobra.Command {
	o := &addOptions{app: a}
	if run == nil {
		run = runRemoteAdd
	}
	cmd := &cobra.Command{
		Use:   "add URL",
		Short: "Add a server, to register or log in there",
		Long: `Looks whether Hermes answers there, makes a NATS context for it and chooses that. A certificate that no
authority vouches for is shown by its fingerprint; when you trust it, no other is taken from then on.`,
		Example: "  hermes remote add tls://gpu.lab.example:4222\n  hermes remote:add tls://10.0.0.7:4222 --name lab --fingerprint sha256:3f…",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.ctx = cmd.Context()
			var err error
			if o.url, err = parseServer(args[0]); err != nil {
				return usageOf(cmd, err)
			}
			return run(o)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.name, "name", "", "`name` of the context (default: the host's)")
	f.StringVar(&o.fingerprint, "fingerprint", "", "`digest` of the certificate to trust, sha256:…, as the operator told it")
	f.BoolVar(&o.insecure, "insecure", false, "go on without TLS: whoever is on the way reads your password")
	return cmd
}

// parseServer reads host, host:port or a URL.
func parseServer(text string) (*url.URL, error) {
	if !strings.Contains(text, "://") {
		text = "nats://" + text
	}
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Hostname() == "":
		return nil, usage("%q is no address of a server", redacted(text))
	case u.User != nil:
		return nil, usage("an address holds no credentials: `hermes remote login` asks for them")
	case u.Scheme != "nats" && u.Scheme != "tls" || u.Path != "" && u.Path != "/":
		return nil, usage("%q: must be nats://HOST:PORT or tls://HOST:PORT", redacted(text))
	}
	if u.Path = ""; u.Port() == "" {
		u.Host = net.JoinHostPort(u.Hostname(), "4222")
	}
	return u, nil
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

func runRemoteAdd(o *addOptions) error {
	dir, err := config.Dir()
	if err != nil {
		return err
	}
	if o.name == "" {
		o.name = strings.ReplaceAll(o.url.Hostname(), ":", "-")
	}
	c, err := natsctx.Load(dir, o.name)
	switch {
	case err == nil && !strings.HasPrefix(c.Description, remoteMark):
		return api.Errorf(api.Exists, badContext, "there is a NATS context %s that hermes did not make", o.name).WithHint("give another name: --name NAME")
	case err != nil && !errors.Is(err, natsctx.ErrNoContext):
		return brokenContext(dir, o.name, err)
	case err == nil && c.NKey != "":
		return api.Errorf(api.Exists, badContext, "you are logged in with the context %s", o.name).
			WithHint("`hermes --context %s remote logout` first, or give another name: --name NAME", o.name)
	}
	seen, err := o.reach()
	if err != nil {
		return err
	}
	change := natsctx.Change{"url": o.url.String(), "description": remoteMark + o.url.Host, "ca": nil}
	if seen.pinned != nil {
		file := filepath.Join(dir, "hermes", "certificates", o.name+".pem")
		raw := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: seen.pinned.Raw})
		if err := natsctx.WriteFile(file, raw); err != nil {
			return fmt.Errorf("keep the certificate: %w", err)
		}
		change["ca"] = file
	}
	if err := natsctx.Save(dir, o.name, change); err != nil {
		return err
	}
	return o.choose(seen)
}

// choose makes the new context the one in use.
func (o *addOptions) choose(seen sight) error {
	settings, err := config.Load()
	if err == nil {
		err = settings.Set(config.KeyContext, o.name)
	}
	if err == nil {
		err = settings.Save()
	}
	if err != nil {
		return err
	}
	if !o.app.human() {
		return o.app.printJSON(map[string]string{"context": o.name, "server": o.url.String(), "registration": string(seen.state.Registration)})
	}
	next := "`hermes remote login USERNAME`"
	if seen.state.Registration != api.RegistrationClosed {
		next += " or `hermes remote register`"
	}
	_, err = fmt.Fprintf(o.app.streams.Out, "-> Added %s as %s, which is in use now. Next: %s\n", o.url, o.name, next)
	return err
}

// sight is what was seen of the server.
type sight struct {
	state  api.KeyState
	pinned *x509.Certificate
}

// reach connects as a guest, and once more when a certificate had to be looked at first.
func (o *addOptions) reach() (sight, error) {
	seen, unknown, err := o.try(nil)
	if unknown == nil {
		return seen, err
	}
	if err := o.trust(unknown); err != nil {
		return sight{}, err
	}
	seen, again, err := o.try(unknown)
	if again != nil {
		return sight{}, api.Errorf(api.Unauthorized, authFailed, "the server's certificate is not for %s, or it has expired", o.url.Hostname()).
			WithDetail("it is for " + strings.Join(namesOf(again), ", ")).WithHint("use one of the names that it is for")
	}
	return seen, err
}

// try connects. It returns the server's certificate if that is not to be trusted.
func (o *addOptions) try(pinned *x509.Certificate) (seen sight, unknown *x509.Certificate, err error) {
	k, err := newLoginKey()
	if err != nil {
		return seen, nil, err
	}
	defer k.pair.Wipe()
	encrypted := false
	roots := func(options *nats.Options) error {
		options.TLSConfig = &tls.Config{
			MinVersion: tls.VersionTLS12, ServerName: o.url.Hostname(),
			// Verified below, where the certificate is at hand if it is not to be trusted.
			InsecureSkipVerify: true,
			VerifyConnection: func(state tls.ConnectionState) error {
				encrypted = true
				err := verify(state, o.url.Hostname(), pinned)
				if err != nil {
					unknown = state.PeerCertificates[0]
				}
				return err
			},
		}
		return nil
	}
	if o.url.Scheme != "tls" && !o.insecure && !isLoopback(o.url.Hostname()) {
		// Nothing is said before it is known that nobody listens.
		if encrypted, err := wantsTLS(o.url.Host); err != nil || !encrypted {
			if err == nil {
				err = api.Errorf(api.Unauthorized, authFailed, "the server at %s has no TLS: whoever is on the way would read your password", o.url).
					WithHint("its operator can turn it on: `hermesd up --tls-self-signed`. If the way is safe, --insecure goes on without")
			}
			return seen, nil, err
		}
		o.url.Scheme = "tls" // the connection that follows has it too, or is none
	}
	nc, err := guest(natsctx.Context{Name: o.name, URL: o.url.String()}, k, roots)
	if err != nil {
		return seen, unknown, err
	}
	defer nc.Close()
	if encrypted {
		o.url.Scheme = "tls" // never without from now on
	}
	seen.pinned = pinned
	seen.state, err = api.Ask[api.KeyState](o.ctx, nc, api.LoginSubject(k.public, api.OpKeyState), api.KeyStateRequest{})
	return seen, nil, err
}

// verify is what crypto/tls does, but that it can trust one certificate.
func verify(state tls.ConnectionState, host string, pinned *x509.Certificate) error {
	options := x509.VerifyOptions{DNSName: host, Intermediates: x509.NewCertPool()}
	for _, c := range state.PeerCertificates[1:] {
		options.Intermediates.AddCert(c)
	}
	if pinned != nil {
		options.Roots = x509.NewCertPool()
		options.Roots.AddCert(pinned)
	}
	_, err := state.PeerCertificates[0].Verify(options)
	return err
}

// trust asks whether the certificate is the server's, unless the operator's word is there.
func (o *addOptions) trust(c *x509.Certificate) error {
	sum := sha256.Sum256(c.Raw)
	fingerprint := "sha256:" + hex.EncodeToString(sum[:])
	if o.fingerprint != "" {
		if strings.EqualFold(strings.TrimSpace(o.fingerprint), fingerprint) {
			return nil
		}
		return api.Errorf(api.Unauthorized, authFailed, "the certificate of %s is another one than --fingerprint says", o.url.Host).
			WithDetail("it is " + fingerprint).WithHint("ask the operator; somebody may be in between")
	}
	if !o.app.streams.Interactive() {
		return api.Errorf(api.Unauthorized, authFailed, "no authority vouches for the certificate of %s", o.url.Host).
			WithDetail("its fingerprint is "+fingerprint).WithHint("compare it with what the operator tells, then give it: --fingerprint %s", fingerprint)
	}
	fmt.Fprintf(o.app.streams.Err, "No authority vouches for the certificate of %s, which is for %s.\nIts fingerprint is %s\nhermesd printed it when it started: ask the operator.\n",
		o.url.Host, strings.Join(namesOf(c), ", "), fingerprint)
	answer, err := o.app.questions(false).line("Is it the same? (yes/no) ")
	if err != nil {
		return err
	}
	if answer != "yes" && answer != "y" {
		return api.Errorf(api.Unauthorized, authFailed, "the certificate is not trusted; nothing was added")
	}
	return nil
}

func namesOf(c *x509.Certificate) []string {
	names := c.DNSNames
	for _, ip := range c.IPAddresses {
		names = append(names, ip.String())
	}
	return names
}

// wantsTLS reads what the server says before anybody has said anything.
func wantsTLS(address string) (bool, error) {
	conn, err := net.DialTimeout("tcp", address, connectTimeout)
	if err != nil {
		return false, connectError(natsctx.Context{URL: address}, err)
	}
	defer conn.Close()
	return readsTLS(conn)
}
