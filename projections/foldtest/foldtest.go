// Package foldtest checks what every fold promises, over random legal histories.
package foldtest

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/projections"
)

// Case is a fold and how to test it.
type Case[S any] struct {
	// Subject is that of the one aggregate whose histories are made.
	Subject    string
	Fold       func(S, events.Record) (S, error)
	Projection projections.Projection
	// Next draws an event that may follow the state.
	Next func(t *rapid.T, s S) events.Data
}

// Record returns the data as the log would yield it.
func Record(subject string, sequence uint64, data events.Data) events.Record {
	return events.Record{
		Event: events.Event{
			ID: fmt.Sprint("event", sequence), Source: "test",
			Time: time.Unix(int64(sequence), 0).UTC(), Data: data,
		},
		Subject: subject, Sequence: sequence,
	}
}

// Check proves over random legal histories that none is refused, that a state which went through
// its stored form goes on as the one that did not, that no state is modified by what follows it,
// that a record delivered again changes nothing, and that events of other aggregates are refused.
func Check[S any](t *testing.T, c Case[S]) {
	rapid.Check(t, func(t *rapid.T) {
		records, states := c.history(t)
		whole := states[len(states)-1]
		cut := rapid.IntRange(0, len(records)).Draw(t, "cut")
		var part S
		if err := json.Unmarshal(encode(t, states[cut]), &part); err != nil {
			t.Fatal(err)
		}
		for _, r := range records[cut:] {
			var err error
			if part, err = c.Fold(part, r); err != nil {
				t.Fatalf("after its stored form, %+v is refused: %v", r, err)
			}
		}
		if string(encode(t, part)) != string(encode(t, whole)) {
			t.Fatalf("folded in two parts\n%s\nwant\n%s", encode(t, part), encode(t, whole))
		}
		c.checkProjection(t, records)
		c.checkStrangers(t, whole)
	})
}

// history draws records and returns them with the states before and after each.
func (c Case[S]) history(t *rapid.T) (records []events.Record, states []S) {
	var s S
	states = append(states, s)
	stored := []string{string(encode(t, s))}
	sequence := uint64(0)
	for range rapid.IntRange(1, 30).Draw(t, "length") {
		data := c.Next(t, s)
		if data == nil {
			break
		}
		sequence += uint64(rapid.IntRange(1, 5).Draw(t, "gap"))
		r := Record(c.Subject, sequence, data)
		var err error
		if s, err = c.Fold(s, r); err != nil {
			t.Fatalf("%+v may follow %+v, and is refused: %v", data, s, err)
		}
		records, states, stored = append(records, r), append(states, s), append(stored, string(encode(t, s)))
	}
	for i, state := range states {
		if got := string(encode(t, state)); got != stored[i] {
			t.Fatalf("state %d was\n%s\nand is now\n%s", i, stored[i], got)
		}
	}
	return records, states
}

// checkProjection delivers every record twice, and all of them again at the end.
func (c Case[S]) checkProjection(t *rapid.T, records []events.Record) {
	once, twice := Tx{}, Tx{}
	step := func(tx Tx, r events.Record) {
		if err := c.Projection.Step(tx, r, nil); err != nil {
			t.Fatal(err)
		}
		if why, quarantined := tx[fmt.Sprint(projections.QuarantinePrefix, r.Sequence)]; quarantined {
			t.Fatalf("%+v is quarantined: %+v", r, why)
		}
	}
	for _, r := range records {
		step(once, r)
		step(twice, r)
		if _, present := viewOf(twice); !present {
			continue // nothing is left that could tell a duplicate
		}
		step(twice, r)
	}
	if !reflect.DeepEqual(once, twice) {
		t.Fatalf("delivered once\n%v\ntwice\n%v", once, twice)
	}
	for key, value := range once {
		raw, err := projections.Encode(value)
		if err != nil {
			t.Fatal(err)
		}
		decoded, err := c.Projection.Decode(key, raw)
		if err != nil {
			t.Fatal(err)
		}
		if again, err := projections.Encode(decoded); err != nil || string(again) != string(raw) {
			t.Fatalf("%s is stored as %s and then as %s, %v", key, raw, again, err)
		}
	}
}

