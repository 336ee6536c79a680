// Package input hands an interactive attempt its input while it runs, piece by piece, and keeps a
// record of it.
package input

import (
	"os"
	"sync"
	"time"
)

// WindowBytes is how much is taken at most that the command has not read yet, beside what lies in
// the pipe.
const WindowBytes = 256 << 10

// Feed is the stdin of one command. Its methods may be called from many goroutines.
type Feed struct {
	reader  *os.File
	silence time.Duration
	pumped  chan struct{}

	mu      sync.Mutex
	changed sync.Cond
	// writer is closed when everything was read, or nothing will be.
	writer *os.File
	// offset is how much has been taken; of that, waiting is yet to be written, and writing under way.
	offset  int64
	waiting []byte
	writing int
	// ended: nothing follows. gone: nobody reads.
	ended, gone bool
	// silent runs from when something was last heard.
	silent *time.Timer
	heard  time.Time
	record record
}

// New makes the stdin of a command that is still to be started, out of a pipe whose writer is
// non-blocking. The record takes a file of this name when it gets large. After so much silence of who
// sends the input ends.
func New(reader, writer *os.File, name string, silence time.Duration) *Feed {
	f := &Feed{
		reader: reader, writer: writer, silence: silence, pumped: make(chan struct{}), record: record{name: name},
	}
	f.changed.L = &f.mu
	go f.pump()
	return f
}

// Reader is what the command reads.
func (f *Feed) Reader() *os.File { return f.reader }

// Started says that the command has its own copy of the reader. Silence counts from here.
func (f *Feed) Started() {
	f.mu.Lock()
	defer f.mu.Unlock()
	_ = f.reader.Close() // or it would never be heard that nobody reads
	if !f.closed() {
		f.heard = time.Now()
		f.silent = time.AfterFunc(f.silence, f.endInSilence)
	}
}

// Take takes what it can of a piece that begins at the offset, and returns the offset to go on with,
// and whether nothing more is taken. What was taken before it does not take again, and of a piece
// that is ahead of its turn, nothing.
func (f *Feed) Take(offset int64, data []byte, end bool) (next int64, closed bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed() {
		return f.offset, true
	}
	if f.silent != nil {
		f.heard = time.Now()
		f.silent.Reset(f.silence)
	}
	if offset < 0 || offset > f.offset {
		return f.offset, false
	}
	fresh := data[min(f.offset-offset, int64(len(data))):]
	fresh = fresh[:min(len(fresh), WindowBytes-len(f.waiting)-f.writing)]
	f.record.add(fresh)
	f.waiting = append(f.waiting, fresh...)
	f.offset += int64(len(fresh))
	f.ended = end && f.offset == offset+int64(len(data))
	f.changed.Broadcast()
	return f.offset, f.ended
}

// closed: nothing more is taken. The caller holds mu.
func (f *Feed) closed() bool { return f.ended || f.gone }

func (f *Feed) endInSilence() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if time.Since(f.heard) < f.silence {
		return // heard of at the last moment
	}
	f.ended = true
	f.changed.Broadcast()
}

// pump writes what was taken until nothing follows or nobody reads.
func (f *Feed) pump() {
	defer close(f.pumped)
	for {
		piece := f.next()
		if piece == nil {
			break
		}
		if _, err := f.writer.Write(piece); err != nil {
			f.giveUp()
			break
		}
	}
	_ = f.writer.Close()
}

// next waits for what is to be written; it is nil at the end.
func (f *Feed) next() []byte {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.writing = 0
	for len(f.waiting) == 0 && !f.closed() {
		f.changed.Wait()
	}
	if len(f.waiting) == 0 || f.gone {
		return nil
	}
	piece := f.waiting
	f.waiting, f.writing = nil, len(piece)
	return piece
}

func (f *Feed) giveUp() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.gone, f.waiting = true, nil
	f.changed.Broadcast()
}

// Close ends the feed, whatever the command has read of it. It may be called again.
func (f *Feed) Close() {
	f.giveUp()
	f.mu.Lock()
	if f.silent != nil {
		f.silent.Stop()
	}
	f.mu.Unlock()
	_ = f.reader.Close()
	_ = f.writer.Close() // a write that waits for a reader ends
	<-f.pumped
	f.record.close()
}
