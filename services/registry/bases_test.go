package registry

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/events/log"
	"github.com/hermes-serverless/hermes/projections/bases"
	"github.com/hermes-serverless/hermes/projections/functions"
	"github.com/hermes-serverless/hermes/services/api"
)

func image(n int) events.BaseImported {
	return events.BaseImported{Image: blobNo(n), Architecture: "amd64", Source: "gcc.tar"}
}

// base is gcc after these imports.
func baseOf(images ...int) bases.Base {
	b := bases.Base{Name: "gcc"}
	for _, n := range images {
		b.Images = append(b.Images, bases.Image{BaseImported: image(n)})
	}
	return b
}

func TestDecideImport(t *testing.T) {
	var full []int
	for n := range bases.MaxImages {
		full = append(full, n)
	}
	for name, c := range map[string]struct {
		given bases.Base
		image int
		want  events.Data
		err   string
	}{
		"the first":               {given: baseOf(), image: 1, want: image(1)},
		"another":                 {given: baseOf(1), image: 2, want: image(2)},
		"the same":                {given: baseOf(1, 2), image: 2},
		"an older one again":      {given: baseOf(1, 2), image: 1, want: image(1)},
		"one too many":            {given: baseOf(full...), image: 1000, err: baseLimitReached},
		"an older one of so many": {given: baseOf(full...), image: 1, want: image(1)},
	} {
		got, err := decideImport(c.given, image(c.image))
		if e, _ := api.AsError(err); fmt.Sprint(got) != fmt.Sprint(c.want) || (e == nil) != (c.err == "") || e != nil && e.Name != c.err {
			t.Errorf("%s: %+v, %v, want %+v, %s", name, got, err, c.want, c.err)
		}
	}
}

func TestDecideRemove(t *testing.T) {
	both := []string{blobNo(1).Digest, blobNo(2).Digest}
	last := blobNo(2).Digest
	for name, c := range map[string]struct {
		given  bases.Base
		digest string
		needs  []string
		force  bool
		asked  string // the refs that needs is asked for
		want   events.Data
		err    string
	}{
		"all":                    {given: baseOf(1, 2), asked: "gcc@" + both[0] + " gcc@" + both[1] + " gcc@", want: events.BaseRemoved{Images: both}},
		"one of two":             {given: baseOf(1, 2), digest: last, asked: "gcc@" + last, want: events.BaseRemoved{Images: both[1:]}},
		"the only one":           {given: baseOf(2), digest: last, asked: "gcc@" + last + " gcc@", want: events.BaseRemoved{Images: both[1:]}},
		"by its last digit only": {given: baseOf(1, 2), digest: "2", err: noSuchBase},
		"by the digits of both":  {given: baseOf(1, 2), digest: "sha256:0000", err: noSuchBase},
		"none":                   {given: baseOf(), err: noSuchBase},
		"needed":                 {given: baseOf(1), needs: []string{"ana/pi:1.0.0"}, err: baseInUse},
		"needed, by force":       {given: baseOf(1), needs: []string{"ana/pi:1.0.0"}, force: true, want: events.BaseRemoved{Images: both[:1], Forced: true}},
		"by force, for nothing":  {given: baseOf(1), force: true, want: events.BaseRemoved{Images: both[:1]}},
	} {
		asked := ""
		got, err := decideRemove(c.given, c.digest, func(refs []events.BaseRef) []string {
			for _, ref := range refs {
				asked += " " + ref.String()
			}
			return c.needs
		}, c.force)
		e, _ := api.AsError(err)
		if fmt.Sprint(got) != fmt.Sprint(c.want) || (e == nil) != (c.err == "") || e != nil && e.Name != c.err {
			t.Errorf("%s: %+v, %v, want %+v, %s", name, got, err, c.want, c.err)
		}
		if c.asked != "" && strings.TrimSpace(asked) != c.asked {
			t.Errorf("%s: asked who needs %q, want %q", name, asked, c.asked)
		}
		if c.err == baseInUse && !strings.Contains(e.Message, "ana/pi:1.0.0") {
			t.Errorf("who needs it is not said: %v", e)
		}
	}
}

