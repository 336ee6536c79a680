package instance

import (
	"fmt"
	"log/slog"
	"os"
	"os/user"
	"path/filepath"

	"github.com/nats-io/jsm.go/natscontext"

	"github.com/hermes-serverless/hermes/services/api"
)

// The NATS contexts that hermesd up writes, so that both the hermes and the stock nats CLI work at
// once: the local user's, and the operator's, which sees the streams.
const (
	UserContext     = "hermes-local"
	OperatorContext = "hermes-operator"
)

// Context is a NATS context of an instance, as it is to be saved.
type Context struct {
	Name, Description, URL string
	// KeyFile holds the seed of the nkey to sign in with.
	KeyFile string
	// InboxPrefix is empty for the operator.
	InboxPrefix string
	// CA is the file of the certificate that vouches for the server's; empty: the system's do.
	CA string
}

// JSON is the content of the context's file.
func (c Context) JSON() ([]byte, error) {
	made, err := c.make()
	if err != nil {
		return nil, err
	}
	return made.MarshalJSON()
}

func (c Context) make() (*natscontext.Context, error) {
	options := []natscontext.Option{
		natscontext.WithServerURL(c.URL), natscontext.WithNKey(c.KeyFile), natscontext.WithDescription(c.Description),
	}
	if c.CA != "" {
		options = append(options, natscontext.WithCA(c.CA))
	}
	if c.InboxPrefix != "" {
		options = append(options, natscontext.WithInboxPrefix(c.InboxPrefix))
	}
	made, err := natscontext.New(c.Name, false, options...)
	if err != nil {
		return nil, fmt.Errorf("make the NATS context %s: %w", c.Name, err)
	}
	return made, nil
}

func (in *Instance) contexts(k keyring) []Context {
	return []Context{
		{Name: UserContext, URL: in.url, KeyFile: k.user.file, Description: "Hermes on this machine, as " + in.user, InboxPrefix: api.InboxPrefix(in.user), CA: in.cert.ca()},
		{Name: OperatorContext, URL: in.url, KeyFile: k.operator.file, Description: "Hermes on this machine, as its operator: streams, events, views", CA: in.cert.ca()},
	}
}

// SaveContexts saves the contexts in the NATS configuration folder of whoever runs hermesd. Those
// of another instance are replaced, which is said.
func SaveContexts(contexts []Context, log *slog.Logger) error {
	for _, c := range contexts {
		if old, err := natscontext.New(c.Name, true); err == nil && old.ServerURL() != "" && old.ServerURL() != c.URL {
			log.Warn("the context now leads to this instance", "context", c.Name, "was", old.ServerURL(), "is", c.URL)
		}
		made, err := c.make()
		if err != nil {
			return err
		}
		if err := made.Save(c.Name); err != nil {
			return fmt.Errorf("save the NATS context %s: %w", c.Name, err)
		}
	}
	return nil
}

// localUser is who the first user is: whoever called sudo, or runs hermesd.
func localUser() string {
	if name := UserName(os.Getenv("SUDO_USER")); name != "" {
		return name
	}
	if me, err := user.Current(); err == nil && UserName(me.Username) != "" {
		return UserName(me.Username)
	}
	return "local"
}

// UserName turns a login name into a Hermes user's, or "" if it cannot be one.
func UserName(login string) string {
	name := make([]byte, 0, len(login))
	for _, c := range []byte(filepath.Base(login)) {
		switch {
		case c >= 'A' && c <= 'Z':
			name = append(name, c+'a'-'A')
		case c >= 'a' && c <= 'z', c >= '0' && c <= '9', c == '_', c == '-' && len(name) > 0:
			name = append(name, c)
		}
	}
	return string(name)
}
