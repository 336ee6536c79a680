package projector

import "sync"

// progress tells waiters in the same process how far a projector has come.
type progress struct {
	mu      sync.Mutex
	at      uint64
	changed chan struct{}
}

func newProgress() *progress { return &progress{changed: make(chan struct{})} }

func (p *progress) advance(to uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if to > p.at {
		p.at = to
		close(p.changed)
		p.changed = make(chan struct{})
	}
}

func (p *progress) now() (uint64, <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.at, p.changed
}