func TestWhoNeeds(t *testing.T) {
	ref := events.BaseRef{Name: "gcc", Digest: blobNo(1).Digest}
	all := []functions.Function{
		{Owner: "ana", Name: "pi", Versions: map[string]functions.Version{"1.0.0": {Base: ref.String()}, "2.0.0": {Base: "host"}}},
		{Owner: "bob", Name: "pi", Pending: map[string]functions.Pending{"1.0.0": {Base: ref.String()}}},
		{Owner: "bob", Name: "no", Failed: map[string]functions.FailedBuild{"1.0.0": {Base: ref.String()}}},
		{Owner: "bob", Name: "other", Versions: map[string]functions.Version{"1.0.0": {Base: "clang@" + ref.Digest}}},
		{Owner: "eve", Name: "twice", Versions: map[string]functions.Version{"1.0.0": {Base: ref.String()}}, Pending: map[string]functions.Pending{"1.0.0": {Base: "host"}}},
	}
	languages := []bases.Language{{Language: "cpp", Base: "gcc"}, {Language: "cuda", Base: "host"}}
	if got, want := whoNeeds(all, languages, []events.BaseRef{ref}), []string{"ana/pi:1.0.0", "bob/pi:1.0.0", "eve/twice:1.0.0"}; !slices.Equal(got, want) {
		t.Errorf("an image: %q, want %q", got, want)
	}
	if got, want := whoNeeds(all, languages, []events.BaseRef{{Name: "gcc"}}), []string{"the language cpp"}; !slices.Equal(got, want) {
		t.Errorf("the name: %q, want %q", got, want)
	}
	many := make([]string, 12)
	if got := someOf(many); !strings.HasSuffix(got, "and 2 more") {
		t.Error(got)
	}
}

func (w *world) registryBases() Bases {
	return Bases{
		Log: w.bases, Functions: w.functions, Blobs: w.options.Blobs, Logger: slog.New(slog.DiscardHandler),
		Now: func() time.Time { return noon }, NewID: api.NewID,
	}
}

// imports brings in an image with this content.
func (w *world) imports(name, content string) events.BaseRef {
	w.t.Helper()
	sum := sha256.Sum256([]byte(content))
	blob := events.Blob{Digest: "sha256:" + hex.EncodeToString(sum[:]), SizeBytes: int64(len(content))}
	imported := events.BaseImported{Image: blob, Architecture: "amd64", Source: "test"}
	_, err := w.registryBases().Import(w.t.Context(), name, imported, strings.NewReader(content))
	must(w.t, err)
	return events.BaseRef{Name: name, Digest: blob.Digest}
}

func (w *world) has(ref events.BaseRef) bool {
	w.t.Helper()
	has, err := w.options.Blobs.Has(w.t.Context(), ref.Digest)
	must(w.t, err)
	return has
}

const onBase = `{"functionName": "pi", "language": "cpp", "gpuCapable": false, "functionVersion": "1.0.0", "handler": "./a.out", "base": "gcc"}`

