package cli

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"strings"

	"github.com/hermes-serverless/hermes/cli/iostreams"
	"github.com/hermes-serverless/hermes/services/api"
)

// mapInput is one of a map's inputs, to be read before the next is asked for.
type mapInput struct {
	io.Reader
	// index counts from 1.
	index int64
	// name is the file's, below the folder of the inputs; empty for a line.
	name string
}

// mapInputs are where a map's inputs come from.
type mapInputs struct {
	// total is how many there are, -1 if only the end will tell.
	total int64
	// each yields them in order. An error is the last thing it yields.
	each iter.Seq2[mapInput, error]
	// close lets go of what is open.
	close func()
}

// openMapInputs finds what path names: the lines of a file, of stdin ("-") or of a pipe, or the files
// of a folder. It fails before anything is sent.
func openMapInputs(path string, streams *iostreams.Streams) (*mapInputs, error) {
	if path == "-" {
		return &mapInputs{total: -1, each: eachLine(streams.In), close: func() {}}, nil
	}
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, api.Errorf(api.Invalid, noSuchFile, "the inputs %s do not exist", path)
	case err != nil:
		return nil, api.Errorf(api.Invalid, noSuchFile, "the inputs cannot be read: %v", err)
	case info.IsDir():
		return folderInputs(path)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, api.Errorf(api.Invalid, noSuchFile, "the inputs cannot be opened: %v", err)
	}
	in := &mapInputs{total: -1, each: eachLine(f), close: func() { _ = f.Close() }}
	if info.Mode().IsRegular() {
		if in.total, err = countLines(f); err == nil {
			_, err = f.Seek(0, io.SeekStart)
		}
	}
	if err != nil {
		in.close()
		return nil, fmt.Errorf("read the inputs: %w", err)
	}
	return in, nil
}

// countLines counts them as eachLine yields them: a last one without an end is one.
func countLines(r io.Reader) (n int64, err error) {
	part, last := make([]byte, 64<<10), byte('\n')
	for {
		got, err := r.Read(part)
		if got > 0 {
			n, last = n+int64(bytes.Count(part[:got], []byte("\n"))), part[got-1]
		}
		if errors.Is(err, io.EOF) {
			if last != '\n' {
				n++
			}
			return n, nil
		}
		if err != nil {
			return n, err
		}
	}
}

// eachLine yields the lines of what is read once, however long they are.
func eachLine(r io.Reader) iter.Seq2[mapInput, error] {
	return func(yield func(mapInput, error) bool) {
		from := bufio.NewReaderSize(r, 64<<10)
		for index := int64(1); ; index++ {
			if _, err := from.Peek(1); err != nil {
				if !errors.Is(err, io.EOF) {
					yield(mapInput{index: index}, fmt.Errorf("read line %d of the inputs: %w", index, err))
				}
				return
			}
			line := &lineReader{from: from}
			if !yield(mapInput{Reader: line, index: index}, nil) {
				return
			}
			if _, err := io.Copy(io.Discard, line); err != nil {
				yield(mapInput{index: index}, fmt.Errorf("read line %d of the inputs: %w", index, err))
				return
			}
		}
	}
}

// lineReader reads one line with its end, which a last line is given if it has none.
type lineReader struct {
	from  *bufio.Reader
	ended bool
}

func (l *lineReader) Read(p []byte) (int, error) {
	if l.ended {
		return 0, io.EOF
	}
	if len(p) == 0 {
		return 0, nil
	}
	_, err := l.from.Peek(1) // fills the buffer
	if errors.Is(err, io.EOF) {
		l.ended, p[0] = true, '\n'
		return 1, nil
	}
	if err != nil {
		return 0, err
	}
	part, err := l.from.Peek(min(len(p), l.from.Buffered()))
	if end := bytes.IndexByte(part, '\n'); end >= 0 {
		part, l.ended = part[:end+1], true
	}
	n := copy(p, part)
	_, _ = l.from.Discard(n)
	return n, err
}

// folderInputs are the files of a folder and of the folders in it, in the order of their paths.
// What begins with a dot is left out; what is neither a file nor a folder is refused, because to
// leave it out could leave out what somebody wants.
func folderInputs(dir string) (*mapInputs, error) {
	var names []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		name, relErr := filepath.Rel(dir, path)
		switch {
		case err != nil:
			return err
		case relErr != nil:
			return relErr
		case name == ".":
			return nil
		case strings.HasPrefix(d.Name(), "."):
			if d.IsDir() {
				return fs.SkipDir
			}
			return nil
		case d.IsDir():
			return nil
		}
		info, err := os.Stat(path) // of what a link names
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if err != nil || !info.Mode().IsRegular() {
			return api.Errorf(api.Invalid, notAFile, "%s is neither a file nor a folder", path).
				WithHint("take it away, or give it a name that begins with a dot: those are left out")
		}
		names = append(names, name)
		return nil
	})
	if err != nil {
		if _, ok := api.AsError(err); !ok {
			err = fmt.Errorf("read the inputs: %w", err)
		}
		return nil, err
	}
	return &mapInputs{total: int64(len(names)), each: eachFile(dir, names), close: func() {}}, nil
}

func eachFile(dir string, names []string) iter.Seq2[mapInput, error] {
	return func(yield func(mapInput, error) bool) {
		for i, name := range names {
			in := mapInput{index: int64(i) + 1, name: name}
			f, err := os.Open(filepath.Join(dir, name))
			if err != nil {
				yield(in, fmt.Errorf("open the input %s: %w", name, err))
				return
			}
			if in.Reader = f; !yield(in, nil) {
				return
			}
		}
	}
}

// label is how an input is called in messages.
func (m mapInput) label() string {
	if m.name != "" {
		return fmt.Sprintf("input %d (%s)", m.index, m.name)
	}
	return fmt.Sprintf("input %d", m.index)
}
