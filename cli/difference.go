package cli

import (
	"bytes"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/rogpeppe/go-internal/diff"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/services/api"
)

const (
	// contextLines is how many lines of an excerpt stand before the first difference, and
	// excerptLines how many there are from there on.
	contextLines = 3
	excerptLines = 20
	// longLine is past what a line of an excerpt may have; around is how many bytes of it are shown
	// before and behind the difference.
	longLine = 300
	around   = 40
)

// comparison is what `hermes execution rerun --diff` prints.
type comparison struct {
	Before executionJSON `json:"before"`
	After  executionJSON `json:"after"`
	Same   bool          `json:"same"`
	// SameEnd: status, reason and exit code are the same.
	SameEnd bool       `json:"sameEnd"`
	Stdout  difference `json:"stdout"`
	Stderr  difference `json:"stderr"`
}

// difference is where two outputs part.
type difference struct {
	Same bool `json:"same"`
	// Offset is that of the first byte that differs, Line its line, from 1; both 0 if none does.
	Offset int `json:"offset"`
	Line   int `json:"line"`
	// BytesBefore and BytesAfter are the lengths.
	BytesBefore int `json:"bytesBefore"`
	BytesAfter  int `json:"bytesAfter"`
	// Diff is a unified excerpt from there; empty for what is no text.
	Diff string `json:"diff,omitempty"`
}

func (a *app) comparison(before, after recorded) comparison {
	names := [2]string{"execution " + name(before.exec, before.exec.ID), "execution " + name(after.exec, after.exec.ID)}
	c := comparison{
		Before: a.executionJSON(before.exec), After: a.executionJSON(after.exec),
		Stdout: newDifference(names, before.out.Bytes(), after.out.Bytes()),
		Stderr: newDifference(names, before.err.Bytes(), after.err.Bytes()),
	}
	b, e := before.exec, after.exec
	c.SameEnd = b.Status == e.Status && b.Reason == e.Reason && b.ExitCode == e.ExitCode
	c.Same = c.SameEnd && c.Stdout.Same && c.Stderr.Same
	return c
}

func (c comparison) print(a *app) error {
	w := a.streams.Out
	if c.Same {
		_, err := fmt.Fprintf(w, "The output of %s and %s is the same: %s of stdout, %s of stderr.\n",
			runName(c.Before), runName(c.After), size(int64(c.Stdout.BytesAfter)), size(int64(c.Stderr.BytesAfter)))
		return err
	}
	if !c.SameEnd {
		fmt.Fprintf(w, "%s ended with %s, %s with %s.\n", runName(c.Before), endOf(c.Before), runName(c.After), endOf(c.After))
	}
	if on := [2]string{hardwareText(c.Before.Hardware), hardwareText(c.After.Hardware)}; on[0] != on[1] && on[0] != "" && on[1] != "" {
		fmt.Fprintf(w, "%s ran on %s, %s on %s.\n", runName(c.Before), on[0], runName(c.After), on[1])
	}
	for _, each := range []struct {
		name string
		d    difference
	}{{api.Stdout, c.Stdout}, {api.Stderr, c.Stderr}} {
		if err := each.d.print(a, each.name); err != nil {
			return err
		}
	}
	return nil
}

func runName(e executionJSON) string { return fmt.Sprintf("execution %d", e.RunID) }

// hardwareText says what an execution ran on, empty if that is not known.
func hardwareText(h events.Hardware) string {
	driver := ""
	if h.Driver != "" {
		driver = "driver " + h.Driver
	}
	return join(", ", h.CPUModel, strings.Join(h.GPUModels, ", "), driver)
}

func endOf(e executionJSON) string {
	text := e.Status
	if e.ExitCode != nil {
		text += fmt.Sprintf(" (code %d)", *e.ExitCode)
	} else if e.Reason != "" {
		text += " (" + e.Reason + ")"
	}
	return text
}

func (d difference) print(a *app, stream string) error {
	w := a.streams.Out
	if d.Same {
		_, err := fmt.Fprintf(w, "%s is the same: %s.\n", stream, size(int64(d.BytesAfter)))
		return err
	}
	fmt.Fprintf(w, "%s differs at byte %d, in line %d (%d and %d bytes)\n", stream, d.Offset, d.Line, d.BytesBefore, d.BytesAfter)
	for line := range strings.Lines(d.Diff) {
		text := strings.TrimSuffix(line, "\n")
		switch {
		case strings.HasPrefix(text, "-"):
			text = a.streams.Red(text)
		case strings.HasPrefix(text, "+"):
			text = a.streams.Green(text)
		}
		if _, err := fmt.Fprintln(w, text); err != nil {
			return err
		}
	}
	return nil
}

// newDifference finds where two outputs part. It names them by the executions that printed them.
func newDifference(names [2]string, before, after []byte) difference {
	d := difference{Same: bytes.Equal(before, after), BytesBefore: len(before), BytesAfter: len(after)}
	if d.Same {
		return d
	}
	for d.Offset < min(len(before), len(after)) && before[d.Offset] == after[d.Offset] {
		d.Offset++
	}
	d.Line = 1 + bytes.Count(before[:d.Offset], []byte("\n"))
	first, begin := d.Line, bytes.LastIndexByte(before[:d.Offset], '\n')+1
	for ; first > max(1, d.Line-contextLines); first-- {
		begin = bytes.LastIndexByte(before[:begin-1], '\n') + 1
	}
	old, now := excerpt(before[begin:]), excerpt(after[begin:])
	switch {
	case !utf8.Valid(old) || !utf8.Valid(now):
	case hasLongLine(old) || hasLongLine(now):
		d.Diff = fmt.Sprintf("--- %s\n+++ %s\n-%s\n+%s\n", names[0], names[1], near(before, d.Offset), near(after, d.Offset))
	default:
		_, unified, _ := strings.Cut(string(diff.Diff(names[0], old, names[1], now)), "\n")
		d.Diff = shiftHunks(unified, first-1)
	}
	return d
}

// excerpt is the first lines of a text.
func excerpt(text []byte) []byte {
	end := 0
	for range contextLines + excerptLines {
		at := bytes.IndexByte(text[end:], '\n')
		if at < 0 {
			return text
		}
		end += at + 1
	}
	return text[:end]
}

func hasLongLine(text []byte) bool {
	for line := range bytes.Lines(text) {
		if len(line) > longLine {
			return true
		}
	}
	return false
}

// near is what stands around an offset, quoted.
func near(text []byte, offset int) string {
	return fmt.Sprintf("%q", text[max(0, offset-around):min(len(text), offset+around)])
}

// shiftHunks makes the line numbers of an excerpt those of the whole.
func shiftHunks(unified string, by int) string {
	hunk := regexp.MustCompile(`(?m)^@@ -(\d+),(\d+) \+(\d+),(\d+) @@`)
	return hunk.ReplaceAllStringFunc(unified, func(text string) string {
		n := hunk.FindStringSubmatch(text)
		return fmt.Sprintf("@@ -%s,%s +%s,%s @@", shifted(n[1], by), n[2], shifted(n[3], by), n[4])
	})
}

func shifted(number string, by int) string {
	n, err := strconv.Atoi(number)
	if err != nil {
		return number
	}
	return strconv.Itoa(n + by)
}
