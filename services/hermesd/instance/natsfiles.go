package instance

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/nats-io/nats-server/v2/server"

	natsconf "github.com/hermes-serverless/hermes/deployments/nats"
	"github.com/hermes-serverless/hermes/events"
)

// NATSFiles says what an operator's own NATS server is to be configured for.
type NATSFiles struct {
	// Dir gets nats.conf and keys/.
	Dir string
	// Listen is host:port, StoreDir JetStream's folder on the server's machine, Sync as in Options.
	Listen, StoreDir, Sync string
	Watchers, Users        []string
	// Certificate is shown to clients; nil: nothing is encrypted.
	Certificate *Certificate
}

// WriteNATSFiles makes the keys that are missing and writes the configuration, which the server's
// own parser has read. It returns the files that it holds, the configuration first. Keys that are
// there stay, so it can be called again when a watcher or a user is added.
func WriteNATSFiles(f NATSFiles) ([]string, error) {
	conf := natsconf.Config{ServerName: "hermes", Listen: f.Listen, StoreDir: f.StoreDir, Sync: f.Sync}
	file := filepath.Join(f.Dir, "nats.conf")
	files := []string{file}
	load := func(name string) (string, error) {
		path := filepath.Join(f.Dir, "keys", name+".nk")
		k, err := loadKey(path)
		files = append(files, path)
		return k.public, err
	}
	var err error
	if conf.ServicesKey, err = load("services"); err != nil {
		return nil, err
	}
	if conf.OperatorKey, err = load("operator"); err != nil {
		return nil, err
	}
	if conf.Watchers, err = identities("watcher", f.Watchers, events.CheckWatcherName, load); err != nil {
		return nil, err
	}
	if conf.Users, err = identities("user", f.Users, events.CheckUserName, load); err != nil {
		return nil, err
	}
	keys := filepath.Join(f.Dir, "keys")
	callout, err := loadCalloutKeys(keys)
	if err != nil {
		return nil, err
	}
	conf.Callout = callout.config()
	if f.Certificate != nil {
		conf.TLS = &f.Certificate.TLS
	}
	configured := filepath.Join(keys, usersFile)
	if err := os.WriteFile(configured, []byte(strings.Join(append(f.Users, ""), "\n")), 0o600); err != nil {
		return nil, fmt.Errorf("write which users the NATS configuration holds: %w", err)
	}
	files = append(append(files, callout.files()...), configured)
	var text bytes.Buffer
	if err := natsconf.Render(&text, conf); err != nil {
		return nil, err
	}
	if err := os.WriteFile(file, text.Bytes(), 0o600); err != nil {
		return nil, fmt.Errorf("write the NATS configuration: %w", err)
	}
	if _, err := server.ProcessConfigFile(file); err != nil {
		return nil, fmt.Errorf("the NATS configuration %s is wrong: %w", file, err)
	}
	return files, nil
}

func identities(kind string, names []string, check func(string) error, load func(string) (string, error)) ([]natsconf.Identity, error) {
	var all []natsconf.Identity
	for _, name := range names {
		if err := check(name); err != nil {
			return nil, err
		}
		key, err := load(kind + "-" + name)
		if err != nil {
			return nil, err
		}
		all = append(all, natsconf.Identity{Name: name, Key: key})
	}
	return all, nil
}