// TestAFunctionStaysOnItsImage: also after its name means another one, until it is deployed again.
func TestAFunctionStaysOnItsImage(t *testing.T) {
	w := newWorld(t)
	w.start()
	b := w.registryBases()
	e := wantName(t, deployError(w.deploy("ana", w.stored(onBase, "all:"), api.NewID(), false)), noSuchBase)
	if !strings.Contains(e.Message, "gcc") || e.Hint == "" {
		t.Errorf("%v, %q", e, e.Hint)
	}
	first := w.imports("gcc", "one")
	build, bundle := api.NewID(), w.stored(onBase, "all:")
	_, err := w.deploy("ana", bundle, build, false)
	must(t, err)
	w.execute("ana", build, buildOf("pi")...)
	w.execute("ana", build, succeeded())
	base := func() string {
		rows, err := w.inspect("ana", api.FunctionInspect{Name: "pi"})
		must(t, err)
		if rows[0].Status != ready {
			return ""
		}
		return rows[0].Base
	}
	w.eventually("the version is built on the first image", func() bool { return base() == first.String() })
	second := w.imports("gcc", "two")
	if got := base(); got != first.String() {
		t.Errorf("after another import it is on %s", got)
	}

	_, err = b.Remove(t.Context(), "gcc", "", false)
	if e := wantName(t, err, baseInUse); !strings.Contains(e.Message, "ana/pi:1.0.0") {
		t.Errorf("%v", e)
	}
	removal, err := b.Remove(t.Context(), "gcc", second.Digest, false)
	if err != nil || !slices.Equal(removal.Images, []string{second.Digest}) || w.has(second) || !w.has(first) {
		t.Errorf("removed %+v, %v; the first is stored: %v, the second: %v", removal, err, w.has(first), w.has(second))
	}
	second = w.imports("gcc", "two")

	// The same bundle, and another image: it is built again.
	next := api.NewID()
	answer, err := w.deploy("ana", bundle, next, true)
	if err != nil || answer.Reused {
		t.Fatalf("%+v, %v", answer, err)
	}
	w.execute("ana", next, buildOf("pi")...)
	w.execute("ana", next, succeeded())
	w.eventually("the version is built on the second image", func() bool { return base() == second.String() })
	if answer, err = w.deploy("ana", bundle, api.NewID(), true); err != nil || !answer.Reused {
		t.Errorf("the same bundle on the same image is built again: %+v, %v", answer, err)
	}
	removal, err = b.Remove(t.Context(), "gcc", first.Digest, false)
	if err != nil || w.has(first) {
		t.Errorf("what nobody needs is not removed: %+v, %v", removal, err)
	}
	removal, err = b.Remove(t.Context(), "gcc", "", true)
	if err != nil || !removal.Forced || w.has(second) {
		t.Errorf("by force: %+v, %v", removal, err)
	}
	wantName(t, deployError(w.deploy("ana", bundle, api.NewID(), true)), noSuchBase)
}

func TestTheDefaultOfALanguage(t *testing.T) {
	w := newWorld(t)
	b := w.registryBases()
	resolve := func(asked, language string) string {
		t.Helper()
		ref, err := b.Resolve(t.Context(), asked, language)
		must(t, err)
		return ref
	}
	if got := resolve("", "cpp"); got != "host" {
		t.Errorf("at first it is %s", got)
	}
	wantName(t, b.SetDefault(t.Context(), "cpp", "gcc"), noSuchBase)
	wantName(t, b.SetDefault(t.Context(), "c++", "host"), api.InvalidArguments)
	gcc, cuda := w.imports("gcc", "one"), w.imports("cuda", "three")
	must(t, b.SetDefault(t.Context(), "cpp", "gcc"))
	must(t, b.SetDefault(t.Context(), "cpp", "gcc")) // again, which changes nothing
	if got := []string{resolve("", "cpp"), resolve("", "cuda"), resolve("host", "cpp"), resolve("cuda", "cpp")}; !slices.Equal(got, []string{gcc.String(), "host", "host", cuda.String()}) {
		t.Errorf("they are built on %q", got)
	}
	newer := w.imports("gcc", "two")
	if got := resolve("", "cpp"); got != newer.String() {
		t.Errorf("after another import it is %s", got)
	}
	_, err := b.Remove(t.Context(), "gcc", "", false)
	if e := wantName(t, err, baseInUse); !strings.Contains(e.Message, "the language cpp") {
		t.Error(e)
	}
	_, err = b.Remove(t.Context(), "gcc", "", true)
	must(t, err)
	_, err = b.Resolve(t.Context(), "", "cpp")
	if e := wantName(t, err, noSuchBase); !strings.Contains(e.Hint, "hermesd base default cpp") {
		t.Error(e.Hint)
	}
	_, err = b.Resolve(t.Context(), "cud", "cpp")
	if e := wantName(t, err, noSuchBase); !strings.Contains(e.Hint, "cuda") {
		t.Error(e.Hint)
	}
	must(t, b.SetDefault(t.Context(), "cpp", "host"))
	if got := resolve("", "cpp"); got != "host" {
		t.Errorf("at last it is %s", got)
	}
}

