package accounts

import (
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/hermes-serverless/hermes/events"
)

func TestTally(t *testing.T) {
	ana := fact{"ana", "192.0.2.1", events.LoginPassword}
	y := newTally(time.Minute, 10)
	if !y.note(ana, at) {
		t.Error("the first is not told at once")
	}
	if told := y.due(at, false); len(told) != 1 || told[0] != (counted{ana, 1, at}) {
		t.Errorf("told %+v", told)
	}
	for i := range 5 {
		if y.note(ana, at.Add(time.Duration(i+1)*time.Second)) {
			t.Error("the next is told at once")
		}
	}
	if told := y.due(at.Add(59*time.Second), false); len(told) != 0 {
		t.Errorf("within the window: told %+v", told)
	}
	if told := y.due(at.Add(time.Minute), false); len(told) != 1 || told[0] != (counted{ana, 5, at.Add(time.Second)}) {
		t.Errorf("behind the window: told %+v", told)
	}
	if told := y.due(at.Add(2*time.Minute), false); len(told) != 0 || len(y.open) != 0 {
		t.Errorf("after a quiet window: told %+v, kept %d", told, len(y.open))
	}
	if !y.note(ana, at.Add(3*time.Minute)) {
		t.Error("after a quiet window the first is not told at once")
	}
}

// TestTallyIsBounded: whatever comes, nothing is lost, and few events tell of it.
func TestTallyIsBounded(t *testing.T) {
	reasons := []string{events.LoginPassword, events.LoginThrottled, events.LoginKey}
	rapid.Check(t, func(t *rapid.T) {
		const most = 3
		y, now, noted, told := newTally(time.Minute, most), at, int64(0), int64(0)
		lines := 0
		steps := rapid.IntRange(1, 300).Draw(t, "steps")
		for range steps {
			f := fact{
				fmt.Sprint("user", rapid.IntRange(0, 5).Draw(t, "user")), fmt.Sprint("192.0.2.", rapid.IntRange(0, 5).Draw(t, "address")),
				rapid.SampledFrom(reasons).Draw(t, "reason"),
			}
			y.note(f, now)
			noted++
			now = now.Add(time.Duration(rapid.IntRange(0, 20_000).Draw(t, "millis")) * time.Millisecond)
			for _, c := range y.due(now, false) {
				told += c.n
				lines++
			}
			if len(y.open) > most+len(reasons) {
				t.Fatalf("%d are told apart", len(y.open))
			}
		}
		for _, c := range y.due(now, true) {
			told += c.n
			lines++
		}
		windows := int(now.Sub(at)/time.Minute) + 1
		if told != noted {
			t.Fatalf("%d were noted, and %d told", noted, told)
		}
		if lines > 2*(most+len(reasons))*(windows+1) {
			t.Fatalf("%d lines in %d windows", lines, windows)
		}
	})
}
