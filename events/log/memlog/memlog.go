// Package memlog is the reference implementation of log.Log: in memory, and short enough to be
// read as the specification. Fast tests use it in place of JetStream.
package memlog

import (
	"context"
	"fmt"
	"iter"
	"strings"
	"sync"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/events/log"
)

// Log keeps events in their stored form, so that what is read went through the codec.
type Log struct {
	mu      sync.Mutex
	entries []entry
	// bySubject holds indexes of entries, so that reading one aggregate costs its own length.
	bySubject map[string][]int
	// grown is closed and replaced at every append, and closed for good by Close.
	grown  chan struct{}
	closed bool
}

type entry struct {
	subject string
	message events.Message
}

var _ log.Log = (*Log)(nil)

// New returns an empty log.
func New() *Log {
	return &Log{bySubject: map[string][]int{}, grown: make(chan struct{})}
}

// Close makes every call, and every Follow that waits, end with log.ErrClosed.
func (l *Log) Close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.closed {
		l.closed = true
		close(l.grown)
	}
}

// Append implements log.Log.
func (l *Log) Append(ctx context.Context, subject string, expected uint64, event events.Event) (uint64, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	if err := log.CheckLiteral(subject); err != nil {
		return 0, err
	}
	message, err := events.Encode(event)
	if err != nil {
		return 0, fmt.Errorf("append to %s: %w", subject, err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return 0, log.ErrClosed
	}
	if sequence, stored := l.find(subject, expected, event.ID); stored {
		return sequence, nil
	}
	if l.last(subject) != expected {
		return 0, log.ErrConflict
	}
	return l.store(subject, message), nil
}

// Inject stores a message as it is, for tests of what a reader does with something that is not
// an event.
func (l *Log) Inject(subject string, message events.Message) uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.store(subject, message)
}

// find returns the sequence of the event if it is the subject's last or the one after expected.
func (l *Log) find(subject string, expected uint64, id string) (sequence uint64, stored bool) {
	indexes := l.bySubject[subject]
	for n, i := range indexes {
		follows := uint64(i)+1 > expected && (n == 0 || uint64(indexes[n-1])+1 <= expected)
		last := n == len(indexes)-1
		if (follows || last) && l.entries[i].message.Header[events.HeaderID] == id {
			return uint64(i) + 1, true
		}
	}
	return 0, false
}

func (l *Log) last(subject string) uint64 {
	indexes := l.bySubject[subject]
	if len(indexes) == 0 {
		return 0
	}
	return uint64(indexes[len(indexes)-1]) + 1
}

func (l *Log) store(subject string, message events.Message) uint64 {
	l.bySubject[subject] = append(l.bySubject[subject], len(l.entries))
	l.entries = append(l.entries, entry{subject, message})
	close(l.grown)
	l.grown = make(chan struct{})
	return uint64(len(l.entries))
}

// Read implements log.Log.
func (l *Log) Read(ctx context.Context, filter string, from uint64) iter.Seq2[events.Record, error] {
	return func(yield func(events.Record, error) bool) {
		l.mu.Lock()
		end, closed := uint64(len(l.entries)), l.closed
		l.mu.Unlock()
		if closed {
			yield(events.Record{}, log.ErrClosed)
			return
		}
		l.yieldUntil(ctx, filter, max(from, 1), end, yield)
	}
}

// Follow implements log.Log.
func (l *Log) Follow(ctx context.Context, filter string, from uint64) iter.Seq2[events.Record, error] {
	return func(yield func(events.Record, error) bool) {
		next := max(from, 1)
		for {
			l.mu.Lock()
			end, grown, closed := uint64(len(l.entries)), l.grown, l.closed
			l.mu.Unlock()
			if !l.yieldUntil(ctx, filter, next, end, yield) {
				return
			}
			if closed {
				yield(events.Record{}, log.ErrClosed)
				return
			}
			next = max(next, end+1)
			select {
			case <-grown:
			case <-ctx.Done():
				yield(events.Record{}, ctx.Err())
				return
			}
		}
	}
}

// yieldUntil yields what matches in [from, end]. It reports whether the caller wants more.
func (l *Log) yieldUntil(ctx context.Context, filter string, from, end uint64, yield func(events.Record, error) bool) bool {
	for i := from; i <= end; {
		if err := ctx.Err(); err != nil {
			yield(events.Record{}, err)
			return false
		}
		e, sequence := l.next(filter, i, end)
		if sequence == 0 {
			return true
		}
		if !yield(log.Decode(e.subject, sequence, e.message)) {
			return false
		}
		i = sequence + 1
	}
	return true
}

// next returns the first match in [from, end], and sequence 0 if there is none.
func (l *Log) next(filter string, from, end uint64) (e entry, sequence uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if log.CheckLiteral(filter) == nil {
		for _, i := range l.bySubject[filter] {
			if s := uint64(i) + 1; s >= from && s <= end {
				return l.entries[i], s
			}
		}
		return entry{}, 0
	}
	for s := from; s <= end; s++ {
		if matches(filter, l.entries[s-1].subject) {
			return l.entries[s-1], s
		}
	}
	return entry{}, 0
}

// Head implements log.Log.
func (l *Log) Head(ctx context.Context, subject string) (uint64, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return 0, log.ErrClosed
	}
	if log.CheckLiteral(subject) == nil {
		return l.last(subject), nil
	}
	for s := len(l.entries); s > 0; s-- {
		if matches(subject, l.entries[s-1].subject) {
			return uint64(s), nil
		}
	}
	return 0, nil
}

// matches reports whether a NATS subject matches a filter: "*" is one token, a last ">" one or more.
func matches(filter, subject string) bool {
	for {
		f, filterRest, moreFilter := strings.Cut(filter, ".")
		s, subjectRest, moreSubject := strings.Cut(subject, ".")
		if f == ">" && !moreFilter {
			return true
		}
		if f != "*" && f != s {
			return false
		}
		if moreFilter != moreSubject {
			return false
		}
		if !moreFilter {
			return true
		}
		filter, subject = filterRest, subjectRest
	}
}
