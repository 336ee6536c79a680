package events

import (
	"fmt"
	"regexp"
	"strings"
	"sync"
)

// The forms of the names that users choose. All are single NATS subject tokens, so that no name
// can reach outside its own subject. They are compiled when they are first needed: most starts of
// the CLI check no name.
var (
	functionVersion = compiled(`^(0|[1-9][0-9]{0,8})\.(0|[1-9][0-9]{0,8})\.(0|[1-9][0-9]{0,8})$`)
	digest          = compiled(`^sha256:[0-9a-f]{64}$`)
)

func compiled(form string) func() *regexp.Regexp {
	return sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(form) })
}

// MaxNameBytes bounds user, function and watcher names.
const MaxNameBytes = 64

// CheckFunctionName returns an error that says what is wrong with the name, or nil.
func CheckFunctionName(name string) error {
	return checkName("function name", name)
}

// CheckUserName returns an error that says what is wrong with the name, or nil.
func CheckUserName(name string) error {
	return checkName("user name", name)
}

// CheckWatcherName returns an error that says what is wrong with the name, or nil.
func CheckWatcherName(name string) error {
	return checkName("watcher name", name)
}

func checkName(what, name string) error {
	switch {
	case name == "":
		return fmt.Errorf("%s is empty", what)
	case len(name) > MaxNameBytes:
		return fmt.Errorf("%s is %d bytes long; at most %d are allowed", what, len(name), MaxNameBytes)
	case !isName(name):
		return fmt.Errorf(`%s %q: allowed are lower-case letters, digits and "_", then also "-"`, what, name)
	}
	return nil
}

// isName says what ^[a-z0-9_][a-z0-9_\-]*$ does; each event that is folded asks for it.
func isName(name string) bool {
	for i := range len(name) {
		if c := name[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '_' && (c != '-' || i == 0) {
			return false
		}
	}
	return name != ""
}

// CheckVersion returns an error that says what is wrong with a function version, or nil.
func CheckVersion(version string) error {
	if !functionVersion().MatchString(version) {
		return fmt.Errorf("version %q: must be three numbers, like 1.0.0", version)
	}
	return nil
}

// CheckDigest returns an error unless d is "sha256:" and 64 lower-case hex digits.
func CheckDigest(d string) error {
	if !digest().MatchString(d) {
		return fmt.Errorf("digest %q: must be sha256: and 64 hexadecimal digits", d)
	}
	return nil
}

// CheckExecutionID returns an error unless id is a ULID in its canonical upper case.
func CheckExecutionID(id string) error {
	if !isULID(id) {
		return fmt.Errorf("execution id %q: must be a ULID of 26 characters", id)
	}
	return nil
}

// isULID says what ^[0-7][0-9A-HJKMNP-TV-Z]{25}$ does; each event that is folded asks for it.
func isULID(id string) bool {
	if len(id) != 26 || id[0] > '7' {
		return false
	}
	for i := range len(id) {
		switch c := id[i]; {
		case c == 'I' || c == 'L' || c == 'O' || c == 'U':
			return false
		case (c < '0' || c > '9') && (c < 'A' || c > 'Z'):
			return false
		}
	}
	return true
}

// FunctionRef names one version of a function.
type FunctionRef struct {
	Owner   string `json:"owner"`
	Name    string `json:"name"`
	Version string `json:"version"`
}

// String is the form that users type: owner/name:version.
func (r FunctionRef) String() string { return r.Owner + "/" + r.Name + ":" + r.Version }

// ParseFunctionRef reads [owner/]name[:version]. Parts that are not there stay empty; parts that
// are there must be well formed.
func ParseFunctionRef(s string) (FunctionRef, error) {
	var r FunctionRef
	rest := s
	if owner, after, ok := strings.Cut(rest, "/"); ok {
		r.Owner, rest = owner, after
		if err := CheckUserName(owner); err != nil {
			return FunctionRef{}, fmt.Errorf("function id %q: %w", s, err)
		}
	}
	name, version, ok := strings.Cut(rest, ":")
	r.Name = name
	if err := CheckFunctionName(name); err != nil {
		return FunctionRef{}, fmt.Errorf("function id %q: %w", s, err)
	}
	if ok {
		r.Version = version
		if err := CheckVersion(version); err != nil {
			return FunctionRef{}, fmt.Errorf("function id %q: %w", s, err)
		}
	}
	return r, nil
}
