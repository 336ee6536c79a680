package projector

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"
)

// memStore is a bucket in memory: what bucketStore promises, in a few lines.
type memStore struct {
	mu   sync.Mutex
	snap snapshot
}

func newMemStore() *memStore { return &memStore{snap: snapshot{values: map[string][]byte{}}} }

func (s *memStore) snapshot(_ context.Context, keys []string) (snapshot, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	snap := s.snap
	snap.values = map[string][]byte{}
	for _, key := range keys {
		if value, ok := s.snap.values[key]; ok {
			snap.values[key] = value
		}
	}
	return snap, nil
}

func (s *memStore) commit(_ context.Context, writes map[string][]byte, checkpoint, revision uint64) (uint64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if revision != s.snap.revision {
		return 0, errConflict
	}
	for key, value := range writes {
		if value == nil {
			delete(s.snap.values, key)
			continue
		}
		s.snap.values[key] = value
	}
	s.snap.checkpoint, s.snap.revision = checkpoint, revision+1
	return s.snap.revision, nil
}

func (s *memStore) empty(context.Context) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.snap.revision == 0 && len(s.snap.values) == 0, nil
}

func (s *memStore) keys(_ context.Context, prefix string) ([]string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := slices.Collect(maps.Keys(s.snap.values))
	return slices.DeleteFunc(all, func(key string) bool { return !strings.HasPrefix(key, prefix) }), nil
}

func (s *memStore) each(_ context.Context, f func(key string, value []byte) error) error {
	s.mu.Lock()
	all := maps.Clone(s.snap.values)
	s.mu.Unlock()
	for key, value := range all {
		if err := f(key, value); err != nil {
			return err
		}
	}
	return nil
}

// oldest knows no order: all values are as old.
func (s *memStore) oldest(ctx context.Context, prefix string, f func(sequence uint64, key string, value []byte) (bool, error)) error {
	more := true
	return s.each(ctx, func(key string, value []byte) (err error) {
		rest, anyFirst := strings.CutPrefix(prefix, "*.")
		below := key
		if anyFirst {
			_, below, _ = strings.Cut(key, ".")
		}
		if more && strings.HasPrefix(below, rest) {
			more, err = f(1, key, value)
		}
		return err
	})
}

// crashingStore lets so many operations through and then ends the process, as far as the
// projector can tell: in the middle of the last one, before or after it took effect.
type crashingStore struct {
	store
	mu      sync.Mutex
	left    int
	effect  bool
	crash   func()
	crashed bool
}

var errCrashed = errors.New("crashed")

// allow reports whether the operation happens, and whether its answer arrives.
func (s *crashingStore) allow() (happens, answers bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.crashed {
		return false, false
	}
	if s.left--; s.left >= 0 {
		return true, true
	}
	s.crashed = true
	s.crash()
	return s.effect, false
}

func (s *crashingStore) snapshot(ctx context.Context, keys []string) (snapshot, error) {
	if happens, answers := s.allow(); !happens || !answers {
		return snapshot{}, errCrashed
	}
	return s.store.snapshot(ctx, keys)
}

func (s *crashingStore) commit(ctx context.Context, writes map[string][]byte, checkpoint, revision uint64) (uint64, error) {
	happens, answers := s.allow()
	if !happens {
		return 0, errCrashed
	}
	// The context of the crashed projector is over; what it had sent is not.
	r, err := s.store.commit(context.WithoutCancel(ctx), writes, checkpoint, revision)
	if !answers {
		return 0, errCrashed
	}
	return r, err
}
