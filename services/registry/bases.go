package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/events/log"
	"github.com/hermes-serverless/hermes/projections/bases"
	"github.com/hermes-serverless/hermes/services/api"
	"github.com/hermes-serverless/hermes/services/blobs"
)

const basesFilter = "hermes.base.>"

// Bases are what functions are built and run on. The operator changes them, the registry reads them.
// All fields but By are required.
type Bases struct {
	Log       log.Log
	Functions log.Log
	Blobs     *blobs.Store
	Logger    *slog.Logger
	Now       func() time.Time
	NewID     func() string
	// By is who changes them, for the history; the registry changes none.
	By string
}

// Resolve returns what a function of the language is built on that asks for a base, or for none, as
// events hold it. An *api.Error says that there is no such base.
func (b Bases) Resolve(ctx context.Context, asked, language string) (string, error) {
	chosen := bases.Language{Language: language}
	if asked == "" {
		var err error
		if chosen, err = b.language(ctx, language); err != nil {
			return "", err
		}
	}
	name := baseName(asked, chosen)
	if name == events.HostBase {
		return name, nil
	}
	base, err := b.Base(ctx, name)
	if err != nil {
		return "", err
	}
	var known []string
	if !base.Exists() {
		all, err := b.All(ctx)
		if err != nil {
			return "", err
		}
		known = slices.Sorted(maps.Keys(all))
	}
	ref, err := decideBase(asked, chosen, base, known)
	return ref.String(), err
}

// Base folds one base; what does not exist has no image.
func (b Bases) Base(ctx context.Context, name string) (bases.Base, error) {
	if err := events.CheckBaseName(name); err != nil {
		return bases.Base{}, api.Errorf(api.Invalid, api.InvalidArguments, "%v", err)
	}
	base := bases.Base{Name: name}
	for record, err := range b.Log.Read(ctx, events.BaseSubject(name), 0) {
		if err != nil {
			return base, fmt.Errorf("read base %s: %w", name, err)
		}
		if base, err = bases.Fold(base, record); err != nil {
			return base, fmt.Errorf("fold base %s at sequence %d: %w", name, record.Sequence, err)
		}
	}
	return base, nil
}

// All folds every base that has an image, by name. One whose events make no sense is left out.
func (b Bases) All(ctx context.Context) (map[string]bases.Base, error) {
	all := map[string]bases.Base{}
	for record, err := range b.Log.Read(ctx, basesFilter, 0) {
		var unknown *log.UndecodableError
		if err != nil && !errors.As(err, &unknown) {
			return nil, fmt.Errorf("read the bases' log: %w", err)
		}
		if err != nil {
			continue
		}
		name, _ := events.ParseBaseSubject(record.Subject)
		if next, err := bases.Fold(all[name], record); err == nil {
			all[name] = next
		}
	}
	maps.DeleteFunc(all, func(_ string, base bases.Base) bool { return !base.Exists() })
	return all, nil
}

func (b Bases) language(ctx context.Context, name string) (bases.Language, error) {
	l := bases.Language{Language: name}
	for record, err := range b.Log.Read(ctx, events.LanguageSubject(name), 0) {
		if err != nil {
			return l, fmt.Errorf("read language %s: %w", name, err)
		}
		if l, err = bases.FoldLanguage(l, record); err != nil {
			return l, fmt.Errorf("fold language %s at sequence %d: %w", name, record.Sequence, err)
		}
	}
	return l, nil
}

// Languages folds every language that a base was chosen for, by name.
func (b Bases) Languages(ctx context.Context) ([]bases.Language, error) {
	all := map[string]bases.Language{}
	for record, err := range b.Log.Read(ctx, events.LanguageSubject("*"), 0) {
		var unknown *log.UndecodableError
		if err != nil && !errors.As(err, &unknown) {
			return nil, fmt.Errorf("read the languages' log: %w", err)
		}
		if err != nil {
			continue
		}
		if next, err := bases.FoldLanguage(all[record.Subject], record); err == nil {
			all[record.Subject] = next
		}
	}
	var list []bases.Language
	for _, subject := range slices.Sorted(maps.Keys(all)) {
		list = append(list, all[subject])
	}
	return list, nil
}

