package cli

import (
	"bytes"

	"github.com/hermes-serverless/hermes/services/api"
)

// only leaves out the chunks of other streams.
func only(stream string, write func(api.Chunk) error) func(api.Chunk) error {
	return func(c api.Chunk) error {
		if c.Stream != stream {
			return nil
		}
		return write(c)
	}
}

// stampForm is how a line says when it was printed.
const stampForm = "2006-01-02T15:04:05.000Z07:00 "

// stamped says before each line when its first piece was printed.
func stamped(write func(api.Chunk) error) func(api.Chunk) error {
	within := map[string]bool{} // by stream
	return func(c api.Chunk) error {
		stamp := c.Time.Local().Format(stampForm)
		var text bytes.Buffer
		for line := range bytes.Lines(c.Data) {
			if !within[c.Stream] {
				text.WriteString(stamp)
			}
			text.Write(line)
			within[c.Stream] = line[len(line)-1] != '\n'
		}
		c.Data = text.Bytes()
		return write(c)
	}
}

// ending keeps the last lines of an output: of both streams together, as they were printed.
type ending struct {
	lines  int
	chunks []api.Chunk
}

func (t *ending) take(c api.Chunk) error {
	t.chunks = append(t.chunks, c)
	return nil
}

// write hands over what is kept. A last line that has no end is a line.
func (t *ending) write(write func(api.Chunk) error) error {
	first, at := t.begin()
	for i, c := range t.chunks[first:] {
		if i == 0 {
			c.Offset, c.Data = c.Offset+int64(at), c.Data[at:]
		}
		if len(c.Data) == 0 {
			continue
		}
		if err := write(c); err != nil {
			return err
		}
	}
	return nil
}

// begin is the chunk, and the place in it, where the lines begin.
func (t *ending) begin() (chunk, at int) {
	ends, last := 0, true
	for i := len(t.chunks) - 1; i >= 0; i-- {
		data := t.chunks[i].Data
		for end := len(data); end > 0; last = false {
			at := bytes.LastIndexByte(data[:end], '\n')
			if at < 0 {
				break
			}
			// The very last byte ends the last line; it does not begin another.
			if !last || at < len(data)-1 {
				if ends++; ends == t.lines {
					return i, at + 1
				}
			}
			end = at
		}
		last = last && len(data) == 0
	}
	return 0, 0
}
