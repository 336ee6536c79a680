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
}

// Render writes the configuration file.
func Render(w io.Writer, c Config) error {
	t, err := template.New("hermes.conf").Funcs(template.FuncMap{"quote": strconv.Quote}).Parse(text)
	if err != nil {
		return fmt.Errorf("parse the template of the NATS configuration: %w", err)
	}
	return t.Execute(w, c)
}
