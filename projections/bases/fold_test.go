package bases_test

import (
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/projections/bases"
	"github.com/hermes-serverless/hermes/projections/foldtest"
)

var subject = events.BaseSubject("gcc")

func image(n int) events.BaseImported {
	return events.BaseImported{Image: events.Blob{Digest: fmt.Sprint("sha256:", n), SizeBytes: 10}, Architecture: "amd64", Source: "gcc.tar"}
}

func TestFold(t *testing.T) {
	foldtest.Check(t, foldtest.Case[bases.Base]{
		Subject: subject, Fold: bases.Fold, Projection: bases.Projection,
		Next: func(t *rapid.T, b bases.Base) events.Data {
			may := []events.Data{image(rapid.IntRange(1, 5).Draw(t, "image"))}
			if b.Exists() {
				some := rapid.SampledFrom(b.Images).Draw(t, "removed")
				may = append(may, events.BaseRemoved{Images: []string{some.Image.Digest}, Forced: true})
			}
			return rapid.SampledFrom(may).Draw(t, "event")
		},
	})
}

func TestFoldLanguage(t *testing.T) {
	foldtest.Check(t, foldtest.Case[bases.Language]{
		Subject: events.LanguageSubject("cpp"), Fold: bases.FoldLanguage, Projection: bases.Projection,
		Next: func(t *rapid.T, _ bases.Language) events.Data {
			return events.LanguageBaseSet{Base: rapid.SampledFrom([]string{"host", "gcc", "llvm"}).Draw(t, "base")}
		},
	})
}

func TestFoldRefuses(t *testing.T) {
	gone := events.BaseRemoved{Images: []string{"sha256:1"}}
	for name, c := range map[string]struct{ given, refused []events.Data }{
		"never imported": {nil, []events.Data{gone, events.BaseRemoved{}, events.BaseImported{}}},
		"imported":       {[]events.Data{image(1)}, []events.Data{events.BaseRemoved{Images: []string{"sha256:1", "sha256:2"}}, events.BaseRemoved{}}},
		"removed":        {[]events.Data{image(1), gone}, []events.Data{gone}},
	} {
		t.Run(name, func(t *testing.T) {
			b := foldtest.Given(t, bases.Fold, subject, c.given...)
			for _, d := range c.refused {
				foldtest.WantRefused(t, bases.Fold, b, foldtest.Record(subject, 200, d))
			}
		})
	}
	full := bases.Base{}
	for i := range bases.MaxImages {
		full = foldtest.Given(t, func(_ bases.Base, r events.Record) (bases.Base, error) { return bases.Fold(full, r) }, subject, image(i))
	}
	foldtest.WantRefused(t, bases.Fold, full, foldtest.Record(subject, 200, image(bases.MaxImages)))
	language := events.LanguageSubject("cpp")
	foldtest.WantRefused(t, bases.FoldLanguage, bases.Language{}, foldtest.Record(language, 1, events.LanguageBaseSet{}))
}

func TestANameMeansItsLastImport(t *testing.T) {
	for name, c := range map[string]struct {
		given []events.Data
		want  string
	}{
		"one":               {[]events.Data{image(1)}, "sha256:1"},
		"a newer":           {[]events.Data{image(1), image(2)}, "sha256:2"},
		"the first again":   {[]events.Data{image(1), image(2), image(1)}, "sha256:1"},
		"the newer is gone": {[]events.Data{image(1), image(2), events.BaseRemoved{Images: []string{"sha256:2"}}}, "sha256:1"},
		"all are gone":      {[]events.Data{image(1), image(2), events.BaseRemoved{Images: []string{"sha256:2", "sha256:1"}}}, ""},
	} {
		b := foldtest.Given(t, bases.Fold, subject, c.given...)
		if now, found := b.Current(); now.Image.Digest != c.want || found != (c.want != "") {
			t.Errorf("%s: the name means %q, %v, want %q", name, now.Image.Digest, found, c.want)
		}
		if _, found := b.Find("sha256:1"); found != (c.want != "") {
			t.Errorf("%s: the first image is there: %v", name, found)
		}
	}
}
