package projector

import (
	"context"
	"testing"

	"github.com/hermes-serverless/hermes/events/log/memlog"
)

// asked is a store that notes how many keys it is asked for.
type asked struct {
	store
	read int
}

func (s *asked) snapshot(ctx context.Context, keys []string) (snapshot, error) {
	s.read += len(keys)
	return s.store.snapshot(ctx, keys)
}

// TestFreshBucketIsNotRead: whoever makes all views anew knows what is there, until everything is.
func TestFreshBucketIsNotRead(t *testing.T) {
	l, s := memlog.New(), newMemStore()
	last := lives(t, l, 0, 2*cacheSize)
	p := newMem(l, s)
	a := &asked{store: s}
	p.store = a
	stop := Start(t, p)
	WaitUntil(t, p, last)
	stop()
	if a.read != 0 {
		t.Errorf("%d keys of an empty bucket were read", a.read)
	}
	WantVerified(t, p)

	// Behind the restart it is a bucket as any other.
	last = lives(t, l, 1e6, 10)
	a.read = 0
	p = newMem(l, s)
	p.store = a
	stop = Start(t, p)
	WaitUntil(t, p, last)
	stop()
	if a.read == 0 {
		t.Error("no key of a bucket with views was read")
	}
	WantVerified(t, p)
}

// TestBucketWithoutCheckpointIsNotFresh: somebody may have deleted that alone.
func TestBucketWithoutCheckpointIsNotFresh(t *testing.T) {
	l, s := memlog.New(), newMemStore()
	lives(t, l, 0, 1)
	if x, err := newMem(l, s).open(t.Context()); err != nil || x.fresh == nil {
		t.Errorf("an empty bucket is not fresh, %v", err)
	}
	s.snap.values["user.alice"] = []byte(`{"last":7}`)
	if x, err := newMem(l, s).open(t.Context()); err != nil || x.fresh != nil {
		t.Errorf("a bucket with views is fresh, %v", err)
	}
}

func TestFreshKnowsWhatWasWritten(t *testing.T) {
	f := newFresh(10)
	f = f.wrote(map[string]any{"a": 1, "b": nil}, 9)
	if f.lacks("a") || f.lacks("b") || !f.lacks("c") {
		t.Error("it has a and b, and no c")
	}
	if f.wrote(nil, 10) != nil {
		t.Error("it pays at the end of the log")
	}
	f.most = 4
	if f = f.wrote(map[string]any{"d": 1, "e": 1, "f": 1}, 9); f != nil || f.lacks("c") {
		t.Error("it has no end")
	}
}
