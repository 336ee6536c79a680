package logtest

import (
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/events/log"
)

func testAppendExpects(t *testing.T, s Subject) {
	ctx := testContext(t)
	first := mustAppend(t, s.Log, "hermes.a", 0, "one")
	other := mustAppend(t, s.Log, "hermes.b", 0, "other")
	if first == 0 || other <= first {
		t.Fatalf("sequences %d, %d: must grow from 1", first, other)
	}
	for _, expected := range []uint64{0, first - 1, other, other + 1} {
		if expected == first {
			continue
		}
		if _, err := s.Log.Append(ctx, "hermes.a", expected, newEvent(fmt.Sprint("wrong", expected))); !errors.Is(err, log.ErrConflict) {
			t.Errorf("expecting %d of a subject at %d: %v, want ErrConflict", expected, first, err)
		}
	}
	second := mustAppend(t, s.Log, "hermes.a", first, "two")
	for subject, want := range map[string]uint64{
		"hermes.a": second, "hermes.b": other, "hermes.none": 0, "hermes.*": second, "hermes.>": second,
	} {
		if got, err := s.Log.Head(ctx, subject); err != nil || got != want {
			t.Errorf("head of %s: %d, %v, want %d", subject, got, err, want)
		}
	}
}

func testAppendRepeated(t *testing.T, s Subject) {
	ctx := testContext(t)
	again := func(expected, want uint64, name string) {
		t.Helper()
		if got, err := s.Log.Append(ctx, "hermes.a", expected, newEvent(name)); err != nil || got != want {
			t.Fatalf("repeated append of %s: %d, %v, want %d", name, got, err, want)
		}
	}
	first := mustAppend(t, s.Log, "hermes.a", 0, "one")
	again(0, first, "one")
	second := mustAppend(t, s.Log, "hermes.a", first, "two")
	again(first, second, "two")
	// The answer to the first was lost, and somebody appended behind it.
	again(0, first, "one")
	// The ID is the subject's last, whatever is expected.
	again(0, second, "two")
	if got := ids(t, s.Log, "hermes.a", 0); len(got) != 2 {
		t.Fatalf("the log holds %v", got)
	}
}

func testAppendRepeatedAtOnce(t *testing.T, s Subject) {
	ctx := testContext(t)
	expected := uint64(0)
	for round := range 10 {
		const n = 4
		var wg sync.WaitGroup
		var sequences [n]uint64
		var errs [n]error
		for i := range n {
			wg.Go(func() {
				sequences[i], errs[i] = s.Log.Append(ctx, "hermes.a", expected, newEvent(fmt.Sprint("round", round)))
			})
		}
		wg.Wait()
		for i := range n {
			if errs[i] != nil || sequences[i] != sequences[0] {
				t.Fatalf("round %d: %v, %v", round, sequences, errs)
			}
		}
		expected = sequences[0]
	}
	if got := ids(t, s.Log, "hermes.a", 0); len(got) != 10 {
		t.Fatalf("the log holds %v", got)
	}
}

func testAppendRefuses(t *testing.T, s Subject) {
	ctx := testContext(t)
	for _, subject := range []string{"", "hermes.*", "hermes.>", "hermes..a", "hermes.a b"} {
		if _, err := s.Log.Append(ctx, subject, 0, newEvent("one")); err == nil || errors.Is(err, log.ErrConflict) {
			t.Errorf("subject %q: %v, want a refusal", subject, err)
		}
	}
	if _, err := s.Log.Append(ctx, "hermes.a", 0, events.Event{ID: "one"}); err == nil {
		t.Error("an event without data was stored")
	}
	if head, err := s.Log.Head(ctx, "hermes.>"); err != nil || head != 0 {
		t.Errorf("head is %d, %v after refusals only", head, err)
	}
}

// testAppendRacing lets eight writers race for each place of one subject: one wins each round.
func testAppendRacing(t *testing.T, s Subject) {
	const writers, rounds = 8, 30
	ctx := testContext(t)
	expected := uint64(0)
	for round := range rounds {
		var wg sync.WaitGroup
		var sequences [writers]uint64
		var errs [writers]error
		for w := range writers {
			wg.Go(func() {
				sequences[w], errs[w] = s.Log.Append(ctx, "hermes.a", expected, newEvent(fmt.Sprint(round, "-", w)))
			})
		}
		wg.Wait()
		won := uint64(0)
		for w, err := range errs {
			switch {
			case err == nil && won != 0:
				t.Fatalf("round %d has two winners", round)
			case err == nil:
				won = sequences[w]
			case !errors.Is(err, log.ErrConflict):
				t.Fatalf("round %d: %v", round, err)
			}
		}
		if won <= expected {
			t.Fatalf("round %d has no winner: %v", round, errs)
		}
		expected = won
	}
	if got := ids(t, s.Log, "hermes.a", 0); len(got) != rounds {
		t.Fatalf("%d events stored in %d rounds", len(got), rounds)
	}
}
