package output

import (
	"sync"
	"time"
)

// window is how long output is gathered under load.
const window = 10 * time.Millisecond

// part is a piece of output that will be one chunk.
type part struct {
	stream string
	at     time.Time // when its first byte was read
	data   []byte
	// overhead was taken from the budget besides the data's length.
	overhead int64
}

func (p part) cost() int64 { return int64(len(p.data)) + p.overhead }

// gather holds what was read and not yet sent, in the order in which it was read. Writers never
// wait here; the publisher's budget is what bounds it.
type gather struct {
	maxBytes int
	// wake has room for one: a token means that something is to be looked at.
	wake chan struct{}

	mu       sync.Mutex
	parts    []part
	bytes    int
	lastTake time.Time
	writers  int
}

func newGather(maxBytes, writers int) *gather {
	return &gather{maxBytes: maxBytes, writers: writers, wake: make(chan struct{}, 1)}
}

// add copies data behind what is there. The overhead goes to the first new part; without a new
// part it is not used.
func (g *gather) add(stream string, at time.Time, data []byte, overhead int64) (used bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.bytes += len(data)
	if n := len(g.parts); n > 0 && g.parts[n-1].stream == stream {
		last := &g.parts[n-1]
		room := min(g.maxBytes-len(last.data), len(data))
		last.data = append(last.data, data[:room]...)
		data = data[room:]
	}
	for len(data) > 0 {
		size := min(g.maxBytes, len(data))
		g.parts = append(g.parts, part{stream: stream, at: at, data: append([]byte(nil), data[:size]...), overhead: overhead})
		data = data[size:]
		overhead, used = 0, true
	}
	g.signal()
	return used
}

// done says that one writer adds nothing more.
func (g *gather) done() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.writers--
	g.signal()
}

func (g *gather) signal() {
	select {
	case g.wake <- struct{}{}:
	default:
	}
}

// take returns what is due at this time: everything when nothing was taken for a window or no
// writer is left, whatever is full before that. wait is when to ask again (0: when woken); end
// means that nothing will come any more.
func (g *gather) take(now time.Time) (due []part, wait time.Duration, end bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	quiet := now.Sub(g.lastTake)
	switch {
	case len(g.parts) == 0:
		return nil, 0, g.writers == 0
	case g.writers == 0 || quiet >= window:
		due, g.parts, g.bytes = g.parts, nil, 0
	case g.bytes >= g.maxBytes:
		due = g.takeFull()
	}
	if len(due) > 0 {
		g.lastTake, quiet = now, 0
	}
	if len(g.parts) > 0 {
		wait = window - quiet
	}
	return due, wait, len(g.parts) == 0 && g.writers == 0
}

// takeFull takes all parts but a last one that has room left.
func (g *gather) takeFull() []part {
	n := len(g.parts)
	if len(g.parts[n-1].data) < g.maxBytes {
		n--
	}
	due := g.parts[:n:n]
	g.parts = append([]part(nil), g.parts[n:]...)
	g.bytes = 0
	for _, p := range g.parts {
		g.bytes += len(p.data)
	}
	return due
}