// Import stores the image and lets the name mean it. It is false when the name meant it already.
func (b Bases) Import(ctx context.Context, name string, imported events.BaseImported, content io.ReadSeeker) (bool, error) {
	if err := events.CheckBaseName(name); err != nil {
		return false, api.Errorf(api.Invalid, api.InvalidArguments, "%v", err)
	}
	if err := b.Blobs.Put(ctx, imported.Image, content); err != nil {
		return false, fmt.Errorf("store base %s: %w", name, err)
	}
	decided, err := b.commit(ctx, name, func(base bases.Base) (events.Data, error) { return decideImport(base, imported) })
	if err != nil {
		return false, err
	}
	// The image may have been stored already, and removed by somebody between the two.
	if _, err := content.Seek(0, io.SeekStart); err != nil {
		return false, err
	}
	return decided != nil, b.Blobs.Put(ctx, imported.Image, content)
}

// Removal is what Remove did.
type Removal struct {
	events.BaseRemoved
	// Kept are images that are still stored: something was built on them meanwhile, or they are
	// another base's too.
	Kept []string
}

// Remove removes all images of a base, or the one whose digest begins so, unless somebody needs
// them or it is forced. The content goes last: what was built on it until then keeps it.
func (b Bases) Remove(ctx context.Context, name, digest string, force bool) (Removal, error) {
	var unsure error
	needs := func(refs []events.BaseRef) []string {
		all, err := b.needs(ctx, refs)
		unsure = errors.Join(unsure, err)
		return all
	}
	decided, err := b.commit(ctx, name, func(base bases.Base) (events.Data, error) {
		removed, err := decideRemove(base, digest, needs, force)
		return removed, errors.Join(err, unsure)
	})
	if err != nil {
		return Removal{}, err
	}
	removal := Removal{BaseRemoved: decided.(events.BaseRemoved)}
	for _, image := range removal.Images {
		kept, err := b.stillNeeded(ctx, events.BaseRef{Name: name, Digest: image}, removal.Forced)
		if err == nil && !kept {
			err = b.Blobs.Delete(ctx, image)
		}
		if err != nil {
			return removal, fmt.Errorf("base %s is removed, but the content of %s stays: %w", name, image, err)
		}
		if kept {
			removal.Kept = append(removal.Kept, image)
		}
	}
	return removal, nil
}

func (b Bases) needs(ctx context.Context, refs []events.BaseRef) ([]string, error) {
	all, err := foldAll(ctx, b.Functions, b.Logger)
	if err != nil {
		return nil, err
	}
	languages, err := b.Languages(ctx)
	if err != nil {
		return nil, err
	}
	return whoNeeds(slices.Collect(maps.Values(all)), languages, refs), nil
}

// stillNeeded reports whether the content of a removed image is of use to anybody.
func (b Bases) stillNeeded(ctx context.Context, ref events.BaseRef, forced bool) (bool, error) {
	all, err := b.All(ctx)
	if err != nil {
		return false, err
	}
	for _, base := range all {
		if _, found := base.Find(ref.Digest); found {
			return true, nil
		}
	}
	if forced {
		return false, nil
	}
	needs, err := b.needs(ctx, []events.BaseRef{ref})
	return len(needs) > 0, err
}

// SetDefault chooses what functions of a language are built on that name no base.
func (b Bases) SetDefault(ctx context.Context, language, name string) error {
	if err := events.CheckLanguage(language); err != nil {
		return api.Errorf(api.Invalid, api.InvalidArguments, "%v", err)
	}
	if name != events.HostBase {
		if _, err := b.Resolve(ctx, name, language); err != nil {
			return err
		}
	}
	for {
		l, err := b.language(ctx, language)
		if err != nil || l.Base == name {
			return err
		}
		_, err = b.Log.Append(ctx, events.LanguageSubject(language), l.Sequence, b.event(events.LanguageBaseSet{Base: name}))
		if !errors.Is(err, log.ErrConflict) {
			return err
		}
	}
}

// commit decides on a base as the log has it and appends, again while somebody else is faster.
func (b Bases) commit(ctx context.Context, name string, decide func(bases.Base) (events.Data, error)) (events.Data, error) {
	for {
		base, err := b.Base(ctx, name)
		if err != nil {
			return nil, err
		}
		data, err := decide(base)
		if err != nil || data == nil {
			return nil, err
		}
		_, err = b.Log.Append(ctx, events.BaseSubject(name), base.Sequence, b.event(data))
		if !errors.Is(err, log.ErrConflict) {
			return data, err
		}
	}
}

func (b Bases) event(data events.Data) events.Event {
	return events.Event{ID: b.NewID(), Source: source, By: b.By, Time: b.Now().UTC(), Data: data}
}

// SplitBase splits NAME[@DIGEST] as the operator types it.
func SplitBase(s string) (name, digest string) {
	name, digest, _ = strings.Cut(s, "@")
	return name, digest
}
