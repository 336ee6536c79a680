// Package iostreams holds what a command reads from and writes to, so that a test can give it
// buffers, pipes or a pseudo-terminal.
package iostreams

import (
	"io"
	"os"

	"golang.org/x/term"
)

// Streams are the three standard streams and what is known of them.
type Streams struct {
	In  io.Reader
	Out io.Writer
	Err io.Writer

	// InTerminal, OutTerminal and ErrTerminal say whether a person sits at the other end.
	InTerminal, OutTerminal, ErrTerminal bool
	// Colour says whether Out may carry escape sequences.
	Colour bool
}

// System returns the process's own streams. Colour needs a terminal that knows it and no NO_COLOR.
func System() *Streams {
	s := &Streams{
		In: os.Stdin, Out: os.Stdout, Err: os.Stderr,
		InTerminal:  term.IsTerminal(int(os.Stdin.Fd())),
		OutTerminal: term.IsTerminal(int(os.Stdout.Fd())),
		ErrTerminal: term.IsTerminal(int(os.Stderr.Fd())),
	}
	s.Colour = s.OutTerminal && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
	return s
}

// Interactive says whether a question can be asked and answered: questions stand on Err, so that
// Out can be piped.
func (s *Streams) Interactive() bool { return s.InTerminal && s.ErrTerminal }

// OutSize is how large the terminal at Out is, in characters; 0 if it is none.
func (s *Streams) OutSize() (columns, rows int) {
	f, ok := s.Out.(*os.File)
	if !ok || !s.OutTerminal {
		return 0, 0
	}
	columns, rows, err := term.GetSize(int(f.Fd()))
	if err != nil {
		return 0, 0
	}
	return columns, rows
}

// The few styles there are. They return the text as it is where colour is off.
const (
	bold   = "\x1b[1m"
	red    = "\x1b[31m"
	green  = "\x1b[32m"
	yellow = "\x1b[33m"
	faint  = "\x1b[2m"
	reset  = "\x1b[0m"
)

// Bold is for headings.
func (s *Streams) Bold(text string) string { return s.paint(bold, text) }

// Red is for what failed.
func (s *Streams) Red(text string) string { return s.paint(red, text) }

// Green is for what succeeded.
func (s *Streams) Green(text string) string { return s.paint(green, text) }

// Yellow is for what goes on.
func (s *Streams) Yellow(text string) string { return s.paint(yellow, text) }

// Faint is for what matters less.
func (s *Streams) Faint(text string) string { return s.paint(faint, text) }

func (s *Streams) paint(style, text string) string {
	if !s.Colour || text == "" {
		return text
	}
	return style + text + reset
}
