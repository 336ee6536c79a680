package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"

	"github.com/hermes-serverless/hermes/cli/config"
	"github.com/hermes-serverless/hermes/cli/natsctx"
	"github.com/hermes-serverless/hermes/services/api"
)

// remoteMark begins the description of the contexts that `remote add` made.
const remoteMark = "Hermes at "

// remote is a server that `remote add` made a context for.
type remote struct {
	dir string
	natsctx.Context
}

// remote finds the server to log in to: the context in use, which must be one of our own.
func (a *app) remote() (remote, error) {
	dir, err := config.Dir()
	if err != nil {
		return remote{}, err
	}
	name, err := a.chosenContext()
	if err != nil {
		return remote{}, err
	}
	if name == "" {
		return remote{}, usage("no server is chosen").
			WithHint("`hermes remote add URL` adds one, `hermes config context NAME` chooses among those that are there")
	}
	c, err := loadContext(dir, name)
	if err != nil {
		return remote{}, err
	}
	r := remote{dir, c}
	if !strings.HasPrefix(c.Description, remoteMark) || c.HasCredentials() && c.KeyFile() != r.keyFile() {
		return r, api.Errorf(api.Invalid, badContext, "the NATS context %s was not made by `hermes remote add`, and is left alone", name).
			WithHint("add the server under another name: `hermes remote add %s --name NAME`", redacted(c.URL))
	}
	return r, nil
}

// keyFile is where the seed of the login is.
func (r remote) keyFile() string { return filepath.Join(r.dir, "hermes", "logins", r.Name+".nk") }

// user is who is logged in; empty if nobody is.
func (r remote) user() string {
	user, err := api.UserOfInbox(r.InboxPrefix)
	if err != nil || r.NKey == "" {
		return ""
	}
	return user
}

// loginKey is a key made here; its seed goes into a file, and nowhere else.
type loginKey struct {
	pair   nkeys.KeyPair
	public string
}

func newLoginKey() (loginKey, error) {
	pair, err := nkeys.CreateUser()
	if err != nil {
		return loginKey{}, fmt.Errorf("make a key: %w", err)
	}
	public, err := pair.PublicKey()
	return loginKey{pair, public}, err
}

// storedKey reads a key from its file.
func storedKey(file string) (loginKey, error) {
	seed, err := os.ReadFile(file)
	if err != nil {
		return loginKey{}, err
	}
	defer clear(seed)
	pair, err := nkeys.FromSeed(bytes.TrimSpace(seed))
	if err != nil {
		return loginKey{}, fmt.Errorf("the key %s is damaged: %w", file, err)
	}
	public, err := pair.PublicKey()
	return loginKey{pair, public}, err
}

// once are the options of a connection for one question.
func once() []nats.Option {
	return []nats.Option{
		nats.Name("hermes " + version()), nats.Timeout(connectTimeout), nats.NoReconnect(),
		// The default prints what goes wrong, also that the server hangs up on a key that was ended.
		nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}),
	}
}

// guest connects as who has not logged in, holding the key.
func guest(c natsctx.Context, k loginKey, options ...nats.Option) (*nats.Conn, error) {
	options = append(append(c.TLSOptions(), options...), api.Guest(k.public, k.pair.Sign))
	nc, err := nats.Connect(c.URL, append(options, once()...)...)
	if errors.Is(err, nats.ErrAuthorization) {
		return nil, api.Errorf(api.Unavailable, api.ServerUnavailable, "the server at %s lets nobody log in at this moment", redacted(c.URL)).
			WithDetail(err.Error()).WithHint("it may be busy: try again. If it stays so, its NATS server has no accounts of Hermes: ask its operator")
	}
	if err != nil {
		return nil, connectError(c, err)
	}
	return nc, nil
}

// asGuest asks one question with the key.
func asGuest[Reply any](ctx context.Context, c natsctx.Context, k loginKey, op string, ask any) (Reply, error) {
	nc, err := guest(c, k)
	if err != nil {
		var none Reply
		return none, err
	}
	defer nc.Close()
	return api.Ask[Reply](ctx, nc, api.LoginSubject(k.public, op), ask)
}

// enter registers or logs in with a new key, and keeps it when the server has taken it.
func (r remote) enter(ctx context.Context, op string, ask any) (api.LoggedIn, error) {
	k, err := newLoginKey()
	if err != nil {
		return api.LoggedIn{}, err
	}
	defer k.pair.Wipe()
	got, err := asGuest[api.LoggedIn](ctx, r.Context, k, op, ask)
	if err != nil {
		return got, err
	}
	old, noOld := storedKey(r.keyFile())
	seed, err := k.pair.Seed()
	if err != nil {
		return got, fmt.Errorf("keep the key: %w", err)
	}
	defer clear(seed)
	if err := natsctx.WriteFile(r.keyFile(), seed); err != nil {
		return got, fmt.Errorf("keep the key: %w", err)
	}
	err = natsctx.Save(r.dir, r.Name, natsctx.Change{"nkey": r.keyFile(), "inbox_prefix": api.InboxPrefix(got.User)})
	if err != nil {
		return got, fmt.Errorf("keep the login: %w", err)
	}
	// Only now: as long as the new one is not kept, the old one is needed.
	if noOld == nil && r.user() != "" {
		defer old.pair.Wipe()
		_ = r.revoke(ctx, old) // at worst it goes on until it expires
	}
	return got, nil
}

// revoke ends the key of a login on the server.
func (r remote) revoke(ctx context.Context, k loginKey) error {
	options := append(r.TLSOptions(), nats.Nkey(k.public, k.pair.Sign), nats.CustomInboxPrefix(api.InboxPrefix(r.user())))
	nc, err := nats.Connect(r.URL, append(options, once()...)...)
	if err != nil {
		return err
	}
	defer nc.Close()
	_, err = api.Call[api.Keys](ctx, api.NewClient(nc, r.user()), api.OpKeysRevoke, api.KeysRevoke{Key: k.public})
	return err
}

// forget removes the login from this machine.
func (r remote) forget() error {
	err := natsctx.Save(r.dir, r.Name, natsctx.Change{"nkey": nil, "inbox_prefix": nil})
	if err != nil {
		return fmt.Errorf("forget the login: %w", err)
	}
	if err := os.Remove(r.keyFile()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("forget the login: %w", err)
	}
	return nil
}

// whyRefused finds out what the key of a context is worth, when the server does not let it in. It is
// nil if that cannot be found out.
func whyRefused(c natsctx.Context, user string) error {
	k, err := storedKey(c.KeyFile())
	if err != nil {
		return nil
	}
	defer k.pair.Wipe()
	ctx, cancel := context.WithTimeout(context.Background(), connectTimeout)
	defer cancel()
	state, err := asGuest[api.KeyState](ctx, c, k, api.OpKeyState, api.KeyStateRequest{})
	again := fmt.Sprintf("`hermes --context %s remote login %s`", c.Name, user)
	switch {
	case err != nil:
		return nil
	case state.Disabled:
		return api.Errorf(api.Unauthorized, api.UserDisabled, "the account %s is disabled", state.User).WithHint("the operator of the server can enable it")
	case state.Expired:
		return api.Errorf(api.Unauthorized, authFailed, "Your token expired").WithHint("%s", again)
	case state.User == "":
		return api.Errorf(api.Unauthorized, notLoggedIn, "You are not logged in!").WithDetail("the key of the context "+c.Name+" was revoked").WithHint("%s", again)
	}
	return nil
}

// label says where a key lives.
func label() string {
	host, err := os.Hostname()
	if err != nil {
		return ""
	}
	return host[:min(len(host), api.MaxLabelBytes)]
}
