package instance

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"

	natsconf "github.com/hermes-serverless/hermes/deployments/nats"
	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/services/accounts"
	"github.com/hermes-serverless/hermes/services/api"
)

// AccountOptions say who may be a user.
type AccountOptions struct {
	// Registration is who may register; default: nobody.
	Registration api.Registration
	// PasswordCost of a hash; default: the recommended one.
	PasswordCost accounts.Cost
}

// calloutKeys are what the services let people in with.
type calloutKeys struct{ issuer, xkey, callout, system key }

// The files of calloutKeys, and the one that lists the users of the configuration.
const (
	issuerFile  = "issuer.nk"
	xkeyFile    = "callout-xkey.nk"
	calloutFile = "callout.nk"
	systemFile  = "system.nk"
	usersFile   = "configured-users"
)

// loadCalloutKeys reads the keys of a folder, or makes them.
func loadCalloutKeys(dir string) (calloutKeys, error) {
	var k calloutKeys
	for _, f := range []struct {
		name   string
		to     *key
		create func() (nkeys.KeyPair, error)
	}{
		{issuerFile, &k.issuer, nkeys.CreateAccount}, {xkeyFile, &k.xkey, nkeys.CreateCurveKeys},
		{calloutFile, &k.callout, nkeys.CreateUser}, {systemFile, &k.system, nkeys.CreateUser},
	} {
		var err error
		if *f.to, err = loadKeyOf(filepath.Join(dir, f.name), f.create); err != nil {
			return k, err
		}
	}
	return k, nil
}

func (k calloutKeys) config() *natsconf.Callout {
	return &natsconf.Callout{Issuer: k.issuer.public, XKey: k.xkey.public, Key: k.callout.public, SystemKey: k.system.public}
}

func (k calloutKeys) files() []string {
	return []string{k.issuer.file, k.xkey.file, k.callout.file, k.system.file}
}

// gate is what the accounts service needs besides the services' connection.
type gate struct {
	AccountOptions
	callout, system *nats.Conn
	issuer, xkey    nkeys.KeyPair
	// local are the users of the server's configuration.
	local []string
}

// openGate connects as those who let people in.
func openGate(k calloutKeys, o AccountOptions, local []string, connect func(name, inbox string, k key) (*nats.Conn, error)) (*gate, error) {
	g := &gate{AccountOptions: o, local: local}
	var err error
	if g.issuer, err = readKey(k.issuer.file); err != nil {
		return nil, err
	}
	if g.xkey, err = readKey(k.xkey.file); err != nil {
		return nil, err
	}
	if g.callout, err = connect("hermesd callout", "", k.callout); err != nil {
		return nil, err
	}
	if g.system, err = connect("hermesd system", "_INBOX_system", k.system); err != nil {
		g.callout.Close()
		return nil, err
	}
	return g, nil
}

// Gate lets people in at a NATS server elsewhere.
type Gate struct{ *gate }

// OpenGate reads the keys that WriteNATSFiles left in the folder, and connects with them. It is nil
// if the folder has none: the server then knows the keys of its configuration only.
func OpenGate(dir, url string, o AccountOptions, log *slog.Logger, options ...nats.Option) (*Gate, error) {
	if _, err := os.Stat(filepath.Join(dir, issuerFile)); errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	for _, name := range []string{xkeyFile, calloutFile, systemFile} {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			return nil, fmt.Errorf("%s holds %s and not all of the keys beside it: %w", dir, issuerFile, err)
		}
	}
	k, err := loadCalloutKeys(dir)
	if err != nil {
		return nil, err
	}
	local, err := readConfiguredUsers(dir)
	if err != nil {
		return nil, err
	}
	g, err := openGate(k, o, local, func(name, inbox string, k key) (*nats.Conn, error) {
		sign, err := k.option()
		if err != nil {
			return nil, err
		}
		return Connect(url, name, inbox, log, append(options, sign)...)
	})
	if err != nil {
		return nil, err
	}
	return &Gate{g}, nil
}

// Close lets nobody in any more.
func (g *Gate) Close() {
	if g != nil {
		g.callout.Close()
		g.system.Close()
	}
}

// readConfiguredUsers reads whose keys the configuration holds: nobody may register their names.
func readConfiguredUsers(dir string) ([]string, error) {
	raw, err := os.ReadFile(filepath.Join(dir, usersFile))
	if err != nil {
		return nil, fmt.Errorf("read which users the NATS server's configuration holds: %w", err)
	}
	names := strings.Fields(string(raw))
	for _, name := range names {
		if err := events.CheckUserName(name); err != nil {
			return nil, fmt.Errorf("%s: %w", filepath.Join(dir, usersFile), err)
		}
	}
	return names, nil
}
