package registry

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/projections/bases"
	"github.com/hermes-serverless/hermes/projections/functions"
	"github.com/hermes-serverless/hermes/services/api"
)

// Names of errors about bases.
const (
	noSuchBase       = "NoSuchBase"
	baseInUse        = "BaseInUse"
	baseLimitReached = "BaseLimitReached"
)

// decideImport returns the event by which the name means the image; nil if it does already.
func decideImport(b bases.Base, imported events.BaseImported) (events.Data, error) {
	digest := imported.Image.Digest
	if now, ok := b.Current(); ok && now.Image.Digest == digest {
		return nil, nil
	}
	if _, known := b.Find(digest); !known && len(b.Images) >= bases.MaxImages {
		return nil, api.Errorf(api.LimitReached, baseLimitReached, "base %s has %d images; no more are allowed", b.Name, len(b.Images)).
			WithHint("remove old ones: hermesd base remove %s@%s", b.Name, b.Images[0].Image.Digest)
	}
	return imported, nil
}

// decideRemove returns the event that removes images of a base: all of them, or those that the
// digest begins. needs are the functions and languages that need them, in words.
func decideRemove(b bases.Base, digest string, needs func([]events.BaseRef) []string, force bool) (events.Data, error) {
	gone, err := pickImages(b, digest)
	if err != nil {
		return nil, err
	}
	removed := events.BaseRemoved{}
	var refs []events.BaseRef
	for _, i := range gone {
		removed.Images = append(removed.Images, i.Image.Digest)
		refs = append(refs, b.Ref(i))
	}
	if len(gone) == len(b.Images) {
		refs = append(refs, events.BaseRef{Name: b.Name}) // the name itself
	}
	needed := needs(refs)
	if removed.Forced = len(needed) > 0; removed.Forced && !force {
		return nil, api.Errorf(api.State, baseInUse, "base %s is needed by %s", b.Name, someOf(needed)).
			WithHint("delete them or build them on another base first; --force removes it all the same, and what needs it can run no more")
	}
	return removed, nil
}

// pickImages returns all images of a base, or the one whose digest begins so.
func pickImages(b bases.Base, digest string) ([]bases.Image, error) {
	if !b.Exists() {
		return nil, unknownBase(b.Name, nil)
	}
	if digest == "" {
		return b.Images, nil
	}
	var found []bases.Image
	for _, i := range b.Images {
		if strings.HasPrefix(i.Image.Digest, "sha256:"+strings.TrimPrefix(digest, "sha256:")) {
			found = append(found, i)
		}
	}
	if len(found) != 1 {
		return nil, api.Errorf(api.NotFound, noSuchBase, "base %s has %d images whose digest begins with %s", b.Name, len(found), digest).
			WithHint("`hermesd base inspect %s` shows them", b.Name)
	}
	return found, nil
}

// whoNeeds names the versions that are, or are being, built on any of the images, and the languages
// that are built on a name of which nothing is left (a ref without a digest).
func whoNeeds(all []functions.Function, languages []bases.Language, refs []events.BaseRef) []string {
	wanted := map[string]bool{}
	var needs []string
	for _, ref := range refs {
		if ref.Digest != "" {
			wanted[ref.String()] = true
			continue
		}
		for _, l := range languages {
			if l.Base == ref.Name {
				needs = append(needs, fmt.Sprintf("the language %s", l.Language))
			}
		}
	}
	for _, f := range all {
		versions := map[string]bool{}
		for version, v := range f.Versions {
			versions[version] = versions[version] || wanted[v.Base]
		}
		for version, p := range f.Pending {
			versions[version] = versions[version] || wanted[p.Base]
		}
		for _, version := range slices.Sorted(maps.Keys(versions)) {
			if versions[version] {
				needs = append(needs, events.FunctionRef{Owner: f.Owner, Name: f.Name, Version: version}.String())
			}
		}
	}
	slices.Sort(needs)
	return needs
}

// someOf joins as many names as a line can hold.
func someOf(names []string) string {
	const most = 10
	if len(names) <= most {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
}

// decideBase returns what a function is built on: the base that its config asks for, else its
// language's, else the machine itself.
func decideBase(asked string, language bases.Language, base bases.Base, known []string) (events.BaseRef, error) {
	name := baseName(asked, language)
	if name == events.HostBase {
		return events.BaseRef{Name: name}, nil
	}
	if now, ok := base.Current(); ok {
		return base.Ref(now), nil
	}
	missing := unknownBase(name, known)
	if asked == "" {
		missing = missing.WithHint("the operator chose it for the language %s: `hermesd base default %s` changes that", language.Language, language.Language)
	}
	return events.BaseRef{}, missing
}

// baseName is the name of what decideBase returns.
func baseName(asked string, language bases.Language) string {
	switch {
	case asked != "":
		return asked
	case language.Base != "":
		return language.Base
	}
	return events.HostBase
}

func unknownBase(name string, known []string) *api.Error {
	missing := api.Errorf(api.NotFound, noSuchBase, "there is no base %s", name)
	like := nearest(name, known)
	switch {
	case like != "":
		return missing.WithHint("did you mean %s?", like)
	case len(known) > 0:
		return missing.WithHint("there are %s and %s", events.HostBase, someOf(known))
	}
	return missing.WithHint("the operator makes one with `hermesd base import`")
}