// TestTwoNamesOfOneImage: its content goes with the last.
func TestTwoNamesOfOneImage(t *testing.T) {
	w := newWorld(t)
	b := w.registryBases()
	gcc := w.imports("gcc", "one")
	w.imports("again", "one")
	removal, err := b.Remove(t.Context(), "gcc", "", false)
	if err != nil || !slices.Equal(removal.Kept, []string{gcc.Digest}) || !w.has(gcc) {
		t.Errorf("%+v, %v", removal, err)
	}
	if removal, err = b.Remove(t.Context(), "again", "", false); err != nil || len(removal.Kept) != 0 || w.has(gcc) {
		t.Errorf("%+v, %v", removal, err)
	}
}

// TestARemovalMeetsADeploy: what is deployed behind the removal's decision keeps its content.
func TestARemovalMeetsADeploy(t *testing.T) {
	w := newWorld(t)
	gcc := w.imports("gcc", "one")
	b := w.registryBases()
	b.Log = meeting{w.bases, func() {
		_, err := w.functions.Append(t.Context(), events.FunctionSubject("ana", "pi"), 0, events.Event{
			ID: api.NewID(), Source: "test", Time: noon,
			Data: events.FunctionRegistered{Version: "1.0.0", Build: api.NewID(), Base: gcc.String()},
		})
		must(t, err)
	}}
	removal, err := b.Remove(t.Context(), "gcc", "", false)
	if err != nil || !slices.Equal(removal.Kept, []string{gcc.Digest}) || !w.has(gcc) {
		t.Errorf("%+v, %v", removal, err)
	}
}

// meeting is a log in which something happens right before each append.
type meeting struct {
	log.Log
	before func()
}

func (m meeting) Append(ctx context.Context, subject string, expected uint64, e events.Event) (uint64, error) {
	m.before()
	return m.Log.Append(ctx, subject, expected, e)
}

func TestImportRefuses(t *testing.T) {
	w := newWorld(t)
	b := w.registryBases()
	for _, name := range []string{"host", "", "a.b", "A"} {
		_, err := b.Import(t.Context(), name, image(1), bytes.NewReader(nil))
		wantName(t, err, api.InvalidArguments)
	}
	if _, err := b.Import(t.Context(), "gcc", image(1), strings.NewReader("something else")); err == nil {
		t.Error("content that is not the image is imported")
	}
	if base, err := b.Base(t.Context(), "gcc"); err != nil || base.Exists() {
		t.Errorf("%+v, %v", base, err)
	}
	// Somebody else is faster, twice.
	races := 2
	b.Log = racing{w.bases, func() bool { races--; return races >= 0 }}
	if isNew, err := b.Import(t.Context(), "gcc", emptyImage(), bytes.NewReader(nil)); err != nil || !isNew {
		t.Errorf("%v, %v", isNew, err)
	}
	b.Log = racing{w.bases, func() bool { t.Error("an import of the same appends"); return false }}
	if isNew, err := b.Import(t.Context(), "gcc", emptyImage(), bytes.NewReader(nil)); err != nil || isNew {
		t.Errorf("%v, %v", isNew, err)
	}
	b.Log = refusing{w.bases}
	if _, err := b.Import(t.Context(), "gcc2", emptyImage(), bytes.NewReader(nil)); !errors.Is(err, errDown) {
		t.Errorf("got %v", err)
	}
}

func emptyImage() events.BaseImported {
	sum := sha256.Sum256(nil)
	return events.BaseImported{Image: events.Blob{Digest: "sha256:" + hex.EncodeToString(sum[:])}}
}

type refusing struct{ log.Log }

func (refusing) Append(context.Context, string, uint64, events.Event) (uint64, error) {
	return 0, errDown
}
