package natsctx

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"
)

func write(t *testing.T, path, text string) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func seed(t *testing.T) (string, nkeys.KeyPair) {
	t.Helper()
	pair, err := nkeys.CreateUser()
	if err != nil {
		t.Fatal(err)
	}
	raw, err := pair.Seed()
	if err != nil {
		t.Fatal(err)
	}
	return string(raw), pair
}

// options loads a context and applies it as nats.Connect would.
func options(t *testing.T, text string) (nats.Options, error) {
	t.Helper()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "nats", "context", "lab.json"), text)
	c, err := Load(dir, "lab")
	if err != nil {
		return nats.Options{}, err
	}
	list, err := c.Options()
	if err != nil {
		return nats.Options{}, err
	}
	applied := nats.GetDefaultOptions()
	for _, option := range list {
		if err := option(&applied); err != nil {
			t.Fatal(err)
		}
	}
	return applied, nil
}

func TestCredentials(t *testing.T) {
	t.Setenv("LAB_SECRET", "sesame")
	keySeed, pair := seed(t)
	public, _ := pair.PublicKey()
	home := t.TempDir()
	t.Setenv("HOME", home)
	write(t, filepath.Join(home, "user.nk"), keySeed)
	file := write(t, filepath.Join(t.TempDir(), "secret"), "sesame\n")

	cases := []struct {
		name, context string
		right         func(nats.Options) bool
	}{
		{"password", `{"user": "ana", "password": "sesame"}`, func(o nats.Options) bool { return o.User == "ana" && o.Password == "sesame" }},
		{"password in the environment", `{"user": "ana", "password": "env://LAB_SECRET"}`, func(o nats.Options) bool { return o.Password == "sesame" }},
		{"password in a file", `{"user": "ana", "password": "file://` + file + `"}`, func(o nats.Options) bool { return o.Password == "sesame" }},
		{"token", `{"token": "sesame"}`, func(o nats.Options) bool { return o.Token == "sesame" }},
		{"nkey below ~", `{"nkey": "~/user.nk"}`, func(o nats.Options) bool { return o.Nkey == public }},
		{"nkey below $HOME", `{"nkey": "file://$HOME/user.nk"}`, func(o nats.Options) bool { return o.Nkey == public }},
		{"jwt and seed", `{"user_jwt": "j.w.t", "user_seed": "` + keySeed + `"}`, func(o nats.Options) bool {
			jwt, err := o.UserJWT()
			signed, signErr := o.SignatureCB([]byte("nonce"))
			return err == nil && signErr == nil && jwt == "j.w.t" && pair.Verify([]byte("nonce"), signed) == nil
		}},
		{"inbox prefix", `{"inbox_prefix": "_INBOX_ana"}`, func(o nats.Options) bool { return o.InboxPrefix == "_INBOX_ana" }},
		{"tls first", `{"tls_first": true}`, func(o nats.Options) bool { return o.TLSHandshakeFirst }},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			got, err := options(t, c.context)
			if err != nil || !c.right(got) {
				t.Errorf("%v, options %+v", err, got)
			}
		})
	}
}

func TestWhatCannotBeUsedIsRefused(t *testing.T) {
	for name, context := range map[string]string{
		"nsc":              `{"nsc": "nsc://a/b/c"}`,
		"socks":            `{"socks_proxy": "socks5://127.0.0.1:1"}`,
		"a password store": `{"user": "ana", "password": "op://vault/item"}`,
		"no key":           `{"nkey": "/nowhere/user.nk"}`,
		"no creds":         `{"creds": "/nowhere/user.creds"}`,
		"no JSON":          `{`,
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := options(t, context); err == nil || !strings.Contains(err.Error(), "lab") {
				t.Errorf("got %v; want an error that names the context", err)
			}
		})
	}
}

func TestFiles(t *testing.T) {
	dir := t.TempDir()
	if got := Names(dir); len(got) != 0 || Selected(dir) != "" {
		t.Errorf("an empty folder has %v and %q", got, Selected(dir))
	}
	write(t, filepath.Join(dir, "nats", "context", "b.json"), `{}`)
	write(t, filepath.Join(dir, "nats", "context", "a.json"), `{}`)
	write(t, filepath.Join(dir, "nats", "context.txt"), "b\n")
	if got := Names(dir); !slices.Equal(got, []string{"a", "b"}) || Selected(dir) != "b" {
		t.Errorf("found %v and %q", got, Selected(dir))
	}
	if c, err := Load(dir, "a"); err != nil || c.URL != nats.DefaultURL {
		t.Errorf("loaded %+v, %v", c, err)
	}
	for _, name := range []string{"", "c", "../context/a", "..", "/etc/passwd"} {
		if _, err := Load(dir, name); !errors.Is(err, ErrNoContext) {
			t.Errorf("Load(%q): %v", name, err)
		}
	}
}
