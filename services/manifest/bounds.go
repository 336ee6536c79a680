package manifest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"github.com/hermes-serverless/hermes/events"
)

// Limit is a key of the file that bounds a run.
type Limit struct {
	Name string
	// Text says a value as the file may have it.
	Text func(int64) string
	// Of is where the value is kept.
	Of   func(*events.Limits) *int64
	read func(*Manifest, json.RawMessage) error
}

// Limits are all of them, in the file's order.
func Limits() []Limit {
	return []Limit{
		{"timeout", TimeoutText, func(l *events.Limits) *int64 { return &l.TimeoutMillis }, readTimeout},
		{"memory", SizeText, func(l *events.Limits) *int64 { return &l.MemoryBytes }, readMemory},
		{"cpus", CPUsText, func(l *events.Limits) *int64 { return &l.CPUMillis }, readCPUs},
		{"pids", countText, func(l *events.Limits) *int64 { return &l.PIDs }, readPIDs},
		{"tmp", SizeText, func(l *events.Limits) *int64 { return &l.TmpBytes }, readTmp},
		{"output", SizeText, func(l *events.Limits) *int64 { return &l.OutputBytes }, readOutput},
		{"results", SizeText, func(l *events.Limits) *int64 { return &l.ResultsBytes }, readResults},
	}
}

func countText(n int64) string { return strconv.FormatInt(n, 10) }

// Within says by an *Error, with their lines, which limits of a file that Parse takes are above
// maxima. A maximum of 0 is none.
func Within(raw []byte, maxima events.Limits) error {
	p := parser{raw: bytes.TrimPrefix(raw, []byte("\uFEFF"))}
	var m Manifest
	lines := p.readInto(&m)
	for _, l := range Limits() {
		if asked, most := *l.Of(&m.Config.Limits), *l.Of(&maxima); most > 0 && asked > most {
			p.problem(lines[l.Name], l.Name, fmt.Sprintf("%s is asked for, at most %s is allowed", l.Text(asked), l.Text(most)))
		}
	}
	return p.err()
}

// SetLimit sets one limit from a key and a value that are spelt as in the file.
func SetLimit(to *events.Limits, key, value string) error {
	var names []string
	for _, l := range Limits() {
		if l.Name == key {
			m := Manifest{}
			if err := l.read(&m, valueOf(value)); err != nil {
				return fmt.Errorf("%s: %w", key, err)
			}
			*l.Of(to) = *l.Of(&m.Config.Limits)
			return nil
		}
		names = append(names, l.Name)
	}
	return fmt.Errorf("%q is no limit; the limits are %s", key, strings.Join(names, ", "))
}

// valueOf is a number where the text is one, a string otherwise.
func valueOf(text string) json.RawMessage {
	if raw := json.RawMessage(text); json.Valid(raw) && kindOf(raw) == "a number" {
		return raw
	}
	raw, _ := json.Marshal(text) // a string always has a form
	return raw
}
