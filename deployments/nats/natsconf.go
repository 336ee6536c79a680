// Package natsconf renders the configuration of the NATS server below Hermes, for the embedded
// server and for an operator's own.
package natsconf

import (
	_ "embed"
	"fmt"
	"io"
	"strconv"
	"text/template"
)

//go:embed hermes.conf.tmpl
var text string

// Identity is a name and the public nkey that proves it.
type Identity struct{ Name, Key string }

// Callout says who tells the server which key is whose.
type Callout struct {
	// Issuer is a public account nkey, XKey a public curve key: the server believes the one and
	// encrypts for the other.
	Issuer, XKey string
	// Key is the public nkey of who answers, SystemKey of who counts and ends connections.
	Key, SystemKey string
}

// TLS is a certificate and its key, as files on the server's machine.
type TLS struct{ CertFile, KeyFile string }

// Config is what the template takes. Names must have been checked; they become subjects.
type Config struct {
	ServerName string
	// Listen is host:port.
	Listen string
	// StoreDir is JetStream's folder.
	StoreDir string
	// Sync is "always" or a duration such as "100ms".
	Sync string
	// ServicesKey and OperatorKey are public nkeys.
	ServicesKey, OperatorKey string
	Watchers, Users          []Identity
	// Callout is nil for a server that knows the named keys only.
	Callout *Callout
	// TLS is nil for a server without.
	TLS *TLS
}

// Render writes the configuration file.
func Render(w io.Writer, c Config) error {
	t, err := template.New("hermes.conf").Funcs(template.FuncMap{"quote": strconv.Quote}).Parse(text)
	if err != nil {
		return fmt.Errorf("parse the template of the NATS configuration: %w", err)
	}
	return t.Execute(w, c)
}
