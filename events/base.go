package events

import (
	"fmt"
	"slices"
	"strings"
)

// HostBase is the base that every machine has without an image: its own /usr, read-only.
const HostBase = "host"

// BaseRef names what a function is built and runs on: the machine itself, or one image of a base.
type BaseRef struct {
	// Name is HostBase, or a base's.
	Name string
	// Digest is the image's; empty for HostBase.
	Digest string
}

// IsHost reports whether it is the machine itself.
func (r BaseRef) IsHost() bool { return r.Name == HostBase }

// String is the form that events hold: "host", or NAME@sha256:….
func (r BaseRef) String() string {
	if r.IsHost() {
		return r.Name
	}
	return r.Name + "@" + r.Digest
}

// ParseBaseRef is the inverse of BaseRef.String.
func ParseBaseRef(s string) (BaseRef, error) {
	if s == HostBase {
		return BaseRef{Name: s}, nil
	}
	name, digest, found := strings.Cut(s, "@")
	if !found {
		return BaseRef{}, fmt.Errorf("base %q: must be %s, or NAME@sha256:…", s, HostBase)
	}
	if err := CheckBaseName(name); err != nil {
		return BaseRef{}, err
	}
	if err := CheckDigest(digest); err != nil {
		return BaseRef{}, fmt.Errorf("base %q: %w", s, err)
	}
	return BaseRef{Name: name, Digest: digest}, nil
}

// ImageBases is what a watcher's machine has among its bases that can stand on images for an architecture.
func ImageBases(architecture string) string { return imageBases + architecture }

const imageBases = "image/"

// OffersBase reports whether a machine can make a sandbox on what a base's reference names. Images are
// fetched by whoever needs them, so that any machine of the image's architecture will do, and any at
// all where that is empty: not known.
func (m Machine) OffersBase(ref, architecture string) bool {
	if slices.Contains(m.Bases, ref) {
		return true
	}
	if r, err := ParseBaseRef(ref); err != nil || r.IsHost() {
		return false
	}
	return slices.ContainsFunc(m.Bases, func(b string) bool {
		of, isImages := strings.CutPrefix(b, imageBases)
		return isImages && (architecture == "" || of == architecture)
	})
}

// CheckBaseName returns an error that says what is wrong with the name of a base image, or nil.
func CheckBaseName(name string) error {
	if name == HostBase {
		return fmt.Errorf("base name %q is the machine's own; choose another", name)
	}
	return checkName("base name", name)
}

// CheckLanguage returns an error that says what is wrong with the name of a language, or nil.
func CheckLanguage(name string) error {
	return checkName("language", name)
}

// BaseImported: from here on the name means this image. Those that it meant before stay, for the
// functions that were built on them.
type BaseImported struct {
	// Image is the root filesystem in the object store: one tar, compressed.
	Image Blob `json:"image"`
	// Architecture is Go's name of the machines that it is for: "amd64".
	Architecture string `json:"architecture"`
	// Files and UnpackedBytes are what a watcher's disk holds of it.
	Files         int64 `json:"files"`
	UnpackedBytes int64 `json:"unpackedBytes"`
	// Source says where it came from, for people.
	Source string `json:"source"`
}

// BaseRemoved: these images are gone. The name means the latest of those that are left, if any is.
type BaseRemoved struct {
	// Images are digests.
	Images []string `json:"images"`
	// Forced: functions that were built on them can run no more.
	Forced bool `json:"forced,omitempty"`
}

// LanguageBaseSet: functions of the language that name no base are built on this one from here on.
type LanguageBaseSet struct {
	// Base is a name, HostBase or an image's.
	Base string `json:"base"`
}

// Type implements Data.
func (BaseImported) Type() Type { return "io.hermes.base.v1.imported" }

// Type implements Data.
func (BaseRemoved) Type() Type { return "io.hermes.base.v1.removed" }

// Type implements Data.
func (LanguageBaseSet) Type() Type { return "io.hermes.language.v1.base_set" }
