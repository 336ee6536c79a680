package streams

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/nats-io/nats.go/jetstream"
)

// ErrLoss: a change was refused because it would drop stored data. See LossError.
var ErrLoss = errors.New("the change would drop stored data")

// LossError says what a refused change would have dropped. It is an ErrLoss.
type LossError struct {
	Stream string
	// Losses are in words, one a setting.
	Losses []string
}

// Error says what all would be lost.
func (e *LossError) Error() string {
	return fmt.Sprintf("stream %s: %v: %s", e.Stream, ErrLoss, strings.Join(e.Losses, "; "))
}

// Is makes it an ErrLoss.
func (e *LossError) Is(target error) bool { return target == ErrLoss }

// Change is one thing that Ensure did.
type Change struct {
	Stream string
	// Created is false for an update.
	Created bool
	// Settings are those that an update changed, as "name: old → new".
	Settings []string
}

// String is for logs.
func (c Change) String() string {
	if c.Created {
		return "created " + c.Stream
	}
	return "updated " + c.Stream + ": " + strings.Join(c.Settings, ", ")
}

// Ensure creates what is missing and updates what differs, and returns what it changed; nil means
// that everything was as it should be. Settings that Hermes does not manage (placement, metadata)
// stay as an operator left them.
//
// It looks at everything before it changes anything: a LossError means that nothing was touched.
// After another error some changes may have been made; they are returned, and the call can be
// repeated. Several callers at once are harmless.
func Ensure(ctx context.Context, js jetstream.JetStream, o Options) ([]Change, error) {
	var plans []plan
	for _, want := range o.All() {
		p, err := look(ctx, js, want, o)
		if err != nil {
			return nil, err
		}
		if p != nil {
			plans = append(plans, *p)
		}
	}
	var changes []Change
	for _, p := range plans {
		if err := p.apply(ctx, js); err != nil {
			return changes, fmt.Errorf("%s: %w", p.change, err)
		}
		changes = append(changes, p.change)
	}
	if o = o.withDefaults(); len(changes) > 0 && o.DataDir != "" {
		if err := o.Sync(o.DataDir); err != nil {
			return changes, fmt.Errorf("sync %s after provisioning: %w", o.DataDir, err)
		}
	}
	return changes, nil
}

// plan is a change that was found necessary and allowed.
type plan struct {
	config jetstream.StreamConfig
	change Change
	// anew: the stream is removed first. It never held anything.
	anew bool
}

// look returns what has to be done for one stream, nil for nothing.
func look(ctx context.Context, js jetstream.JetStream, want jetstream.StreamConfig, o Options) (*plan, error) {
	stream, err := js.Stream(ctx, want.Name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return &plan{config: want, change: Change{Stream: want.Name, Created: true}}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("look at stream %s: %w", want.Name, err)
	}
	have := stream.CachedInfo().Config
	allowed := o.AllowLoss
	if want.Name == Output {
		want = o.keepBounds(have, want)
		allowed = allowed || o.AllowOutputLoss && onlyBounds(have, want)
	}
	anew := isStuck(have, want) && stream.CachedInfo().State.LastSeq == 0
	if !anew {
		want = keepDenied(have, want)
	}
	merged, settings := merge(have, want)
	if len(settings) == 0 {
		return nil, nil
	}
	if losses := losses(have, want); len(losses) > 0 && !allowed {
		return nil, &LossError{Stream: want.Name, Losses: losses}
	}
	return &plan{config: merged, change: Change{Stream: want.Name, Settings: settings}, anew: anew}, nil
}

// isStuck reports whether a server would refuse the change: what a stream denies, it denies for good.
func isStuck(have, want jetstream.StreamConfig) bool {
	return have.DenyPurge && !want.DenyPurge || have.DenyDelete && !want.DenyDelete
}

// keepDenied is what is wanted of a stream that an earlier version made and that holds something: it goes
// on as it is, and only a restored copy of it (services/hermesd/backup) allows what it denies.
func keepDenied(have, want jetstream.StreamConfig) jetstream.StreamConfig {
	want.DenyDelete = want.DenyDelete || have.DenyDelete
	want.DenyPurge = want.DenyPurge || have.DenyPurge
	return want
}

// keepBounds is what is wanted of Output with the bounds that nobody asked for as they are.
func (o Options) keepBounds(have, want jetstream.StreamConfig) jetstream.StreamConfig {
	if o.OutputAge == 0 {
		want.MaxAge = have.MaxAge
	}
	if o.OutputBytes == 0 {
		want.MaxBytes = have.MaxBytes
	}
	return want
}

