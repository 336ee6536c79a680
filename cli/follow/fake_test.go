package follow

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/projections/executions"
	"github.com/hermes-serverless/hermes/services/api"
)

// fakeServer is a Source with one execution that the test moves on by hand.
type fakeServer struct {
	mu      sync.Mutex
	changed chan struct{}
	exec    api.Execution
	chunks  []api.Chunk // of the current attempt, in order
	end     *api.OutputEnd
	away    bool
	// deaf: who waits is told of nothing but the time being over.
	deaf   bool
	notYet bool
	// pageBytes is about how much a page holds.
	pageBytes int
	// fromAttempt and from are where the follower begins.
	fromAttempt int
	from        int64
	inspects    int
	outputs     int
	// gone is told when the first chunks have been let go of.
	gone *api.OutputGone
	read int // chunks that were looked at for pages
}

func newFakeServer() *fakeServer {
	s := &fakeServer{changed: make(chan struct{}), pageBytes: 1 << 20}
	s.exec.ID, s.exec.Status = "01", executions.Queued
	s.exec.Sequence = 1
	return s
}

// change lets the test alter the state, and wakes who waits.
func (s *fakeServer) change(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
	s.exec.Sequence++
	close(s.changed)
	s.changed = make(chan struct{})
}

func (s *fakeServer) start(attempt int, watcher string) {
	s.change(func() {
		s.exec.Status, s.exec.Attempt, s.exec.Watcher = executions.Running, attempt, watcher
		s.chunks, s.end = nil, nil
	})
}

// print stores a chunk and returns it as it would be sent.
func (s *fakeServer) print(stream, text string) Message {
	s.mu.Lock()
	defer s.mu.Unlock()
	offset := int64(0)
	if n := len(s.chunks); n > 0 {
		offset = s.chunks[n-1].Offset + int64(len(s.chunks[n-1].Data))
	}
	c := api.Chunk{Attempt: s.exec.Attempt, Stream: stream, Offset: offset, Data: []byte(text)}
	s.chunks = append(s.chunks, c)
	return Message{Watcher: s.exec.Watcher, Chunk: c}
}

// finish ends the execution and returns the end message.
func (s *fakeServer) finish(status executions.Status) Message {
	var end api.OutputEnd
	s.change(func() {
		out, errOut, sum := s.sum()
		end = api.OutputEnd{Attempt: s.exec.Attempt, StdoutBytes: out, StderrBytes: errOut, Chunks: int64(len(s.chunks)), SHA256: sum}
		s.exec.Status, s.end = status, &end
		s.exec.Output = events.Output{StdoutBytes: out, StderrBytes: errOut, Chunks: end.Chunks, SHA256: sum}
	})
	raw, _ := json.Marshal(end)
	return Message{Watcher: s.exec.Watcher, Chunk: api.Chunk{
		Attempt: end.Attempt, Stream: api.End, Offset: end.StdoutBytes + end.StderrBytes, Data: raw,
	}}
}

// letGo forgets the first chunks.
func (s *fakeServer) letGo(n int, why string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n == 0 {
		return
	}
	s.gone = &api.OutputGone{Why: why}
	for _, c := range s.chunks[:n] {
		s.gone.Bytes += int64(len(c.Data))
	}
	s.chunks = s.chunks[n:]
}

func (s *fakeServer) sum() (out, errOut int64, sum string) {
	h := sha256.New()
	for _, c := range s.chunks {
		h.Write(c.Data)
		if c.Stream == api.Stdout {
			out += int64(len(c.Data))
		} else {
			errOut += int64(len(c.Data))
		}
	}
	return out, errOut, hex.EncodeToString(h.Sum(nil))
}

func (s *fakeServer) unavailable() error {
	switch {
	case s.notYet:
		return ErrNotYet
	case s.away:
		return api.Errorf(api.Unavailable, api.ServerUnavailable, "away")
	}
	return nil
}

func (s *fakeServer) Wait(ctx context.Context, after uint64, d time.Duration) (api.Execution, error) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	for {
		s.mu.Lock()
		e, err, changed, deaf := s.exec, s.unavailable(), s.changed, s.deaf
		s.mu.Unlock()
		if err != nil || !deaf && (e.Status.Final() || e.Sequence > after) {
			return e, err
		}
		select {
		case <-changed:
		case <-timer.C:
			return e, nil
		case <-ctx.Done():
			return e, ctx.Err()
		}
	}
}

func (s *fakeServer) Inspect(context.Context) (api.Execution, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.inspects++
	return s.exec, s.unavailable()
}

func (s *fakeServer) Output(_ context.Context, from int64, cursor uint64) (api.OutputPage, []api.Chunk, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.outputs++
	page := api.OutputPage{Attempt: s.exec.Attempt, Begin: from, Next: from, Cursor: cursor, Live: !s.exec.Status.Final()}
	if s.gone != nil && from < s.gone.Bytes {
		page.Gone, page.Begin, page.Next, from = s.gone, s.gone.Bytes, s.gone.Bytes, s.gone.Bytes
	}
	var chunks []api.Chunk
	size := 0
	for i, c := range s.chunks[min(int(cursor), len(s.chunks)):] {
		s.read++
		stop := c.Offset + int64(len(c.Data))
		if stop <= from {
			continue
		}
		if size > 0 && size+len(c.Data) > s.pageBytes {
			return page, chunks, s.unavailable()
		}
		size += len(c.Data)
		chunks = append(chunks, c)
		page.Next, page.Cursor = stop, cursor+uint64(i)+1
	}
	page.End = s.end
	return page, chunks, s.unavailable()
}

// screen collects what a person sees.
type screen struct {
	mu       sync.Mutex
	out, err bytes.Buffer
	notes    []string
	attempt  int
	next     int64
	// mayBegin: the first chunk need not be the first that was printed.
	mayBegin bool
}

func (s *screen) options(source Source, live <-chan Message) Options {
	return Options{
		Source: source, Live: live, Write: s.write,
		Note: func(format string, args ...any) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.notes = append(s.notes, fmt.Sprintf(format, args...))
		},
	}
}

func (s *screen) write(c api.Chunk) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c.Attempt != s.attempt {
		s.attempt, s.next = c.Attempt, 0
	}
	if c.Offset != s.next && !(s.next == 0 && s.mayBegin) {
		return fmt.Errorf("a chunk at %d comes after %d bytes", c.Offset, s.next)
	}
	s.next = c.Offset + int64(len(c.Data))
	if c.Stream == api.Stderr {
		s.err.Write(c.Data)
	} else {
		s.out.Write(c.Data)
	}
	return nil
}

// said are the notes, as they are at this moment.
func (s *screen) said() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.notes)
}

func (s *screen) text() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.out.String() + "|" + s.err.String()
}
