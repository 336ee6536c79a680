package cli

import (
	"crypto/tls"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/hermes-serverless/hermes/cli/config"
	"github.com/hermes-serverless/hermes/cli/natsctx"
	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/services/api"
)

const (
	// connectTimeout is for a server that is there; one that is not is known sooner. It is longer than
	// a busy server takes to give up on who connects.
	connectTimeout = 5 * time.Second
	// reconnectWait is short: a restarted server is there again within a second.
	reconnectWait = 100 * time.Millisecond
)

// defaultContext is the context that an instance on this machine writes for its local user.
const defaultContext = "hermes-local"

// connect opens a connection as the user of the context in use. The returned function closes it.
func (a *app) connect() (*api.Client, func(), error) {
	c, user, err := a.natsContext()
	if err != nil {
		return nil, nil, err
	}
	nc, err := dial(c, nats.CustomInboxPrefix(api.InboxPrefix(user)))
	if errors.Is(err, nats.ErrAuthorization) {
		if why := whyRefused(c, user); why != nil {
			return nil, nil, why
		}
	}
	if err != nil {
		return nil, nil, connectError(c, err)
	}
	return api.NewClient(nc, user), nc.Close, nil
}

// connectOperator is connect for what an operator may ask. The context that was chosen may be one that
// is no user's, such as hermesd writes for its operator; with a user's the server decides.
func (a *app) connectOperator() (*api.Client, func(), error) {
	name, err := a.chosenContext()
	if err != nil || name == "" {
		return a.connect()
	}
	dir, err := config.Dir()
	if err != nil {
		return nil, nil, err
	}
	c, err := natsctx.Load(dir, name)
	if err != nil || c.InboxPrefix != "" {
		return a.connect() // which says what is wrong with it
	}
	nc, err := dial(c)
	if err != nil {
		return nil, nil, connectError(c, err)
	}
	who := os.Getenv("USER")
	if events.CheckUserName(who) != nil {
		who = "operator"
	}
	return api.NewOperator(nc, who), nc.Close, nil
}

func dial(c natsctx.Context, more ...nats.Option) (*nats.Conn, error) {
	options, err := c.Options()
	if err != nil {
		return nil, api.Errorf(api.Unauthorized, authFailed, "%v", err)
	}
	return nats.Connect(c.URL, append(append(options,
		nats.Name("hermes "+version()),
		nats.Timeout(connectTimeout),
		nats.MaxReconnects(-1),
		nats.ReconnectWait(reconnectWait),
		nats.ReconnectJitter(reconnectWait, reconnectWait),
		// What goes wrong on the way comes back as the error of a request; the default prints it.
		nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}),
	), more...)...)
}

// connectError says in the user's words why there is no connection.
func connectError(c natsctx.Context, err error) error {
	if e, ok := api.AsError(err); ok {
		return e
	}
	var untrusted *tls.CertificateVerificationError
	switch {
	case errors.As(err, &untrusted):
		return api.Errorf(api.Unauthorized, authFailed, "the certificate of the server at %s is not trusted; nothing was sent", redacted(c.URL)).
			WithDetail(untrusted.Err.Error()).
			WithHint("somebody may be in between. If the operator has a new certificate: `hermes remote logout --local`, then `hermes remote add` again")
	case errors.Is(err, nats.ErrAuthExpired):
		return api.Errorf(api.Unauthorized, authFailed, "Your token expired").
			WithHint("`hermes --context %s remote login USERNAME`", c.Name)
	case errors.Is(err, nats.ErrAuthorization), errors.Is(err, nats.ErrAuthRevoked), errors.Is(err, nats.ErrAccountAuthExpired):
		return api.Errorf(api.Unauthorized, authFailed, "the server does not accept the credentials of the context %s", c.Name).
			WithHint("the file is %s; the operator can enrol you again", c.Path)
	}
	return api.Errorf(api.Unavailable, api.ServerUnavailable, "cannot reach the server at %s", redacted(c.URL)).
		WithDetail(err.Error()).
		WithHint("is hermesd running there? On its machine, `hermesd doctor` tells what is wrong")
}

// redacted leaves out what stands before an @: it may be a password.
func redacted(urls string) string {
	parts := strings.Split(urls, ",")
	for i, part := range parts {
		scheme, rest, found := strings.Cut(part, "://")
		if !found {
			scheme, rest = "", part
		}
		if at := strings.LastIndex(rest, "@"); at >= 0 {
			rest = rest[at+1:]
		}
		if parts[i] = rest; found {
			parts[i] = scheme + "://" + rest
		}
	}
	return strings.Join(parts, ",")
}

