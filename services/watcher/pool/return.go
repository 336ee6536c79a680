package pool

import "time"

// Return ends what was taken for a key that is Reused: r is the sandbox that was used, taken or the
// caller's own, if there was one. It is true when the pool has it again; else the caller throws it
// away, and another is made behind it. One that is not usable is never kept. For other keys, and when
// it is called again, it does nothing.
func (p *Pool[K]) Return(t *Taken[K], r Ready, usable bool) (kept bool) {
	if t == nil || t.shelf == nil {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	s := t.shelf
	t.shelf = nil
	s.out--
	r.Uses++
	isKnown := p.shelves[s.key] == s // else it was forgotten, and stands for what is no more
	if isKnown {
		s.used = time.Now()
	}
	if isKnown && usable && r.Uses < p.MostUses && !p.isOld(r) && p.hasRoom(s) {
		p.put(s, r)
		s.want = min(max(s.want, len(s.ready)+s.making+s.away()), p.MostEach)
		return true
	}
	if r.Box != nil {
		p.stats.Worn++
	}
	p.fillSoon()
	return false
}

// Returns: Return may keep the sandbox.
func (t *Taken[K]) Returns() bool { return t.shelf != nil }

// isOld says that a sandbox has been used for long enough.
func (p *Pool[K]) isOld(r Ready) bool { return r.Uses > 0 && time.Since(r.Made) >= p.MostAge }

// hasRoom makes sure that one more may wait on a shelf.
func (p *Pool[K]) hasRoom(s *shelf[K]) bool {
	return len(s.takers) > 0 || len(s.ready)+s.making < p.MostEach && p.makeRoom(s)
}

// put gives a sandbox to who waits for one, or lays it on the shelf.
func (p *Pool[K]) put(s *shelf[K], r Ready) {
	if len(s.takers) == 0 {
		s.ready = append(s.ready, r)
		return
	}
	s.takers[0] <- r
	s.takers = s.takers[1:]
}
