package top

import (
	"bytes"
	"strings"
	"unicode"

	"github.com/charmbracelet/x/ansi"

	"github.com/hermes-serverless/hermes/services/api"
)

const (
	// keptLines is how many lines of an output can be scrolled back.
	keptLines = 2000
	// longest is how many bytes of a line are kept.
	longest = 4096
)

// output is the end of what the selected execution has printed, both streams together.
type output struct {
	lines []string
	// open is the last line, which has no end yet.
	open []byte
}

func (o *output) take(c api.Chunk) {
	for line := range bytes.Lines(c.Data) {
		if room := longest - len(o.open); room > 0 {
			o.open = append(o.open[:len(o.open):len(o.open)], line[:min(room, len(line))]...)
		}
		if line[len(line)-1] == '\n' {
			o.lines, o.open = append(o.lines, plain(o.open)), nil
		}
	}
	if extra := len(o.lines) - keptLines; extra > 0 {
		o.lines = append([]string(nil), o.lines[extra:]...)
	}
}

// all are the lines, the open one too.
func (o output) all() []string {
	if len(o.open) == 0 {
		return o.lines
	}
	return append(o.lines[:len(o.lines):len(o.lines)], plain(o.open))
}

func (o output) count() int { return len(o.all()) }

// plain is what can be shown of a line that nobody vouches for: without escape sequences, and of what
// was written over itself the last.
func plain(line []byte) string {
	text := strings.TrimRight(ansi.Strip(string(line)), "\r\n")
	text = text[strings.LastIndexByte(text, '\r')+1:]
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\t':
			return ' '
		case !unicode.IsPrint(r):
			return unicode.ReplacementChar
		}
		return r
	}, text)
}
