package projector

import "sync"

// progress tells waiters in the same process how far a projector has come, and the projector how
// far they need it.
type progress struct {
	mu         sync.Mutex
	at, wanted uint64
	// changed and hurry are closed when at and wanted grow.
	changed, hurry chan struct{}
}

func newProgress() *progress {
	return &progress{changed: make(chan struct{}), hurry: make(chan struct{})}
}

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

func (p *progress) want(sequence uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if sequence > p.wanted {
		p.wanted = sequence
		close(p.hurry)
		p.hurry = make(chan struct{})
	}
}

func (p *progress) need() (uint64, <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.wanted, p.hurry
}
