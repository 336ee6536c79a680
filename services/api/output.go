package api

import (
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
)

// Headers of the messages on an output subject. A chunk's payload is the raw bytes, so that the
// stock nats CLI shows them as they were printed.
const (
	HeaderStream  = "Hermes-Stream"  // "stdout", "stderr", "end"
	HeaderOffset  = "Hermes-Offset"  // bytes of both streams together before this chunk
	HeaderAttempt = "Hermes-Attempt" // from 1
	HeaderTime    = "Hermes-Time"    // RFC 3339 with nanoseconds, when the watcher read it
	// HeaderPage holds the OutputPage of an answer to OpExecutionOutput.
	HeaderPage = "Hermes-Page"
)

// Streams of output.
const (
	Stdout = "stdout"
	Stderr = "stderr"
	// End is the last message of an attempt: its payload is an OutputEnd.
	End = "end"
)

// Chunk is a piece of output.
type Chunk struct {
	Attempt int
	Stream  string
	// Offset counts the bytes of both streams before this chunk.
	Offset int64
	Time   time.Time
	Data   []byte
}

// OutputEnd is the payload of the end message: what was sent in all.
type OutputEnd struct {
	Attempt     int    `json:"attempt"`
	StdoutBytes int64  `json:"stdoutBytes"`
	StderrBytes int64  `json:"stderrBytes"`
	Chunks      int64  `json:"chunks"`
	SHA256      string `json:"sha256"`
	// Cut says why the output is not complete; empty when it is.
	Cut string `json:"cut,omitempty"`
}

// Message returns the chunk as a message. Its message id makes a repeated publish harmless. The id
// counts in the whole stream, so it begins with a name of the sender that nobody can guess: who
// used it first would have the chunk dropped.
func (c Chunk) Message(subject, sender string) *nats.Msg {
	m := nats.NewMsg(subject)
	m.Data = c.Data
	m.Header.Set(HeaderStream, c.Stream)
	m.Header.Set(HeaderOffset, strconv.FormatInt(c.Offset, 10))
	m.Header.Set(HeaderAttempt, strconv.Itoa(c.Attempt))
	m.Header.Set(HeaderTime, c.Time.UTC().Format(time.RFC3339Nano))
	m.Header.Set(nats.MsgIdHdr, fmt.Sprintf("%s.%d.%d.%s", sender, c.Attempt, c.Offset, c.Stream))
	return m
}

// ParseChunk reads a message of an output subject. The end message is a Chunk with Stream End.
func ParseChunk(m *nats.Msg) (Chunk, error) {
	c := Chunk{Stream: m.Header.Get(HeaderStream), Data: m.Data}
	if c.Stream != Stdout && c.Stream != Stderr && c.Stream != End {
		return Chunk{}, fmt.Errorf("output message of unknown stream %q", c.Stream)
	}
	var err error
	if c.Offset, err = strconv.ParseInt(m.Header.Get(HeaderOffset), 10, 64); err != nil || c.Offset < 0 {
		return Chunk{}, fmt.Errorf("output message with bad offset %q", m.Header.Get(HeaderOffset))
	}
	if c.Attempt, err = strconv.Atoi(m.Header.Get(HeaderAttempt)); err != nil || c.Attempt < 1 {
		return Chunk{}, fmt.Errorf("output message with bad attempt %q", m.Header.Get(HeaderAttempt))
	}
	if c.Time, err = time.Parse(time.RFC3339Nano, m.Header.Get(HeaderTime)); err != nil {
		return Chunk{}, fmt.Errorf("output message with bad time: %w", err)
	}
	return c, nil
}

// End decodes the payload of the end message.
func (c Chunk) End() (OutputEnd, error) {
	var e OutputEnd
	if c.Stream != End {
		return e, fmt.Errorf("a %s chunk is not the end", c.Stream)
	}
	if err := json.Unmarshal(c.Data, &e); err != nil {
		return e, fmt.Errorf("end of output: %w", err)
	}
	return e, nil
}

// OutputPage describes the raw bytes of an answer to OpExecutionOutput: the payload is the pieces'
// bytes one after the other. It stands in HeaderPage as JSON.
type OutputPage struct {
	Attempt int `json:"attempt"`
	// Begin is the offset with which the page begins, or would if it held anything.
	Begin  int64         `json:"begin,omitempty"`
	Pieces []OutputPiece `json:"pieces,omitempty"`
	// Next is the offset to ask for next, and Cursor what makes that cheap: give both back.
	Next   int64  `json:"next"`
	Cursor uint64 `json:"cursor,omitempty"`
	// End is set when everything up to the end is in this or earlier pages.
	End *OutputEnd `json:"end,omitempty"`
	// Live: the attempt may still print.
	Live bool `json:"live,omitempty"`
	// Gone is set when the store has let go of what was asked for: the page then begins behind it.
	Gone *OutputGone `json:"gone,omitempty"`
}

// OutputGone says what is not stored any more.
type OutputGone struct {
	Bytes int64 `json:"bytes"`
	// Why says it for people, and when it went.
	Why string `json:"why"`
}

// OutputPiece is a run of bytes of one stream.
type OutputPiece struct {
	Stream string    `json:"stream"`
	Offset int64     `json:"offset"`
	Bytes  int       `json:"bytes"`
	Time   time.Time `json:"time"`
}

// Chunks cuts the raw bytes of an answer into chunks again.
func (p OutputPage) Chunks(raw []byte) ([]Chunk, error) {
	chunks := make([]Chunk, 0, len(p.Pieces))
	for _, piece := range p.Pieces {
		if piece.Bytes < 0 || piece.Bytes > len(raw) {
			return nil, fmt.Errorf("output page: %d bytes announced, %d there", piece.Bytes, len(raw))
		}
		chunks = append(chunks, Chunk{
			Attempt: p.Attempt, Stream: piece.Stream, Offset: piece.Offset, Time: piece.Time, Data: raw[:piece.Bytes],
		})
		raw = raw[piece.Bytes:]
	}
	return chunks, nil
}
