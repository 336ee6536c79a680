package sandbox

import (
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// ErrBusy: a command of this sandbox still runs, so another cannot start.
var ErrBusy = errors.New("sandbox is busy")

// DefaultPath is searched for a command whose environment has no PATH.
const DefaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

var idPattern = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9-]{0,63}$`)

// Validate says what is wrong with a spec, whatever the runtime.
func (s Spec) Validate() error {
	if !idPattern.MatchString(s.ID) {
		return fmt.Errorf("sandbox id %q: want letters, digits and '-', at most 64 bytes", s.ID)
	}
	switch {
	case s.Kind != Run && s.Kind != Build:
		return fmt.Errorf("sandbox %s: kind %q: want %q or %q", s.ID, s.Kind, Run, Build)
	case s.Kind == Run && !filepath.IsAbs(s.Dir):
		return fmt.Errorf("sandbox %s: function folder %q: want an absolute path", s.ID, s.Dir)
	case s.Kind == Build && s.WorkBytes <= 0:
		return fmt.Errorf("sandbox %s: size of the work folder is %d bytes: want more than 0", s.ID, s.WorkBytes)
	case s.Kind == Build && s.Limits.ResultsBytes != 0:
		return fmt.Errorf("sandbox %s: a %s has no folder of results", s.ID, s.Kind)
	case s.Network != NoNetwork && (s.Network != Outbound || s.Kind == Build):
		return fmt.Errorf("sandbox %s: network %q of a %s: want %q, of a %s", s.ID, s.Network, s.Kind, Outbound, Run)
	case len(s.Devices) > 0 && (s.Kind != Run || s.Renewable):
		return fmt.Errorf("sandbox %s: devices are for a %s that is used once", s.ID, Run)
	}
	for i, id := range s.Devices {
		if id == "" || slices.Contains(s.Devices[:i], id) {
			return fmt.Errorf("sandbox %s: devices %q: want each once, by its id", s.ID, s.Devices)
		}
	}
	return s.Limits.Validate()
}

// Validate says which limit is missing.
func (l Limits) Validate() error {
	if l.MemoryBytes <= 0 || l.CPUs <= 0 || l.PIDs <= 0 || l.TmpBytes <= 0 || l.ResultsBytes < 0 {
		return fmt.Errorf("sandbox limits %+v: all must be more than 0, that of results may be", l)
	}
	return nil
}

// Validate says what is wrong with a command, whatever the runtime.
func (c Command) Validate() error {
	if len(c.Args) == 0 || c.Args[0] == "" {
		return fmt.Errorf("command is empty: %w", ErrNotFound)
	}
	if c.Stdin == nil || c.Stdout == nil || c.Stderr == nil {
		return fmt.Errorf("command %q: stdin, stdout and stderr must all be given", c.Args[0])
	}
	for _, text := range append(append([]string{}, c.Args...), c.Env...) {
		if strings.ContainsRune(text, 0) {
			return fmt.Errorf("command %q: an argument or variable holds a NUL byte", c.Args[0])
		}
	}
	return nil
}

// Path is where a bare command name is searched: PATH of its environment, or DefaultPath.
func (c Command) Path() string {
	path := DefaultPath
	for _, variable := range c.Env {
		if value, ok := strings.CutPrefix(variable, "PATH="); ok {
			path = value
		}
	}
	return path
}
