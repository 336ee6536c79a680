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

// writeContexts saves both contexts in the NATS configuration folder of whoever runs hermesd. Those
// of another instance are replaced, which is said.
func writeContexts(url, name string, userKey, operatorKey key, log *slog.Logger) error {
	if old, err := natscontext.New(UserContext, true); err == nil && old.ServerURL() != "" && old.ServerURL() != url {
		log.Warn("the contexts now lead to this instance", "context", UserContext, "was", old.ServerURL(), "is", url)
	}
	err := saveContext(UserContext, url, userKey, "Hermes on this machine, as "+name, api.InboxPrefix(name))
	if err != nil {
		return err
	}
	return saveContext(OperatorContext, url, operatorKey, "Hermes on this machine, as its operator: streams, events, views", "")
}

func saveContext(name, url string, k key, description, inbox string) error {
	options := []natscontext.Option{
		natscontext.WithServerURL(url), natscontext.WithNKey(k.file), natscontext.WithDescription(description),
	}
	if inbox != "" {
		options = append(options, natscontext.WithInboxPrefix(inbox))
	}
	c, err := natscontext.New(name, false, options...)
	if err != nil {
		return fmt.Errorf("make the NATS context %s: %w", name, err)
	}
	if err := c.Save(name); err != nil {
		return fmt.Errorf("save the NATS context %s: %w", name, err)
	}
	return nil
}

// localUser is who the first user is: whoever called sudo, or runs hermesd.
func localUser() string {
	if name := userName(os.Getenv("SUDO_USER")); name != "" {
		return name
	}
	if me, err := user.Current(); err == nil && userName(me.Username) != "" {
		return userName(me.Username)
	}
	return "local"
}

// userName turns a login name into a Hermes user's, or "" if it cannot be one.
func userName(login string) string {
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
