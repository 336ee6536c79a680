package cli

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/hermes-serverless/hermes/services/api"
)

// cutUp makes chunks of a text, as a rapid test draws them.
func cutUp(t *rapid.T, text string) []api.Chunk {
	var chunks []api.Chunk
	offset := int64(0)
	for len(text) > 0 {
		n := rapid.IntRange(1, len(text)).Draw(t, "bytes")
		stream := rapid.SampledFrom([]string{api.Stdout, api.Stderr}).Draw(t, "stream")
		chunks = append(chunks, api.Chunk{Attempt: 1, Stream: stream, Offset: offset, Data: []byte(text[:n])})
		text, offset = text[n:], offset+int64(n)
	}
	return chunks
}

// TestTailIsTheLastLines compares it with what a text of one piece says.
func TestTailIsTheLastLines(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringMatching(`[ab\n]{0,20}`).Draw(t, "text")
		n := rapid.IntRange(1, 6).Draw(t, "lines")
		lines := strings.SplitAfter(text, "\n")
		if lines[len(lines)-1] == "" {
			lines = lines[:len(lines)-1]
		}
		want := strings.Join(lines[max(0, len(lines)-n):], "")
		last := &ending{lines: n}
		for _, c := range cutUp(t, text) {
			if err := last.take(c); err != nil {
				t.Fatal(err)
			}
		}
		var got bytes.Buffer
		err := last.write(func(c api.Chunk) error {
			if at := int64(len(text) - len(want) + got.Len()); c.Offset != at {
				t.Fatalf("a chunk at %d follows %d bytes", c.Offset, at)
			}
			got.Write(c.Data)
			return nil
		})
		if err != nil || got.String() != want {
			t.Fatalf("the last %d of %q are %q, want %q; %v", n, text, got.String(), want, err)
		}
	})
}

// TestStampsStandBeforeLines: without them it is the text, and each line of each stream has one.
func TestStampsStandBeforeLines(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringMatching(`[ab\n]{0,20}`).Draw(t, "text")
		plain, got := map[string]*strings.Builder{}, map[string]*strings.Builder{}
		for _, stream := range []string{api.Stdout, api.Stderr} {
			plain[stream], got[stream] = &strings.Builder{}, &strings.Builder{}
		}
		write := stamped(func(c api.Chunk) error { got[c.Stream].Write(c.Data); return nil })
		at := time.Date(2026, 1, 2, 3, 4, 5, 6e6, time.Local)
		for _, c := range cutUp(t, text) {
			plain[c.Stream].Write(c.Data)
			c.Time = at
			if err := write(c); err != nil {
				t.Fatal(err)
			}
		}
		stamp := at.Format(stampForm)
		for stream, b := range got {
			var want strings.Builder
			for line := range strings.Lines(plain[stream].String()) {
				want.WriteString(stamp + line)
			}
			if b.String() != want.String() {
				t.Fatalf("%s is %q, want %q", stream, b.String(), want.String())
			}
		}
	})
}
