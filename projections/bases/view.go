// Package bases folds the events of bases into which image a name means, and those of languages into
// what they are built on.
package bases

import (
	"time"

	"github.com/hermes-serverless/hermes/events"
)

// Base is the fold of one base's events. Its zero value is a base that does not exist.
type Base struct {
	Name string `json:"name"`
	// Images are those that there are, in the order of their imports: the name means the last.
	Images []Image `json:"images,omitempty"`
	// Sequence is the last event's, and what the next append must expect.
	Sequence uint64 `json:"sequence"`
}

// Image is one root filesystem that the name meant once.
type Image struct {
	events.BaseImported
	ImportedAt time.Time `json:"importedAt"`
}

// Language is the fold of one language's events.
type Language struct {
	Language string `json:"language"`
	// Base is what its functions are built on that name none; empty is events.HostBase.
	Base     string    `json:"base"`
	SetAt    time.Time `json:"setAt,omitzero"`
	Sequence uint64    `json:"sequence"`
}

// Exists reports whether there is any image of the base.
func (b Base) Exists() bool { return len(b.Images) > 0 }

// Current is the image that the name means, if there is one.
func (b Base) Current() (Image, bool) {
	if !b.Exists() {
		return Image{}, false
	}
	return b.Images[len(b.Images)-1], true
}

// Ref names an image of the base.
func (b Base) Ref(i Image) events.BaseRef {
	return events.BaseRef{Name: b.Name, Digest: i.Image.Digest}
}
