package manifest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/hermes-serverless/hermes/events"
)

const (
	// maxEntries bounds args and env, each.
	maxEntries = 256
	// maxRunBytes bounds both together as they are stored: they travel in each message that asks for
	// a run, and all versions of a function lie in one, of which NATS takes at most 1 MiB.
	maxRunBytes = 64 << 10
	// ownPrefix begins the names of the variables that Hermes sets.
	ownPrefix = "HERMES_"
)

// parts are what is wrong with parts of one key's value.
type parts []part

type part struct {
	// offset is where the part stands in the value.
	offset  int64
	message string
}

func (p parts) Error() string {
	messages := make([]string, len(p))
	for i, part := range p {
		messages[i] = part.message
	}
	return strings.Join(messages, "; ")
}

func readArgs(m *Manifest, raw json.RawMessage) error {
	if kindOf(raw) != "a list" {
		return fmt.Errorf(`must be a list like ["--depth", "3"], is %s`, kindOf(raw))
	}
	var args []string
	var wrong parts
	d := json.NewDecoder(bytes.NewReader(raw))
	d.Token() // the [
	for d.More() {
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			return err
		}
		s, err := plainText(value)
		args = append(args, s)
		if err != nil {
			wrong = append(wrong, part{d.InputOffset() - int64(len(value)), fmt.Sprintf("argument %d %v", len(args), err)})
		}
	}
	switch {
	case len(args) > maxEntries:
		return fmt.Errorf("has %d arguments; at most %d are allowed", len(args), maxEntries)
	case wrong != nil:
		return wrong
	}
	if err := checkRunBytes(args, m.Config.Env); err != nil {
		return err
	}
	m.Config.Args = args
	return nil
}

func readEnv(m *Manifest, raw json.RawMessage) error {
	if kindOf(raw) != "an object" {
		return fmt.Errorf(`must be an object like {"LEVEL": "3"}, is %s`, kindOf(raw))
	}
	env := map[string]string{}
	var wrong parts
	entries := 0
	d := json.NewDecoder(bytes.NewReader(raw))
	d.Token() // the {
	for ; d.More(); entries++ {
		token, _ := d.Token()
		name, _ := token.(string)
		offset := d.InputOffset() - 1
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			return err
		}
		if err := setVariable(env, name, value); err != nil {
			wrong = append(wrong, part{offset, err.Error()})
		}
	}
	switch {
	case entries > maxEntries:
		return fmt.Errorf("has %d variables; at most %d are allowed", entries, maxEntries)
	case wrong != nil:
		return wrong
	case entries == 0:
		return nil
	}
	if err := checkRunBytes(m.Config.Args, env); err != nil {
		return err
	}
	m.Config.Env = env
	return nil
}

// setVariable adds a variable, or says what is wrong with it.
func setVariable(env map[string]string, name string, value json.RawMessage) error {
	_, again := env[name]
	switch {
	case !isVariable(name):
		return fmt.Errorf(`%q names no variable; allowed are letters, digits and "_", and no digit first`, name)
	case strings.HasPrefix(name, ownPrefix):
		return fmt.Errorf("%s cannot be set; names that begin with %s are Hermes' own", name, ownPrefix)
	case again:
		return fmt.Errorf("%s is there twice", name)
	}
	s, err := plainText(value)
	env[name] = s
	if err != nil {
		return fmt.Errorf("%s %w", name, err)
	}
	return nil
}

func isVariable(name string) bool {
	for i, c := range []byte(name) {
		letter := c == '_' || 'A' <= c && c <= 'Z' || 'a' <= c && c <= 'z'
		if !letter && (i == 0 || c < '0' || c > '9') {
			return false
		}
	}
	return name != ""
}

// plainText is a string that a program can be given.
func plainText(raw json.RawMessage) (string, error) {
	s, err := text(raw)
	if err == nil && strings.ContainsRune(s, 0) {
		err = errors.New("has a NUL character in it")
	}
	return s, err
}

func checkRunBytes(args []string, env map[string]string) error {
	raw, err := json.Marshal([]any{args, env})
	if err == nil && len(raw) > maxRunBytes {
		return fmt.Errorf("args and env take %d bytes together as JSON; at most %d are allowed", len(raw), maxRunBytes)
	}
	return err
}

// readNetwork reads "none" as what it is when the key is left out.
func readNetwork(m *Manifest, raw json.RawMessage) error {
	network, err := oneOf(raw, "none", events.NetworkOutbound)
	if network != "none" {
		m.Config.Network = network
	}
	return err
}
