package output

import "time"

// pump moves what was gathered to the sender until both are empty and nothing more can come.
func (s *Stream) pump() {
	defer close(s.pumped)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		due, wait, end := s.gather.take(time.Now())
		rest := s.sender.publish(due)
		ok, bad, failed := s.sender.head()
		if failed != nil {
			s.sender.repair(s.ctx, failed)
			continue
		}
		if end && ok == nil && len(s.sender.held) == 0 {
			return
		}
		var tick <-chan time.Time
		if rest > 0 && (wait == 0 || rest < wait) {
			wait = rest
		}
		if wait > 0 {
			timer.Reset(wait)
			tick = timer.C
		}
		done := s.ctx.Done()
		if s.sender.discards() {
			done = nil // only the writers' end is waited for
		}
		select {
		case <-s.gather.wake:
		case <-tick:
		case <-ok:
			s.sender.acked()
		case err := <-bad:
			s.sender.repair(s.ctx, err)
		case <-done:
			s.sender.giveUp(stoppedEarly)
		}
	}
}
