package accounts

import (
	"context"
	"time"
)

// sweepAlways compares all connections with their keys: soon after keys have become worthless, once
// more when whoever was being let in at that moment is in, and from time to time, so that nothing that
// was missed stays.
func (s *Service) sweepAlways(ctx context.Context) error {
	if err := s.directory.catchUp(ctx, s.Users); err != nil {
		return err
	}
	next := time.NewTimer(0)
	defer next.Stop()
	for settled := true; ; {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-s.directory.ended:
			settled = false
			next.Reset(answerWithin)
			continue
		case <-next.C:
		}
		wait := sweepEach
		if err := s.sweep(ctx); err != nil {
			if ctx.Err() == nil {
				s.Log.Warn("cannot compare connections with keys yet", "err", err)
			}
			wait = time.Second
		} else if !settled {
			settled, wait = true, settleWithin
		}
		next.Reset(wait)
	}
}

// sweep ends every connection of a user whose key does not admit them now.
func (s *Service) sweep(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, sweepWithin)
	defer cancel()
	all, err := s.live.all(ctx)
	if err != nil {
		return err
	}
	s.live.replace(all)
	if err := s.directory.catchUp(ctx, s.Users); err != nil {
		return err
	}
	for _, c := range all {
		user, key := c.user()
		if c.account != usersAccount || key == "" || admits(s.directory.user(user), key, s.Now()) {
			continue // a key of the configuration has no slash in its name
		}
		if err := s.live.kick(ctx, c); err != nil {
			return err
		}
		s.Log.Info("ended a connection whose key is not good any more", "user", user)
	}
	return nil
}
