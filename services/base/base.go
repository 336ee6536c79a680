// Package base turns the layers of images into root filesystems that sandboxes stand on, keeps such
// a filesystem as one archive that is named by its digest, and unpacks it on a watcher.
//
// A base is read by everybody and written by nobody: files are 0444, or 0555 when executable,
// folders 0555, and all belong to whoever unpacks them. Owners, setuid bits, capabilities and devices
// of the image are left out. Neither images nor archives are trusted.
package base

import (
	"encoding/json"
	"fmt"
	"strings"
	"unicode/utf8"
)

// Manifest is what an archive says of itself, so that its digest names that too.
type Manifest struct {
	// Architecture is Go's name of the machines that it runs on.
	Architecture string `json:"architecture"`
	// Env is what commands find in their environment, NAME=value, unless something else sets it.
	Env []string `json:"env,omitempty"`
}

// RootFS is the folder of an unpacked base that holds its root filesystem; beside it lies what its
// manifest says.
const RootFS = "rootfs"

const (
	manifestFile = "base.json"
	// manifestRecord is the key of the archive's global header that holds the manifest.
	manifestRecord = "HERMES.base"
	maxManifest    = 64 << 10
)

// Limits bound a root filesystem; a zero is the default.
type Limits struct {
	// Files counts everything that an archive or a layer lists.
	Files int64
	// Bytes is of all files together.
	Bytes int64
}

const (
	maxFiles     = 1 << 20
	maxBytes     = 32 << 30
	maxPathBytes = 4096
	maxDepth     = 128
	// maxWindowBytes bounds the memory that decompression takes.
	maxWindowBytes = 128 << 20
)

func (l Limits) orDefault() Limits {
	if l.Files == 0 {
		l.Files = maxFiles
	}
	if l.Bytes == 0 {
		l.Bytes = maxBytes
	}
	return l
}

// Error says what is wrong with an image or an archive.
type Error struct {
	// Path is the entry; empty for the whole.
	Path string
	Why  string
}

// Error says it of the whole, or of the entry by its path.
func (e *Error) Error() string {
	if e.Path == "" {
		return "the root filesystem " + e.Why
	}
	return fmt.Sprintf("%q in the root filesystem %s", e.Path, e.Why)
}

func wrong(path, format string, args ...any) error {
	return &Error{Path: path, Why: fmt.Sprintf(format, args...)}
}

// ownPrefix begins the names of the variables that Hermes sets.
const ownPrefix = "HERMES_"

// CleanEnv returns the variables of an image that commands can be given, the later of two that have
// the same name.
func CleanEnv(env []string) []string {
	var clean []string
	at := map[string]int{}
	for _, variable := range env {
		name, _, found := strings.Cut(variable, "=")
		if !found || name == "" || strings.HasPrefix(name, ownPrefix) || strings.ContainsRune(variable, 0) || !utf8.ValidString(variable) {
			continue
		}
		if i, again := at[name]; again {
			clean[i] = variable
			continue
		}
		at[name] = len(clean)
		clean = append(clean, variable)
	}
	return clean
}

func (m Manifest) encode() (string, error) {
	raw, err := json.Marshal(m)
	if err == nil && len(raw) > maxManifest {
		err = wrong("", "has an environment of %d bytes; at most %d are allowed", len(raw), maxManifest)
	}
	return string(raw), err
}

func decodeManifest(raw string) (Manifest, error) {
	var m Manifest
	if len(raw) > maxManifest {
		return m, wrong("", "has a manifest of %d bytes; at most %d are allowed", len(raw), maxManifest)
	}
	if err := json.Unmarshal([]byte(raw), &m); err != nil {
		return m, wrong("", "has a manifest that cannot be read: %v", err)
	}
	m.Env = CleanEnv(m.Env)
	return m, nil
}