// onlyBounds reports whether nothing but the bounds of age and size would drop anything.
func onlyBounds(have, want jetstream.StreamConfig) bool {
	want.MaxAge, want.MaxBytes = have.MaxAge, have.MaxBytes
	return len(losses(have, want)) == 0
}

func (p plan) apply(ctx context.Context, js jetstream.JetStream) error {
	if p.anew {
		if err := js.DeleteStream(ctx, p.config.Name); err != nil && !errors.Is(err, jetstream.ErrStreamNotFound) {
			return err
		}
	} else if !p.change.Created {
		_, err := js.UpdateStream(ctx, p.config)
		return err
	}
	_, err := js.CreateStream(ctx, p.config)
	if errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) {
		// Somebody else made it meanwhile, with other options: the next call tells them apart.
		return fmt.Errorf("made by somebody else just now: %w", err)
	}
	return err
}

// managed are the settings that Hermes decides. The rest is the operator's.
var managed = []string{
	"Description", "Subjects", "Retention", "MaxConsumers", "MaxMsgs", "MaxBytes", "Discard", "MaxAge",
	"MaxMsgsPerSubject", "MaxMsgSize", "Storage", "Replicas", "Duplicates", "Sources", "DenyDelete",
	"DenyPurge", "AllowRollup", "Compression", "AllowDirect", "AllowMsgTTL", "SubjectDeleteMarkerTTL",
	"AllowAtomicPublish", "PersistMode",
}

// merge returns have with the managed settings of want, and those that differ in words.
func merge(have, want jetstream.StreamConfig) (jetstream.StreamConfig, []string) {
	merged := have
	var settings []string
	for _, name := range managed {
		old := reflect.ValueOf(&merged).Elem().FieldByName(name)
		wanted := reflect.ValueOf(want).FieldByName(name)
		if equal(old, wanted) {
			continue
		}
		settings = append(settings, fmt.Sprintf("%s: %s → %s", name, words(old), words(wanted)))
		old.Set(wanted)
	}
	return merged, settings
}

func equal(a, b reflect.Value) bool {
	if a.Kind() == reflect.Slice && a.Len() == 0 && b.Len() == 0 {
		return true
	}
	return reflect.DeepEqual(a.Interface(), b.Interface())
}

func words(v reflect.Value) string {
	sources, ok := v.Interface().([]*jetstream.StreamSource)
	if !ok {
		return fmt.Sprint(v.Interface())
	}
	names := make([]string, len(sources))
	for i, s := range sources {
		names[i] = s.Name
	}
	return fmt.Sprint(names)
}

// losses says what a change from have to want would drop.
func losses(have, want jetstream.StreamConfig) []string {
	var all []string
	add := func(is bool, format string, args ...any) {
		if is {
			all = append(all, fmt.Sprintf(format, args...))
		}
	}
	add(have.Storage != want.Storage, "storage %s → %s", have.Storage, want.Storage)
	add(have.Retention != want.Retention, "retention %s → %s", have.Retention, want.Retention)
	add(have.Replicas > want.Replicas, "replicas %d → %d", have.Replicas, want.Replicas)
	add(shrinks(int64(have.MaxAge), int64(want.MaxAge)), "maximum age %s → %s", have.MaxAge, want.MaxAge)
	add(shrinks(have.MaxBytes, want.MaxBytes), "maximum bytes %d → %d", have.MaxBytes, want.MaxBytes)
	add(shrinks(have.MaxMsgs, want.MaxMsgs), "maximum messages %d → %d", have.MaxMsgs, want.MaxMsgs)
	add(shrinks(have.MaxMsgsPerSubject, want.MaxMsgsPerSubject),
		"maximum messages a subject %d → %d", have.MaxMsgsPerSubject, want.MaxMsgsPerSubject)
	for _, subject := range have.Subjects {
		kept := slices.ContainsFunc(want.Subjects, func(s string) bool { return covers(s, subject) })
		add(!kept, "subject %s is dropped", subject)
	}
	for _, source := range have.Sources {
		add(!slices.ContainsFunc(want.Sources, func(s *jetstream.StreamSource) bool { return s.Name == source.Name }),
			"source %s is dropped", source.Name)
	}
	return all
}

// covers reports whether everything that matches the narrow subject matches the wide one.
func covers(wide, narrow string) bool {
	w, n := strings.Split(wide, "."), strings.Split(narrow, ".")
	for i, token := range w {
		switch {
		case i == len(n):
			return false
		case token == ">":
			return true
		case token != n[i] && (token != "*" || n[i] == ">"):
			return false
		}
	}
	return len(w) == len(n)
}

// shrinks compares two limits; zero and less mean none.
func shrinks(have, want int64) bool { return want > 0 && (have <= 0 || want < have) }
