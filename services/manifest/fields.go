package manifest

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/agext/levenshtein"

	"github.com/hermes-serverless/hermes/events"
)

// defaultScope is a function's whose file does not say: showing it to others is a choice.
const defaultScope = "private"

type field struct {
	name     string
	required bool
	// example is shown when the key is missing.
	example string
	// read fails with parts when several parts of the value are wrong, each on a line of its own.
	read func(*Manifest, json.RawMessage) error
}

func fields() []field {
	return []field{
		{"functionName", true, `like "functionName": "pi"`, readName},
		{"language", true, `"cpp" or "cuda"`, readLanguage},
		{"gpuCapable", true, "true or false", readGPU},
		{"scope", false, "", readScope},
		{"functionVersion", true, `like "functionVersion": "1.0.0"`, readVersion},
		{"handler", true, `like "handler": "./a.out"`, readHandler},
		{"timeout", false, "", readTimeout},
		{"memory", false, "", readMemory},
		{"cpus", false, "", readCPUs},
		{"pids", false, "", readPIDs},
		{"tmp", false, "", readTmp},
		{"output", false, "", readOutput},
		{"results", false, "", readResults},
		{"args", false, "", readArgs},
		{"env", false, "", readEnv},
		{"sandbox", false, "", readSandbox},
		{"base", false, "", readBase},
		{"network", false, "", readNetwork},
		{"gpu", false, "", readGPUs},
	}
}

func fieldOf(fields []field, name string) (field, bool) {
	for _, f := range fields {
		if f.name == name {
			return f, true
		}
	}
	return field{}, false
}

// namesOf are the keys of the fields.
func namesOf(fields []field) []string {
	names := make([]string, len(fields))
	for i, f := range fields {
		names[i] = f.name
	}
	return names
}

// unknown says that a key is none of these, and which one was meant if one is near.
func unknown(names []string, key string) (meant, message string) {
	nearest := len(key)/2 + 1
	for _, name := range names {
		d := levenshtein.Distance(strings.ToLower(key), strings.ToLower(name), nil)
		if d < nearest {
			nearest, meant = d, name
		}
	}
	if meant != "" {
		return meant, fmt.Sprintf("is not a key; did you mean %s?", meant)
	}
	return "", "is not a key; the keys are " + strings.Join(names, ", ")
}

func readName(m *Manifest, raw json.RawMessage) (err error) {
	if m.Name, err = text(raw); err != nil {
		return err
	}
	return events.CheckFunctionName(m.Name)
}

func readVersion(m *Manifest, raw json.RawMessage) (err error) {
	if m.Version, err = text(raw); err != nil {
		return err
	}
	if events.CheckVersion(m.Version) != nil {
		return fmt.Errorf("%q must be three numbers, like 1.0.0", m.Version)
	}
	return nil
}

func readLanguage(m *Manifest, raw json.RawMessage) (err error) {
	m.Config.Language, err = oneOf(raw, "cpp", "cuda")
	return err
}

func readBase(m *Manifest, raw json.RawMessage) (err error) {
	if m.Base, err = text(raw); err != nil || m.Base == events.HostBase {
		return err
	}
	return events.CheckBaseName(m.Base)
}

func readScope(m *Manifest, raw json.RawMessage) (err error) {
	m.Config.Scope, err = oneOf(raw, "public", "private")
	return err
}

// The values of sandbox: one for each run, or one for a user's runs one after another.
const (
	sandboxSingle = "single"
	sandboxReuse  = "reuse"
)

func readSandbox(m *Manifest, raw json.RawMessage) error {
	s, err := oneOf(raw, sandboxSingle, sandboxReuse)
	m.Config.ReuseSandbox = s == sandboxReuse
	return err
}

// SandboxText is what the key sandbox has for it, "" for the default.
func SandboxText(reuse bool) string {
	if reuse {
		return sandboxReuse
	}
	return ""
}

func readGPU(m *Manifest, raw json.RawMessage) error {
	if json.Unmarshal(raw, &m.Config.GPUCapable) != nil || kindOf(raw) != "a boolean" {
		return fmt.Errorf("must be true or false, is %s", kindOf(raw))
	}
	return nil
}

func oneOf(raw json.RawMessage, allowed ...string) (string, error) {
	s, err := text(raw)
	if err != nil {
		return "", err
	}
	for _, a := range allowed {
		if s == a {
			return s, nil
		}
	}
	return "", fmt.Errorf("%q must be %s", s, strings.Join(allowed, " or "))
}

func text(raw json.RawMessage) (string, error) {
	var s string
	if kindOf(raw) != "a string" {
		return "", errors.New("must be a string, is " + kindOf(raw))
	}
	return s, json.Unmarshal(raw, &s)
}

// kindOf names the JSON type of a valid value.
func kindOf(raw json.RawMessage) string {
	trimmed := strings.TrimLeft(string(raw), " \t\r\n")
	switch {
	case trimmed == "":
		return "nothing"
	case trimmed[0] == '"':
		return "a string"
	case trimmed[0] == '{':
		return "an object"
	case trimmed[0] == '[':
		return "a list"
	case trimmed[0] == 't', trimmed[0] == 'f':
		return "a boolean"
	case trimmed[0] == 'n':
		return "null"
	}
	return "a number"
}
