// Package cast writes terminal recordings in the format asciicast v2, which asciinema and the
// players for web pages understand: https://docs.asciinema.org/manual/asciicast/v2/.
package cast

import (
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// Header says what a recording is of.
type Header struct {
	// Width and Height are the terminal's, in characters.
	Width, Height int
	// Start is the moment from which the times of the pieces count.
	Start time.Time
	Title string
}

// Writer writes a recording. Text is UTF-8, as the format demands: a character that is cut by the
// end of a piece comes with the next one, and what is no character is replaced by U+FFFD. Lines end
// with a carriage return too: a terminal would have added it.
type Writer struct {
	to    *json.Encoder
	start time.Time
	// rest are the bytes of a character that is not complete, and cr says that the byte before was
	// a carriage return, by stream.
	streams map[string]*stream
	last    time.Duration
}

type stream struct {
	rest []byte
	cr   bool
}

// NewWriter writes the header.
func NewWriter(w io.Writer, h Header) (*Writer, error) {
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	err := encoder.Encode(struct {
		Version   int    `json:"version"`
		Width     int    `json:"width"`
		Height    int    `json:"height"`
		Timestamp int64  `json:"timestamp"`
		Title     string `json:"title,omitempty"`
	}{2, h.Width, h.Height, h.Start.Unix(), h.Title})
	if err != nil {
		return nil, fmt.Errorf("write the recording: %w", err)
	}
	return &Writer{to: encoder, start: h.Start, streams: map[string]*stream{}}, nil
}

// Write adds a piece that one of the streams showed at a moment. Moments that go backwards count as
// the latest one.
func (w *Writer) Write(name string, at time.Time, data []byte) error {
	s := w.streams[name]
	if s == nil {
		s = &stream{}
		w.streams[name] = s
	}
	w.last = max(w.last, at.Sub(w.start))
	data = append(s.rest, data...)
	whole := len(data) - cutCharacter(data)
	s.rest = append([]byte(nil), data[whole:]...)
	return w.put(s.text(data[:whole]))
}

// Close adds what is left of characters that never were completed.
func (w *Writer) Close() error {
	for _, s := range w.streams {
		if err := w.put(s.text(s.rest)); err != nil {
			return err
		}
	}
	return nil
}

func (w *Writer) put(text string) error {
	if text == "" {
		return nil
	}
	// To the microsecond: more digits are noise.
	seconds := strconv.FormatFloat(float64(w.last.Microseconds())/1e6, 'f', -1, 64)
	if err := w.to.Encode([]any{json.Number(seconds), "o", text}); err != nil {
		return fmt.Errorf("write the recording: %w", err)
	}
	return nil
}

func (s *stream) text(data []byte) string {
	var text strings.Builder
	for _, r := range strings.ToValidUTF8(string(data), string(utf8.RuneError)) {
		if r == '\n' && !s.cr {
			text.WriteByte('\r')
		}
		text.WriteRune(r)
		s.cr = r == '\r'
	}
	return text.String()
}

// cutCharacter is how many bytes at the end begin a character that needs more.
func cutCharacter(data []byte) int {
	for n := 1; n < utf8.UTFMax && n <= len(data); n++ {
		if first := data[len(data)-n]; utf8.RuneStart(first) {
			if !utf8.FullRune(data[len(data)-n:]) {
				return n
			}
			return 0
		}
	}
	return 0
}
