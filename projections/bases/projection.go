package bases

import (
	"strings"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/projections"
)

// Projection keeps view.base.<name> = Base, while there is any image of it, and
// view.language.<language> = Language in the bucket of bases.
var Projection = projections.Projection{Name: "hermes_bases", Apply: apply, Decode: decode}

const languagePrefix = "view.language."

// ViewKey is the key of a base's view. "*" stands for all.
func ViewKey(name string) string { return "view.base." + name }

// LanguageKey is the key of a language's view. "*" stands for all.
func LanguageKey(language string) string { return languagePrefix + language }

func decode(key string, raw []byte) (any, error) {
	if strings.HasPrefix(key, languagePrefix) {
		return projections.DecodeJSON[Language](key, raw)
	}
	return projections.DecodeJSON[Base](key, raw)
}

func apply(tx projections.Tx, r events.Record) error {
	if language, err := events.ParseLanguageSubject(r.Subject); err == nil {
		return applyLanguage(tx, r, language)
	}
	name, err := events.ParseBaseSubject(r.Subject)
	if err == nil {
		err = events.CheckBaseName(name)
	}
	if err != nil {
		return projections.Impossible(r, "%v", err)
	}
	b, _, err := projections.Get[Base](tx, ViewKey(name))
	if err != nil {
		return err
	}
	if r.Sequence <= b.Sequence {
		return nil // applied before
	}
	if b, err = Fold(b, r); err != nil {
		return err
	}
	if !b.Exists() {
		tx.Delete(ViewKey(name))
		return nil
	}
	tx.Put(ViewKey(name), b)
	return nil
}

func applyLanguage(tx projections.Tx, r events.Record, language string) error {
	if err := events.CheckLanguage(language); err != nil {
		return projections.Impossible(r, "%v", err)
	}
	l, _, err := projections.Get[Language](tx, LanguageKey(language))
	if err != nil {
		return err
	}
	if r.Sequence <= l.Sequence {
		return nil // applied before
	}
	if l, err = FoldLanguage(l, r); err != nil {
		return err
	}
	tx.Put(LanguageKey(language), l)
	return nil
}