func viewOf(tx Tx) (string, bool) {
	for key := range maps.Keys(tx) {
		if len(key) > 5 && key[:5] == "view." {
			return key, true
		}
	}
	return "", false
}

// checkStrangers offers an event that is no aggregate's of this kind.
func (c Case[S]) checkStrangers(t *rapid.T, s S) {
	for _, stranger := range []events.Data{
		events.FunctionAliasSet{Alias: "a", Version: "1.0.0"}, events.ExecutionCancelRequested{By: "x"},
		events.WatcherLeft{}, events.UserKeyRevoked{PublicKey: "U"},
	} {
		if area(stranger) == area(c.Next(t, *new(S))) {
			continue
		}
		WantRefused(t, c.Fold, s, Record(c.Subject, 1000, stranger))
	}
}

// area is the kind of aggregate that an event happens to.
func area(d events.Data) string {
	var name string
	for i, n := 0, 0; i < len(d.Type()); i++ {
		if d.Type()[i] == '.' {
			n++
		} else if n == 2 {
			name += string(d.Type()[i])
		}
	}
	return name
}

// WantRefused fails the test unless the fold calls the record impossible and returns the state
// as it was.
func WantRefused[S any](t interface {
	Helper()
	Fatalf(string, ...any)
}, fold func(S, events.Record) (S, error), s S, r events.Record) {
	t.Helper()
	got, err := fold(s, r)
	var impossible *events.ImpossibleError
	if !errors.As(err, &impossible) || impossible.Type != r.Data.Type() || impossible.Why == "" {
		t.Fatalf("%+v cannot follow %+v, and the fold says %v", r.Data, s, err)
	}
	if !reflect.DeepEqual(got, s) {
		t.Fatalf("a refused %s changed the state to %+v from %+v", r.Data.Type(), got, s)
	}
}

// Given folds a legal history of the subject.
func Given[S any](t *testing.T, fold func(S, events.Record) (S, error), subject string, history ...events.Data) S {
	t.Helper()
	var s S
	for i, d := range history {
		var err error
		if s, err = fold(s, Record(subject, uint64(i)+1, d)); err != nil {
			t.Fatalf("given event %d: %v", i, err)
		}
	}
	return s
}

func encode(t *rapid.T, s any) []byte {
	raw, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// Tx is the keys of a projection in a map.
type Tx map[string]any

// Get implements projections.Tx.
func (t Tx) Get(key string) (any, error) { return t[key], nil }

// Put implements projections.Tx.
func (t Tx) Put(key string, value any) { t[key] = value }

// Create implements projections.Tx.
func (t Tx) Create(key string, value any) { t.Put(key, value) }

// Delete implements projections.Tx.
func (t Tx) Delete(key string) { delete(t, key) }

// Owned implements projections.Tx.
func (t Tx) Owned(owner string, most int) ([]string, error) {
	return t.some(most, func(key string, _ any) bool {
		tokens := strings.Split(key, ".")
		return len(tokens) > 2 && tokens[1] == owner
	}), nil
}

// Quarantined implements projections.Tx.
func (t Tx) Quarantined(owner string, most int) ([]string, error) {
	return t.some(most, func(_ string, value any) bool {
		q, is := value.(projections.Quarantined)
		return is && events.OwnerOf(q.Subject) == owner
	}), nil
}

func (t Tx) some(most int, picks func(key string, value any) bool) []string {
	var keys []string
	for _, key := range slices.Sorted(maps.Keys(t)) {
		if len(keys) < most && picks(key, t[key]) {
			keys = append(keys, key)
		}
	}
	return keys
}
