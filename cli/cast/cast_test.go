package cast_test

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"pgregory.net/rapid"

	"github.com/hermes-serverless/hermes/cli/cast"
	"github.com/hermes-serverless/hermes/events/leaktest"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

// read plays a recording: its header, the times and the whole text.
func read(t interface{ Fatal(...any) }, raw []byte) (header map[string]any, times []float64, text string) {
	lines := bytes.Split(bytes.TrimSuffix(raw, []byte("\n")), []byte("\n"))
	if err := json.Unmarshal(lines[0], &header); err != nil {
		t.Fatal(err)
	}
	for _, line := range lines[1:] {
		var event []any
		if err := json.Unmarshal(line, &event); err != nil {
			t.Fatal(err)
		}
		if len(event) != 3 || event[1] != "o" {
			t.Fatal("not an event of output: ", string(line))
		}
		times = append(times, event[0].(float64))
		text += event[2].(string)
	}
	return header, times, text
}

func TestRecordingIsAsTheFormatDemands(t *testing.T) {
	var b bytes.Buffer
	start := time.Unix(1_700_000_000, 0)
	w, err := cast.NewWriter(&b, cast.Header{Width: 80, Height: 24, Start: start, Title: "a <title>"})
	if err != nil {
		t.Fatal(err)
	}
	for i, piece := range []string{"one\ntwo\r", "\nthr\xc3", "\xa9e\n", "\xff", "\xc3"} {
		if err := w.Write("stdout", start.Add(time.Duration(i)*1500*time.Millisecond), []byte(piece)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	want := `{"version":2,"width":80,"height":24,"timestamp":1700000000,"title":"a <title>"}
[0,"o","one\r\ntwo\r"]
[1.5,"o","\nthr"]
[3,"o","ée\r\n"]
[4.5,"o","` + "\ufffd" + `"]
[6,"o","` + "\ufffd" + `"]
`
	if b.String() != want {
		t.Errorf("wrote\n%s\nwant\n%s", b.String(), want)
	}
}

// TestRecordingIsTheText cuts texts anywhere: played, they are the text with a terminal's ends of
// lines, and time never goes backwards.
func TestRecordingIsTheText(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringMatching(`[aé€😀\n]{0,30}`).Draw(t, "text")
		start := time.Unix(0, 0)
		var b bytes.Buffer
		w, err := cast.NewWriter(&b, cast.Header{Width: 1, Height: 1, Start: start})
		if err != nil {
			t.Fatal(err)
		}
		for rest := []byte(text); len(rest) > 0; {
			n := rapid.IntRange(1, len(rest)).Draw(t, "bytes")
			at := start.Add(time.Duration(rapid.IntRange(0, 10).Draw(t, "second")) * time.Second)
			if err := w.Write("stdout", at, rest[:n]); err != nil {
				t.Fatal(err)
			}
			rest = rest[n:]
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		_, times, got := read(t, b.Bytes())
		if want := strings.ReplaceAll(text, "\n", "\r\n"); got != want || !utf8.ValidString(got) {
			t.Fatalf("it plays %q, want %q", got, want)
		}
		for i := 1; i < len(times); i++ {
			if times[i] < times[i-1] {
				t.Fatalf("the times are %v", times)
			}
		}
	})
}
