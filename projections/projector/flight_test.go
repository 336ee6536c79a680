package projector

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/events/log/memlog"
	"github.com/hermes-serverless/hermes/projections/executions"
)

// slow is a store whose commits wait to be let through, one by one. It notes how many keys each has.
type slow struct {
	store
	begun chan int
	let   chan struct{}
}

func newSlow(s store) *slow { return &slow{store: s, begun: make(chan int), let: make(chan struct{})} }

func (s *slow) commit(ctx context.Context, writes map[string][]byte, checkpoint, revision uint64) (uint64, error) {
	for _, step := range []func() error{
		func() error {
			select {
			case s.begun <- len(writes):
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		},
		func() error {
			select {
			case <-s.let:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		},
	} {
		if err := step(); err != nil {
			return 0, err
		}
	}
	return s.store.commit(ctx, writes, checkpoint, revision)
}

// lives appends n whole executions of one owner.
func lives(t *testing.T, l *memlog.Log, from, n int) (last uint64) {
	t.Helper()
	for i := range n {
		id := fmt.Sprintf("01JDY%020dX", from+i)
		subject, expected := events.ExecutionSubject("alice", id), uint64(0)
		for _, d := range []events.Data{events.ExecutionRequested{}, events.ExecutionStarted{Attempt: 1, Watcher: "w"}, events.ExecutionSucceeded{Attempt: 1}} {
			var err error
			if expected, err = l.Append(t.Context(), subject, expected, events.Event{ID: id + string(d.Type()), Source: "test", Data: d}); err != nil {
				t.Fatal(err)
			}
		}
		last = expected
	}
	return last
}

// TestNextCommitGrowsMeanwhile: what comes while a commit is under way is written by the next one, as
// far as it fits, and each execution costs two keys.
func TestNextCommitGrowsMeanwhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, s := memlog.New(), newMemStore()
		p, slow := newMem(l, s), newSlow(s)
		p.store = slow
		last := lives(t, l, 0, 10)
		Start(t, p)
		synctest.Wait()
		first, before := <-slow.begun, uint64(0) // as much of it as was there at once
		for n, want := range []struct{ keys, add int }{{2*310 + 5 - first, 310 - 10}, {maxKeys, 1000}, {maxKeys, 0}} {
			last = max(last, lives(t, l, int(last), want.add))
			synctest.Wait() // it has taken what it can
			wantProgress(t, p, before)
			slow.let <- struct{}{}
			synctest.Wait()
			before, _ = p.Progress()
			if keys := <-slow.begun; keys > min(want.keys+maxKeysARecord, maxKeys) || keys < want.keys-maxKeysARecord {
				t.Errorf("commit %d is of %d keys, want %d", n+1, keys, want.keys)
			}
		}
		slow.let <- struct{}{}
		synctest.Wait()
		before, _ = p.Progress()
		for ; before < last; before, _ = p.Progress() {
			<-slow.begun
			slow.let <- struct{}{}
			synctest.Wait()
		}
		p.store = s
		WantVerified(t, p)
	})
}

// TestSnapshotsWhileACommitIsUnderWay: they may be older or newer than the commit, which does not
// touch what they are of; what somebody else wrote meanwhile is a conflict.
func TestSnapshotsWhileACommitIsUnderWay(t *testing.T) {
	for _, test := range []struct {
		name   string
		landed bool
		meddle int  // how often somebody else moves the checkpoint then, before the snapshot
		atOnce bool // the snapshot itself is a conflict
	}{
		{name: "older"},
		{name: "newer", landed: true},
		{name: "somebody else's", meddle: 1},
		{name: "somebody else's behind it", landed: true, meddle: 1},
		{name: "somebody else's twice", meddle: 2, atOnce: true},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newMemStore()
			s.snap.values["user.bob"] = []byte(`{"last":7}`)
			p, slow := newMem(memlog.New(), s), newSlow(s)
			x, err := p.open(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			x.store = slow
			x.Put("user.alice", executions.User{Last: 1})
			x.start(map[string][]byte{"user.alice": []byte(`{"last":1}`)}, 1)
			<-slow.begun
			if test.landed {
				slow.let <- struct{}{}
				WaitUntil(t, p, 1)
			}
			for range test.meddle {
				if _, err := s.commit(t.Context(), nil, 1, s.snap.revision); err != nil {
					t.Fatal(err)
				}
				_, err = x.Get(fmt.Sprint("user.carol", s.snap.revision))
			}
			var bob any
			if err == nil {
				bob, err = x.Get("user.bob")
			}
			if test.atOnce {
				if !errors.Is(err, errConflict) {
					t.Errorf("the snapshot: %v, want a conflict", err)
				}
			} else if err != nil || bob != (executions.User{Last: 7}) {
				t.Errorf("bob is %v, %v", bob, err)
			}
			if alice, err := x.Get("user.alice"); err != nil || alice != (executions.User{Last: 1}) {
				t.Errorf("alice is %v, %v", alice, err)
			}
			if !test.landed {
				slow.let <- struct{}{}
			}
			if err := x.land(); test.meddle > 0 != errors.Is(err, errConflict) {
				t.Errorf("the commit: %v", err)
			}
		})
	}
}
