// Package logtest is the conformance suite of log.Log: whatever passes it keeps the promises of
// the interface.
package logtest

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/events/log"
)

// Subject is a log under test, empty, and what the suite may do to it.
type Subject struct {
	Log log.Log
	// Inject stores a message that is not an event, past the log.
	Inject func(t *testing.T, subject string, m events.Message)
	// Disturb breaks the log's connection and returns when it stands again; nil if there is none.
	Disturb func(t *testing.T)
	// Close ends the log for good.
	Close func()
}

// Run runs the suite. Each call of the maker returns a fresh, empty log that keeps every subject
// under "hermes.", and cleans up with t.
func Run(t *testing.T, newSubject func(t *testing.T) Subject) {
	for name, test := range map[string]func(*testing.T, Subject){
		"append expects":           testAppendExpects,
		"append repeated":          testAppendRepeated,
		"append repeated at once":  testAppendRepeatedAtOnce,
		"append refuses":           testAppendRefuses,
		"append racing":            testAppendRacing,
		"append linearizable":      testAppendLinearizable,
		"read":                     testRead,
		"read long":                testReadLong,
		"read is bounded":          testReadBounded,
		"read undecodable":         testReadUndecodable,
		"read stops":               testReadStops,
		"follow":                   testFollow,
		"follow ends with context": testFollowEnds,
		"follow disturbed":         testFollowDisturbed,
		"closed":                   testClosed,
	} {
		t.Run(name, func(t *testing.T) { test(t, newSubject(t)) })
	}
}

// deadline bounds a test that hangs; no test depends on its length.
const deadline = 60 * time.Second

func testContext(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	t.Cleanup(cancel)
	return ctx
}

// newEvent returns an event whose ID is the name.
func newEvent(name string) events.Event {
	return events.Event{
		ID: name, Source: "logtest", Time: time.Date(2026, 1, 2, 3, 4, 5, 6000, time.UTC),
		Data: events.ExecutionCancelRequested{By: name},
	}
}

func mustAppend(t *testing.T, l log.Log, subject string, expected uint64, name string) uint64 {
	t.Helper()
	sequence, err := l.Append(testContext(t), subject, expected, newEvent(name))
	if err != nil {
		t.Fatalf("append %s to %s expecting %d: %v", name, subject, expected, err)
	}
	return sequence
}

// fill appends n events to the subject, named prefix0 and so on, and returns the last sequence.
func fill(t *testing.T, l log.Log, subject, prefix string, n int) uint64 {
	t.Helper()
	last, err := l.Head(testContext(t), subject)
	if err != nil {
		t.Fatal(err)
	}
	for i := range n {
		last = mustAppend(t, l, subject, last, fmt.Sprintf("%s%d", prefix, i))
	}
	return last
}

// ids reads everything and returns the IDs; an error fails the test.
func ids(t *testing.T, l log.Log, filter string, from uint64) []string {
	t.Helper()
	var got []string
	last := uint64(0)
	for r, err := range l.Read(testContext(t), filter, from) {
		if err != nil {
			t.Fatalf("read %s from %d: %v", filter, from, err)
		}
		if r.Sequence <= last {
			t.Fatalf("sequence %d follows %d", r.Sequence, last)
		}
		last = r.Sequence
		got = append(got, r.ID)
	}
	return got
}