// chosenContext is the name that somebody chose: the flag, HERMES_CONTEXT, the configuration. Empty:
// nobody did.
func (a *app) chosenContext() (string, error) {
	if a.contextName != "" {
		return a.contextName, nil
	}
	if name := os.Getenv("HERMES_CONTEXT"); name != "" {
		return name, nil
	}
	settings, err := config.Load()
	return settings[config.KeyContext], err
}

// natsContext finds the context in use and whose it is: the chosen one, then whatever is there.
func (a *app) natsContext() (natsctx.Context, string, error) {
	dir, err := config.Dir()
	if err != nil {
		return natsctx.Context{}, "", err
	}
	name, err := a.chosenContext()
	if err != nil {
		return natsctx.Context{}, "", err
	}
	if name == "" {
		return findContext(dir)
	}
	c, err := loadContext(dir, name)
	if err != nil {
		return c, "", err
	}
	_, user, err := usable(dir, name)
	if strings.HasPrefix(c.Description, remoteMark) && !c.HasCredentials() {
		return c, "", notLoggedInTo(remote{dir, c})
	}
	if err != nil {
		return c, "", brokenContext(dir, name, err)
	}
	return c, user, nil
}

func loadContext(dir, name string) (natsctx.Context, error) {
	c, err := natsctx.Load(dir, name)
	if errors.Is(err, natsctx.ErrNoContext) {
		e := api.Errorf(api.NotFound, noSuchContext, "there is no NATS context %q", name)
		if names := natsctx.Names(dir); len(names) > 0 {
			return c, e.WithHint("there are: %s", strings.Join(names, ", "))
		}
		return c, e.WithHint("start `hermesd up` on this machine, or add a server: `hermes remote add URL`")
	}
	if err != nil {
		return c, brokenContext(dir, name, err)
	}
	return c, nil
}

// brokenContext is the error of a context that is there and cannot be used.
func brokenContext(dir, name string, err error) *api.Error {
	e := api.Errorf(api.Invalid, badContext, "%v", err).WithDetail("its file is " + natsctx.Path(dir, name))
	if name == defaultContext {
		return e.WithHint("start `hermesd up` on this machine again, which writes it anew, or choose another: `hermes config context NAME`")
	}
	return e.WithHint("mend the file, or choose another: `hermes config context NAME`")
}

// findContext takes the first that is a Hermes user's: the one that the nats tool has selected,
// the default one, the only one. A default one that cannot be used is an error: another one in its
// place would be a surprise.
func findContext(dir string) (natsctx.Context, string, error) {
	if c, user, err := usable(dir, natsctx.Selected(dir)); err == nil {
		return c, user, nil
	}
	c, user, err := usable(dir, defaultContext)
	switch {
	case err == nil:
		return c, user, nil
	case !errors.Is(err, natsctx.ErrNoContext):
		return c, "", brokenContext(dir, defaultContext, err)
	}
	var found, broken []string
	for _, name := range natsctx.Names(dir) {
		if _, _, err := usable(dir, name); err == nil {
			found = append(found, name)
		} else {
			broken = append(broken, fmt.Sprintf("%v (%s)", err, natsctx.Path(dir, name)))
		}
	}
	switch len(found) {
	case 0:
		e := api.Errorf(api.Unauthorized, notLoggedIn, "You are not logged in!").
			WithHint("start `hermesd up` on this machine, or add a server: `hermes remote add URL`")
		if len(broken) > 0 {
			e = e.WithDetail("none of the NATS contexts can be used:\n" + strings.Join(broken, "\n"))
		}
		return natsctx.Context{}, "", e
	case 1:
		return usable(dir, found[0])
	}
	return natsctx.Context{}, "", usage("several NATS contexts are Hermes users', and none is chosen").
		WithDetail(strings.Join(found, "\n")).WithHint("`hermes config context NAME` chooses one")
}

// usable loads a context and says whose it is.
func usable(dir, name string) (natsctx.Context, string, error) {
	c, err := natsctx.Load(dir, name)
	if err != nil {
		return c, "", err
	}
	user, err := api.UserOfInbox(c.InboxPrefix)
	if err != nil {
		return c, "", fmt.Errorf("the NATS context %s is not a Hermes user's: %w", name, err)
	}
	return c, user, nil
}
