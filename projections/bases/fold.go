package bases

import (
	"slices"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/projections"
)

// MaxImages bounds the images of one base: its view must fit into one message.
const MaxImages = 100

// Fold returns the state after the record. It is pure and total over legal histories; anything
// else is an *events.ImpossibleError and leaves the state as it was.
func Fold(b Base, r events.Record) (Base, error) {
	name, err := events.ParseBaseSubject(r.Subject)
	if err != nil {
		return b, projections.Impossible(r, "%v", err)
	}
	next, err := b.apply(r)
	if err != nil {
		return b, err
	}
	next.Name, next.Sequence = name, r.Sequence
	return next, nil
}

func (b Base) apply(r events.Record) (Base, error) {
	switch d := r.Data.(type) {
	case events.BaseImported:
		return b.imported(r, d)
	case events.BaseRemoved:
		return b.removed(r, d)
	}
	return b, projections.Impossible(r, "it is not an event of a base")
}

// imported makes the image the last one, also one that is there already.
func (b Base) imported(r events.Record, d events.BaseImported) (Base, error) {
	others := b.without(d.Image.Digest)
	switch {
	case d.Image.Digest == "":
		return b, projections.Impossible(r, "it names no image")
	case len(others) >= MaxImages:
		return b, projections.Impossible(r, "there are %d images already", len(others))
	}
	b.Images = append(others, Image{BaseImported: d, ImportedAt: r.Time})
	return b, nil
}

func (b Base) removed(r events.Record, d events.BaseRemoved) (Base, error) {
	if len(d.Images) == 0 {
		return b, projections.Impossible(r, "it names no image")
	}
	for _, digest := range d.Images {
		if _, found := b.Find(digest); !found {
			return b, projections.Impossible(r, "there is no image %s", digest)
		}
	}
	b.Images = b.without(d.Images...)
	return b, nil
}

// Find returns the image with the digest.
func (b Base) Find(digest string) (Image, bool) {
	i := slices.IndexFunc(b.Images, func(i Image) bool { return i.Image.Digest == digest })
	if i < 0 {
		return Image{}, false
	}
	return b.Images[i], true
}

// without returns a new list of the other images: states share nothing that is modified.
func (b Base) without(digests ...string) []Image {
	var others []Image
	for _, i := range b.Images {
		if !slices.Contains(digests, i.Image.Digest) {
			others = append(others, i)
		}
	}
	return others
}

// FoldLanguage is Fold for the events of a language.
func FoldLanguage(l Language, r events.Record) (Language, error) {
	name, err := events.ParseLanguageSubject(r.Subject)
	if err != nil {
		return l, projections.Impossible(r, "%v", err)
	}
	set, ok := r.Data.(events.LanguageBaseSet)
	switch {
	case !ok:
		return l, projections.Impossible(r, "it is not an event of a language")
	case set.Base == "":
		return l, projections.Impossible(r, "it names no base")
	}
	return Language{Language: name, Base: set.Base, SetAt: r.Time, Sequence: r.Sequence}, nil
}
