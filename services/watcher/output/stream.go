package output

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/services/api"
)

const (
	// readBytes is the most that is read from a pipe at once.
	readBytes = 64 << 10
	// linger is how long a pipe may stay open and silent after the command's end: only a process
	// that escaped the sandbox's kill can hold it.
	linger = 5 * time.Second
)

// Options describe one attempt's output.
type Options struct {
	Subject string
	// Owner is whose output it is: one owner's must not hold up another's.
	Owner string
	Ref   api.AttemptRef
	// LimitBytes bounds each of stdout and stderr.
	LimitBytes int64
	// OnLimit is called once, from a goroutine of the stream, when a limit was passed. It must not
	// wait for the stream.
	OnLimit func(stream string)
}

// Stream is the output of one attempt.
type Stream struct {
	Options
	publisher *Publisher
	gather    *gather
	sender    *sender
	ctx       context.Context
	files     [2]*os.File
	pumped    chan struct{}
	// share is its part of the publisher's budget.
	share *semaphore.Weighted

	mu    sync.Mutex
	ended bool
	over  string // the stream that passed its limit
	cut   string
}

// Open starts to publish what the two pipes deliver, and owns them from here on. They must be
// pollable. The context's end makes the stream give up what it has not stored; Finish must be
// called all the same.
func (p *Publisher) Open(ctx context.Context, stdout, stderr *os.File, o Options) *Stream {
	s := &Stream{
		Options: o, publisher: p, ctx: ctx, files: [2]*os.File{stdout, stderr},
		gather: newGather(p.chunkBytes, 2), pumped: make(chan struct{}), share: semaphore.NewWeighted(streamBytes),
	}
	s.sender = &sender{transport: p.transport, bulk: p.bulk, subject: o.Subject, ref: o.Ref, name: rand.Text(), release: s.release, sum: newSum()}
	s.sender.gate, s.sender.owner = p.gate, o.Owner
	p.gate.Enter(o.Owner)
	go s.read(api.Stdout, stdout)
	go s.read(api.Stderr, stderr)
	go s.pump()
	return s
}

// read takes a pipe to its end.
func (s *Stream) read(stream string, f *os.File) {
	defer s.gather.done()
	buf := make([]byte, readBytes)
	for taken := int64(0); ; {
		s.arm(f)
		n, err := f.Read(buf)
		keep := min(int64(n), s.LimitBytes-taken)
		if keep > 0 && !s.put(stream, buf[:keep]) {
			return
		}
		taken += keep
		if int64(n) > keep {
			s.exceeded(stream)
			return
		}
		if err != nil {
			s.noteReadError(err)
			return
		}
	}
}

// put hands bytes on and waits while too much is under way. It is false when the stream's context
// has ended.
func (s *Stream) put(stream string, data []byte) bool {
	if s.sender.discards() {
		return true // nothing more can be stored, but the function may go on printing
	}
	if s.acquire(int64(len(data))+partOverheadBytes) != nil {
		s.mu.Lock()
		s.note(stoppedEarly)
		s.mu.Unlock()
		return false
	}
	if !s.gather.add(stream, time.Now(), data, partOverheadBytes) {
		s.release(partOverheadBytes)
	}
	return true
}

// acquire waits until so much more may be held in memory: of this stream, then of all.
func (s *Stream) acquire(n int64) error {
	if err := s.share.Acquire(s.ctx, n); err != nil {
		return err
	}
	if err := s.publisher.budget.Acquire(s.ctx, n); err != nil {
		s.share.Release(n)
		return err
	}
	return nil
}

func (s *Stream) release(n int64) {
	s.publisher.budget.Release(n)
	s.share.Release(n)
}

// exceeded stops the reading of both pipes and says so once.
func (s *Stream) exceeded(stream string) {
	s.mu.Lock()
	first := s.over == ""
	if first {
		s.over = stream
		s.note(fmt.Sprintf("%s is longer than its limit of %d bytes", stream, s.LimitBytes))
	}
	for _, f := range s.files {
		_ = f.SetReadDeadline(time.Unix(1, 0))
	}
	s.mu.Unlock()
	if first && s.OnLimit != nil {
		s.OnLimit(stream)
	}
}

// arm bounds the next read once the command has ended.
func (s *Stream) arm(f *os.File) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.over != "":
		_ = f.SetReadDeadline(time.Unix(1, 0))
	case s.ended:
		_ = f.SetReadDeadline(time.Now().Add(linger))
	}
}

func (s *Stream) noteReadError(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if errors.Is(err, os.ErrDeadlineExceeded) && s.ended && s.over == "" {
		s.note("a process that outlived the command held the output open")
	}
}

// note keeps the first reason why the output is not complete. The caller holds mu.
func (s *Stream) note(why string) {
	if s.cut == "" {
		s.cut = why
	}
}

// Finish is called when no command will write any more and the caller's own write ends are closed.
// It returns when everything and the end message are stored, or given up as Cut says. The sums
// are of what is stored.
func (s *Stream) Finish() events.Output {
	s.mu.Lock()
	s.ended = true
	s.mu.Unlock()
	for _, f := range s.files {
		s.arm(f)
	}
	<-s.pumped
	s.publisher.gate.Leave(s.Owner)
	for _, f := range s.files {
		_ = f.Close()
	}
	s.mu.Lock()
	if why := s.sender.gaveUp(); why != "" {
		s.note(why)
	}
	sum := s.sender.sum.output()
	sum.Cut = s.cut
	s.mu.Unlock()
	if why := s.sendEnd(sum); why != "" && sum.Cut == "" {
		sum.Cut = why
	}
	return sum
}

// sendEnd stores the end message and returns why it could not.
func (s *Stream) sendEnd(sum events.Output) string {
	payload, err := json.Marshal(api.OutputEnd{
		Attempt: s.Ref.Attempt, StdoutBytes: sum.StdoutBytes, StderrBytes: sum.StderrBytes,
		Chunks: sum.Chunks, SHA256: sum.SHA256, Cut: sum.Cut,
	})
	if err != nil {
		return err.Error() // strings and numbers: it cannot happen
	}
	end := api.Chunk{
		Attempt: s.Ref.Attempt, Stream: api.End, Offset: sum.StdoutBytes + sum.StderrBytes, Time: time.Now(), Data: payload,
	}
	var trouble trouble
	for {
		err := s.publisher.transport.store(s.ctx, end.Message(s.Subject, s.sender.name))
		if err == nil {
			return ""
		}
		if why := trouble.note(err, time.Now()); why != "" {
			return why
		}
		if !pause(s.ctx, trouble.backoff()) {
			return stoppedEarly
		}
	}
}
