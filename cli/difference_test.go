package cli

import (
	"bytes"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/hermes-serverless/hermes/cli/iostreams"
	"github.com/hermes-serverless/hermes/events"
)

// TestDifferenceIsTheFirstByte checks the offset and the line against the texts themselves, and that
// there is an excerpt that tells it.
func TestDifferenceIsTheFirstByte(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringMatching(`[ab\n]{0,30}`)
		before, after := text.Draw(t, "before"), text.Draw(t, "after")
		if rapid.Bool().Draw(t, "alike") {
			after = before[:rapid.IntRange(0, len(before)).Draw(t, "cut")] + after
		}
		d := newDifference([2]string{"a", "b"}, []byte(before), []byte(after))
		if d.Same != (before == after) {
			t.Fatalf("%q and %q are the same: %v", before, after, d.Same)
		}
		if d.Same {
			return
		}
		if before[:d.Offset] != after[:d.Offset] || d.Offset < min(len(before), len(after)) && before[d.Offset] == after[d.Offset] {
			t.Fatalf("%q and %q differ at %d", before, after, d.Offset)
		}
		if d.Line != 1+strings.Count(before[:d.Offset], "\n") || d.Diff == "" {
			t.Fatalf("%q and %q differ in line %d: %q", before, after, d.Line, d.Diff)
		}
	})
}

func TestDifferenceIsShown(t *testing.T) {
	names := [2]string{"execution 1", "execution 2"}
	numbered := func(n int, at int, instead string) string {
		var b strings.Builder
		for i := 1; i <= n; i++ {
			if i == at {
				b.WriteString(instead)
			} else {
				b.WriteString("line\n")
			}
		}
		return b.String()
	}
	for name, c := range map[string]struct{ before, after, want string }{
		"a line in the middle": {numbered(1000, 500, "old\n"), numbered(1000, 500, "new\n"),
			"--- execution 1\n+++ execution 2\n@@ -497,7 +497,7 @@\n line\n line\n line\n-old\n+new\n line\n line\n line\n"},
		"the first line": {"a\nb\n", "c\nb\n", "--- execution 1\n+++ execution 2\n@@ -1,2 +1,2 @@\n-a\n+c\n b\n"},
		"no text":        {"\xff\xfe", "\xff\xfd", ""},
		"a long line":    {strings.Repeat("x", 1000) + "1", strings.Repeat("x", 1000) + "2", "--- execution 1\n+++ execution 2\n-\"" + strings.Repeat("x", around) + "1\"\n+\"" + strings.Repeat("x", around) + "2\"\n"},
	} {
		if d := newDifference(names, []byte(c.before), []byte(c.after)); d.Diff != c.want {
			t.Errorf("%s:\n%s\nwant\n%s", name, d.Diff, c.want)
		}
	}
}

// TestOtherHardwareIsTold where the outputs differ, and both are known.
func TestOtherHardwareIsTold(t *testing.T) {
	one := events.Hardware{CPUModel: "a CPU", GPUModels: []string{"NVIDIA A100", "NVIDIA A100"}, Driver: "550.54"}
	for want, c := range map[string]comparison{
		"execution 1 ran on a CPU, NVIDIA A100, NVIDIA A100, driver 550.54, execution 2 on another CPU.\n": {
			Before: executionJSON{RunID: 1, Hardware: one}, After: executionJSON{RunID: 2, Hardware: events.Hardware{CPUModel: "another CPU"}},
		},
		"":               {Before: executionJSON{RunID: 1, Hardware: one}, After: executionJSON{RunID: 2, Hardware: one}},
		"stdout differs": {Before: executionJSON{RunID: 1, Hardware: one}, After: executionJSON{RunID: 2}},
	} {
		c.SameEnd, c.Stderr.Same = true, true
		var out bytes.Buffer
		if err := c.print(newApp(&iostreams.Streams{Out: &out})); err != nil || !strings.HasPrefix(out.String(), want) || want == "" && strings.Contains(out.String(), "ran on") {
			t.Errorf("%v; it says %q, want %q", err, out.String(), want)
		}
	}
}
