package cli

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/term"

	"github.com/hermes-serverless/hermes/services/api"
)

// questions are put to a person at a terminal, or answered by lines of stdin for --password-stdin.
type questions struct {
	app   *app
	lines *bufio.Reader
	// stdin: the password, and what else is secret, are the lines of stdin.
	stdin bool
}

func (a *app) questions(stdin bool) *questions {
	return &questions{app: a, lines: bufio.NewReader(a.streams.In), stdin: stdin}
}

// line asks for what may be seen.
func (q *questions) line(prompt string) (string, error) {
	if q.stdin || !q.app.streams.Interactive() {
		return "", usage("%q cannot be asked for without a terminal", strings.TrimSpace(prompt)).WithHint("give it as an argument")
	}
	fmt.Fprint(q.app.streams.Err, prompt)
	return q.read()
}

// secret asks for what may not be seen.
func (q *questions) secret(prompt string) (string, error) {
	if q.stdin {
		return q.read()
	}
	in, ok := q.app.streams.In.(*os.File)
	if !ok || !q.app.streams.Interactive() {
		return "", usage("%q cannot be asked for without a terminal", strings.TrimSpace(prompt)).
			WithHint("--password-stdin takes the password from a pipe")
	}
	fmt.Fprint(q.app.streams.Err, prompt)
	defer fmt.Fprintln(q.app.streams.Err)
	return q.hidden(int(in.Fd()))
}

// hidden reads a line that does not appear. An interrupt leaves the terminal as it was.
func (q *questions) hidden(fd int) (string, error) {
	before, err := term.GetState(fd)
	if err != nil {
		return "", fmt.Errorf("ask the terminal: %w", err)
	}
	interrupted, stop := q.app.notify()
	defer stop()
	type answer struct {
		raw []byte
		err error
	}
	read := make(chan answer, 1)
	go func() {
		raw, err := term.ReadPassword(fd)
		read <- answer{raw, err}
	}()
	select {
	case a := <-read:
		defer clear(a.raw)
		if a.err != nil {
			return "", fmt.Errorf("read the answer: %w", a.err)
		}
		return string(a.raw), nil
	case <-interrupted:
		_ = term.Restore(fd, before) // the program ends now
		return "", &exitError{code: exitCancelled}
	}
}

func (q *questions) read() (string, error) {
	line, err := q.lines.ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return "", fmt.Errorf("read the answer: %w", err)
	}
	if line == "" {
		if q.stdin {
			return "", usage("stdin has ended before the password")
		}
		return "", &exitError{code: exitCancelled}
	}
	return strings.TrimRight(line, "\r\n"), nil
}

// newPassword asks twice, until both are the same and the server will take it. what is what it is called.
func (q *questions) newPassword(what string) (string, error) {
	for {
		password, err := q.secret(what + ": ")
		if err != nil {
			return "", err
		}
		wrong := api.CheckPassword(password)
		if q.stdin {
			if wrong != nil {
				return "", usage("%v", wrong)
			}
			return password, nil
		}
		if wrong != nil {
			fmt.Fprintf(q.app.streams.Err, "%v\n", wrong)
			continue
		}
		again, err := q.secret("Confirm " + strings.ToLower(what) + ": ")
		if err != nil {
			return "", err
		}
		if again == password {
			return password, nil
		}
		fmt.Fprintln(q.app.streams.Err, "The passwords are not the same. Try again.")
	}
}
