package watcher

import (
	"sync"

	"github.com/hermes-serverless/hermes/services/api"
)

// held is every attempt of this watcher.
type held struct {
	mu       sync.Mutex
	attempts map[api.AttemptRef]*attempt
	// empty is closed and replaced each time the last attempt leaves.
	empty chan struct{}
}

func newHeld() *held {
	return &held{attempts: map[api.AttemptRef]*attempt{}, empty: make(chan struct{})}
}

// add takes an attempt, unless it is there already.
func (h *held) add(a *attempt) (added bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.attempts[a.AttemptRef] != nil {
		return false
	}
	h.attempts[a.AttemptRef] = a
	return true
}

func (h *held) get(ref api.AttemptRef) *attempt {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.attempts[ref]
}

func (h *held) remove(ref api.AttemptRef) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.attempts, ref)
	if len(h.attempts) == 0 {
		close(h.empty)
		h.empty = make(chan struct{})
	}
}

func (h *held) refs() []api.AttemptRef {
	h.mu.Lock()
	defer h.mu.Unlock()
	refs := make([]api.AttemptRef, 0, len(h.attempts))
	for ref := range h.attempts {
		refs = append(refs, ref)
	}
	return refs
}

func (h *held) all() []*attempt {
	h.mu.Lock()
	defer h.mu.Unlock()
	all := make([]*attempt, 0, len(h.attempts))
	for _, a := range h.attempts {
		all = append(all, a)
	}
	return all
}

// none returns nil when nothing is held, else a channel that closes when that is so.
func (h *held) none() <-chan struct{} {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.attempts) == 0 {
		return nil
	}
	return h.empty
}
