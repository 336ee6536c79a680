// Package natsctx reads and writes NATS contexts: the files by which the stock nats tool knows servers
// and credentials. It reads the files itself because the library that defines them links the NATS
// server, which would make a small program four times as large.
package natsctx

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"
)

// ErrNoContext: no context of this name exists.
var ErrNoContext = errors.New("no such NATS context")

// Context is what a context file says, as far as Hermes uses it.
type Context struct {
	Name        string `json:"-"`
	Path        string `json:"-"`
	Description string `json:"description"`
	URL         string `json:"url"`
	Token       string `json:"token"`
	User        string `json:"user"`
	Password    string `json:"password"`
	Creds       string `json:"creds"`
	NKey        string `json:"nkey"`
	UserJWT     string `json:"user_jwt"`
	UserSeed    string `json:"user_seed"`
	Cert        string `json:"cert"`
	Key         string `json:"key"`
	CA          string `json:"ca"`
	TLSFirst    bool   `json:"tls_first"`
	InboxPrefix string `json:"inbox_prefix"`
	SOCKSProxy  string `json:"socks_proxy"`
	NSC         string `json:"nsc"`
}

// Path is the file of the context of this name below configDir, which is the folder that holds "nats".
func Path(configDir, name string) string {
	return filepath.Join(configDir, "nats", "context", name+".json")
}

// Load reads the context of this name below configDir, which is the folder that holds "nats". A
// context that is not there is ErrNoContext.
func Load(configDir, name string) (Context, error) {
	if !validName(name) {
		return Context{}, fmt.Errorf("%q: %w", name, ErrNoContext)
	}
	path := Path(configDir, name)
	raw, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return Context{}, fmt.Errorf("%q: %w", name, ErrNoContext)
	}
	if err != nil {
		return Context{}, fmt.Errorf("read the NATS context %s: %w", name, err)
	}
	c := Context{Name: name, Path: path}
	if err := json.Unmarshal(raw, &c); err != nil {
		return Context{}, fmt.Errorf("the NATS context %s is not valid: %w", name, err)
	}
	if c.URL == "" {
		c.URL = nats.DefaultURL
	}
	return c, c.supported()
}

// validName: it is one file in the folder of contexts.
func validName(name string) bool {
	return name != "" && name == filepath.Base(name) && !strings.HasPrefix(name, ".") && !strings.ContainsAny(name, "/\\")
}

// supported refuses what would otherwise be left out in silence.
func (c Context) supported() error {
	switch {
	case c.NSC != "":
		return fmt.Errorf("the NATS context %s takes its credentials from nsc, which hermes does not run; use creds or nkey", c.Name)
	case c.SOCKSProxy != "":
		return fmt.Errorf("the NATS context %s uses a SOCKS proxy, which hermes does not support", c.Name)
	}
	for _, value := range []string{c.Password, c.Token, c.Creds, c.NKey, c.UserSeed} {
		scheme, _, found := strings.Cut(value, "://")
		if found && scheme != "file" && scheme != "env" {
			return fmt.Errorf("the NATS context %s takes credentials from %s://, which hermes does not support", c.Name, scheme)
		}
	}
	return nil
}

// Names lists the contexts that exist, sorted.
func Names(configDir string) []string {
	files, _ := filepath.Glob(filepath.Join(configDir, "nats", "context", "*.json"))
	names := make([]string, 0, len(files))
	for _, file := range files {
		names = append(names, strings.TrimSuffix(filepath.Base(file), ".json"))
	}
	slices.Sort(names)
	return names
}

// Selected is the context that `nats context select` chose; empty when none is.
func Selected(configDir string) string {
	raw, err := os.ReadFile(filepath.Join(configDir, "nats", "context.txt"))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(raw))
}

// Options are what nats.Connect needs for the context, besides its URL.
func (c Context) Options() ([]nats.Option, error) {
	options, err := c.credentials()
	if err != nil {
		return nil, fmt.Errorf("the NATS context %s: %w", c.Name, err)
	}
	options = append(options, c.TLSOptions()...)
	if c.InboxPrefix != "" {
		options = append(options, nats.CustomInboxPrefix(c.InboxPrefix))
	}
	return options, nil
}

// TLSOptions are those of the options that say how to trust the server.
func (c Context) TLSOptions() []nats.Option {
	var options []nats.Option
	if c.Cert != "" && c.Key != "" {
		options = append(options, nats.ClientCert(expand(c.Cert), expand(c.Key)))
	}
	if c.CA != "" {
		options = append(options, nats.RootCAs(expand(c.CA)))
	}
	if c.TLSFirst {
		options = append(options, nats.TLSHandshakeFirst())
	}
	return options
}

// HasCredentials says whether the context signs in as anybody.
func (c Context) HasCredentials() bool {
	return c.User != "" || c.Creds != "" || c.NKey != "" || c.UserJWT != "" || c.Token != ""
}

// KeyFile is the file of the nkey's seed; empty where the context has none.
func (c Context) KeyFile() string {
	if c.NKey == "" {
		return ""
	}
	return expand(c.NKey)
}

func (c Context) credentials() ([]nats.Option, error) {
	switch {
	case c.User != "":
		password, err := secret(c.Password)
		return []nats.Option{nats.UserInfo(c.User, password)}, err
	case c.Creds != "":
		return []nats.Option{nats.UserCredentials(expand(c.Creds))}, readable(expand(c.Creds))
	case c.NKey != "":
		option, err := nats.NkeyOptionFromSeed(expand(c.NKey))
		return []nats.Option{option}, err
	case c.UserJWT != "":
		seed, err := secret(c.UserSeed)
		return []nats.Option{signedJWT(c.UserJWT, seed)}, err
	case c.Token != "":
		token, err := secret(c.Token)
		return []nats.Option{nats.Token(token)}, err
	}
	return nil, nil
}

// signedJWT parses the seed when the server asks, so that it does not stay in memory.
func signedJWT(jwt, seed string) nats.Option {
	return nats.UserJWT(
		func() (string, error) { return jwt, nil },
		func(nonce []byte) ([]byte, error) {
			if seed == "" {
				return nil, nil
			}
			pair, err := nkeys.FromSeed([]byte(seed))
			if err != nil {
				return nil, fmt.Errorf("user_seed: %w", err)
			}
			defer pair.Wipe()
			return pair.Sign(nonce)
		})
}

func readable(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return f.Close()
}

// secret returns the value, or what file:// or env:// points at.
func secret(value string) (string, error) {
	if name, ok := strings.CutPrefix(value, "env://"); ok {
		return os.Getenv(name), nil
	}
	if strings.HasPrefix(value, "file://") {
		raw, err := os.ReadFile(expand(value))
		return strings.TrimSpace(string(raw)), err
	}
	return value, nil
}

// expand turns what people write into a path: file://, ~ and $VAR.
func expand(path string) string {
	path = os.ExpandEnv(strings.TrimPrefix(path, "file://"))
	if rest, ok := strings.CutPrefix(path, "~"); ok {
		if home, err := os.UserHomeDir(); err == nil {
			return filepath.Join(home, rest)
		}
	}
	return path
}
