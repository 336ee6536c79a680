package pool

import (
	"slices"
	"time"
)

// periods is how many reviews there are in the time that a key is remembered.
const periods = 10

// settle is how long the pool leaves the machine to a run that is about to start. Making a sandbox
// at the same moment took a third more from it on two cores.
const settle = 50 * time.Millisecond

// fillSoon fills when the run that has just got a sandbox is under way.
func (p *Pool[K]) fillSoon() {
	time.AfterFunc(settle, func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.fill()
	})
}

// Ended says that a run has ended: what is missing is made now, and not only when the run would be under
// way.
func (p *Pool[K]) Ended() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fill()
}

// fill starts to make what is missing, as far as the bounds allow. The caller holds mu.
func (p *Pool[K]) fill() {
	for !p.closed {
		s := p.neediest()
		if s == nil || !p.hasMaker(s) || !p.makeRoom(s) {
			return
		}
		s.filled = time.Now()
		s.making++
		p.making++
		p.work.Go(func() { p.make(s) })
	}
}

// hasMaker reports whether one more may be made for the shelf now. For a bare one there is a maker more
// than for others, so that it does not wait for what somebody else has much of.
func (p *Pool[K]) hasMaker(s *shelf[K]) bool {
	if s.bare() {
		return p.making <= p.Makers
	}
	return p.colds == 0 && p.making < p.Makers
}

// bare says that it has nothing, and that nothing is under way for it: one is made for it whatever the
// others lack.
func (s *shelf[K]) bare() bool { return s.want > 0 && len(s.ready)+s.making+s.out+s.colds == 0 }

// neediest is the shelf that is bare, of several the one that was filled longest ago; else the one that
// lacks most, of equals the one that was used last.
func (p *Pool[K]) neediest() (found *shelf[K]) {
	for _, s := range p.shelves {
		if s.bare() && (found == nil || s.filled.Before(found.filled)) {
			found = s
		}
	}
	if found != nil {
		return found
	}
	most := 0
	for _, s := range p.shelves {
		missing := s.want - len(s.ready) - s.making - s.away()
		if missing > most || missing == most && missing > 0 && s.used.After(found.used) {
			most, found = missing, s
		}
	}
	return found
}

// makeRoom makes sure that one more fits, at the cost of the shelf that was used longest ago; for a bare
// one, of that which has most, if one has more than others.
func (p *Pool[K]) makeRoom(wanted *shelf[K]) bool {
	all := 0
	var oldest *shelf[K]
	for _, s := range p.shelves {
		all += len(s.ready) + s.making
		if s.used.Before(wanted.used) && len(s.ready) > 0 && (oldest == nil || s.used.Before(oldest.used)) {
			oldest = s
		}
	}
	if all < p.Most {
		return true
	}
	if fullest := p.fullest(); fullest != nil && wanted.bare() {
		oldest = fullest
	}
	if oldest == nil {
		return false
	}
	p.drop(oldest)
	oldest.want = len(oldest.ready) + oldest.making + oldest.away()
	return true
}

// fullest is the shelf that has most of what waits, if that is more than one.
func (p *Pool[K]) fullest() (found *shelf[K]) {
	most := 1
	for _, s := range p.shelves {
		if n := len(s.ready); n > most {
			most, found = n, s
		}
	}
	return found
}

// away is how many are out and will come back.
func (s *shelf[K]) away() int {
	if !s.reused {
		return 0
	}
	return s.out - len(s.takers)
}

// drop throws the oldest away.
func (p *Pool[K]) drop(s *shelf[K]) {
	p.throw(s.ready[0])
	s.ready = slices.Delete(s.ready, 0, 1)
}

// make makes one sandbox for a shelf and hands it to who waits for it, or puts it there.
func (p *Pool[K]) make(s *shelf[K]) {
	r, err := p.Make(p.life, s.key)
	p.mu.Lock()
	defer p.mu.Unlock()
	s.making--
	p.making--
	switch {
	case err != nil:
		// Not again before somebody asks for it, who then hears the error.
		s.want = 0
		if p.life.Err() == nil {
			p.stats.Failed++
			p.Log.Warn("a sandbox could not be prepared ahead", "err", err)
		}
		for len(s.takers) > s.making {
			last := len(s.takers) - 1
			close(s.takers[last])
			s.takers = s.takers[:last]
		}
	case p.shelves[s.key] != s: // forgotten
		p.stats.Made++
		p.throw(r)
	default:
		p.stats.Made++
		p.put(s, r)
	}
	p.fill()
}

// review gives back, period by period, what was not needed.
func (p *Pool[K]) review() {
	ticker := time.NewTicker(max(p.Idle/periods, time.Millisecond))
	defer ticker.Stop()
	for {
		select {
		case <-p.life.Done():
			return
		case <-ticker.C:
		}
		p.mu.Lock()
		now := time.Now()
		for _, s := range p.shelves {
			if p.shrink(s); now.Sub(s.used) >= p.Idle {
				p.forget(s)
			}
		}
		p.fill()
		p.mu.Unlock()
	}
}

// shrink throws away what is too old, and what lay below the low-water mark of the period that is
// over, all but one: a key that is remembered is worth that much.
func (p *Pool[K]) shrink(s *shelf[K]) {
	s.ready = slices.DeleteFunc(s.ready, func(r Ready) bool {
		old := p.isOld(r)
		if old {
			p.throw(r)
		}
		return old
	})
	spare := min(s.low, len(s.ready), max(s.want-1, 0))
	s.want -= spare
	for range spare {
		p.drop(s)
	}
	s.low = len(s.ready)
}
