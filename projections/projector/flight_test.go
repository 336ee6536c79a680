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
		for n, want := range []struct{ keys, add int }{{2*310 + 5 - first, 310 - 10}, {maxKeys, 3000}, {2 * maxKeys, 0}} {
			last = max(last, lives(t, l, int(last), want.add))
			synctest.Wait() // it has taken what it can
			wantProgress(t, p, before)
			slow.let <- struct{}{}
			synctest.Wait()
			before, _ = p.Progress()
			if keys := <-slow.begun; keys > min(want.keys+maxKeysARecord, 2*maxKeys) || keys < want.keys-maxKeysARecord {
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

// narrow is a bucket that takes so many keys in a commit.
type narrow struct {
	store
	most, widest int
	refused      int
}

func (s *narrow) commit(ctx context.Context, writes map[string][]byte, checkpoint, revision uint64) (uint64, error) {
	if len(writes) > s.most {
		s.refused++
		return 0, errTooLarge
	}
	s.widest = max(s.widest, len(writes))
	return s.store.commit(ctx, writes, checkpoint, revision)
}

// TestCommitsGrow: what is far behind is written in few commits, as large as the bucket takes them; what is too
// large for it is tried once.
func TestCommitsGrow(t *testing.T) {
	for _, test := range []struct{ most, widest, refused int }{{maxKeys, maxKeys, 1}, {mostKeys, mostKeys, 0}, {3 * maxKeys, 2 * maxKeys, 1}} {
		synctest.Test(t, func(t *testing.T) {
			l, s := memlog.New(), newMemStore()
			last := lives(t, l, 0, 12_000)
			p, n := newMem(l, s), &narrow{store: s, most: test.most}
			slow := newSlow(n)
			p.store = slow
			Start(t, p)
			for at := uint64(0); at < last; at, _ = p.Progress() {
				<-slow.begun
				synctest.Wait() // the next one has taken what it can
				slow.let <- struct{}{}
				synctest.Wait()
			}
			if n.refused != test.refused || n.widest > test.widest || n.widest < test.widest-maxKeysARecord {
				t.Errorf("of at most %d keys: one of %d keys, %d refused; want one of %d, %d refused", test.most, n.widest, n.refused, test.widest, test.refused)
			}
			p.store = s
			WantVerified(t, p)
		})
	}
}

// TestLargeValuesKeepCommitsSmall: a commit has no more bytes than a server may buffer.
func TestLargeValuesKeepCommitsSmall(t *testing.T) {
	p := New(Options{})
	large := map[string][]byte{}
	for i := range maxKeys {
		large[fmt.Sprint(i)] = make([]byte, mostBytes/maxKeys/2*3)
	}
	for range 3 {
		if p.grow(large, true); p.most != maxKeys {
			t.Fatalf("the next is of %d keys", p.most)
		}
	}
	if p.grow(map[string][]byte{"a": nil}, false); p.most != maxKeys {
		t.Errorf("behind one that had room the next is of %d keys", p.most)
	}
	if p.grow(map[string][]byte{"a": make([]byte, 9)}, true); p.most != 2*maxKeys {
		t.Errorf("behind a full one the next is of %d keys", p.most)
	}
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
