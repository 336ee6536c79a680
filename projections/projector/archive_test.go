package projector

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/events/log"
	"github.com/hermes-serverless/hermes/events/log/memlog"
	"github.com/hermes-serverless/hermes/events/natstest"
	"github.com/hermes-serverless/hermes/projections"
	"github.com/hermes-serverless/hermes/projections/executions"
	"github.com/hermes-serverless/hermes/projections/foldtest"
)

// memArchive is an archive in memory, with the part of a log that is asked of one.
type memArchive struct {
	log.Log
	mu   sync.Mutex
	all  []*log.UndecodableError
	more chan struct{}
}

func newMemArchive() *memArchive { return &memArchive{more: make(chan struct{})} }

// put puts the final views of everything that has ended into the archive, as far as there is nothing live
// in front, and returns its last sequence.
func (a *memArchive) put(t *testing.T, l log.Log) uint64 {
	t.Helper()
	tx := foldtest.Tx{}
	for r, err := range l.Read(t.Context(), ">", 1) {
		if err = errors.Join(err, executions.Projection.Step(tx, r, err)); err != nil {
			t.Fatal(err)
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	has := map[string]int64{}
	for _, m := range a.all {
		var e executions.Execution
		if err := json.Unmarshal(m.Message.Data, &e); err != nil {
			t.Fatal(err)
		}
		has[e.Owner] = e.Number
	}
	for _, owner := range []string{"alice", "bob", "carol"} {
		for {
			e, _ := tx[executions.ViewKey(owner, has[owner]+1)].(executions.Execution)
			if !e.Status.Final() {
				break
			}
			has[owner]++
			raw, err := projections.Encode(e)
			if err != nil {
				t.Fatal(err)
			}
			a.all = append(a.all, &log.UndecodableError{
				Subject: events.ArchiveSubject(owner, e.RequestedAt), Sequence: uint64(len(a.all)) + 1,
				Message: events.Message{Header: map[string]string{projections.HeaderLogSequence: fmt.Sprint(e.Sequence)}, Data: raw},
			})
		}
	}
	close(a.more)
	a.more = make(chan struct{})
	return uint64(len(a.all))
}

func (a *memArchive) Head(context.Context, string) (uint64, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return uint64(len(a.all)), nil
}

func (a *memArchive) Read(_ context.Context, _ string, from uint64) iter.Seq2[events.Record, error] {
	return func(yield func(events.Record, error) bool) {
		a.mu.Lock()
		all := a.all
		a.mu.Unlock()
		for _, m := range all[min(from-1, uint64(len(all))):] {
			if !yield(events.Record{Subject: m.Subject, Sequence: m.Sequence}, m) {
				return
			}
		}
	}
}

func (a *memArchive) Follow(ctx context.Context, filter string, from uint64) iter.Seq2[events.Record, error] {
	return func(yield func(events.Record, error) bool) {
		for {
			a.mu.Lock()
			more := a.more
			a.mu.Unlock()
			for r, err := range a.Read(ctx, filter, from) {
				if !yield(r, err) {
					return
				}
				from = r.Sequence + 1
			}
			select {
			case <-more:
			case <-ctx.Done():
				yield(events.Record{}, ctx.Err())
				return
			}
		}
	}
}

func newLetting(l *memlog.Log, a *memArchive, s store) *Projector {
	p := New(Options{Log: l, Archive: a, Projection: executions.Projection, Standby: 1})
	p.store = s
	return p
}

// untilArchived returns when the bucket has applied the archive up to the sequence, or the context ends.
func untilArchived(ctx context.Context, t *testing.T, s *memStore, sequence uint64) {
	t.Helper()
	for until := time.Now().Add(time.Minute); ctx.Err() == nil; time.Sleep(100 * time.Microsecond) {
		snap, _ := s.snapshot(ctx, archivedKey)
		if mark, err := markOf(snap); err != nil || mark.Sequence >= sequence {
			return
		}
		if time.Now().After(until) {
			t.Fatal("the archive is not applied")
		}
	}
}

func (s *memStore) count(prefix string) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for key := range s.snap.values {
		if strings.HasPrefix(key, prefix) {
			n++
		}
	}
	return n
}

// TestLettingGoSurvivesCrashes in every place: what is let go of once is all that there is to let go of.
func TestLettingGoSurvivesCrashes(t *testing.T) {
	l, a := memlog.New(), newMemArchive()
	w := NewWriter(l, 7)
	w.Write(t, 1000)
	last := a.put(t, l)
	head := w.Write(t, 200)
	total := w.Count["alice"] + w.Count["bob"] + w.Count["carol"]
	if last < 100 || last == uint64(total) {
		t.Fatalf("%d of %d are archived", last, total)
	}
	for _, effect := range []bool{false, true} {
		crashes := 0
		for n := 0; ; n++ {
			s := newMemStore()
			ctx, cancel := context.WithCancel(t.Context())
			crashing := &crashingStore{store: s, left: n, effect: effect, crash: cancel}
			p, done := newLetting(l, a, crashing), make(chan error, 1)
			go func() { done <- p.Run(ctx) }()
			untilArchived(ctx, t, s, last)
			cancel()
			if err := <-done; err != nil {
				t.Fatal(err)
			}
			p = newLetting(l, a, s)
			stop := Start(t, p)
			untilArchived(t.Context(), t, s, last)
			WaitUntil(t, p, head)
			stop()
			WantVerified(t, p)
			if views, ids := s.count("view."), s.count("id."); int64(views) != total-int64(last) || ids != views {
				t.Fatalf("crashed at %d: %d views and %d ids are left of %d, %d are archived", n, views, ids, total, last)
			}
			if !crashing.crashed {
				break
			}
			crashes++
		}
		if crashes < 5 {
			t.Errorf("crashed in %d places only", crashes)
		}
	}
}

// sweeping counts how often the bucket is looked through.
type sweeping struct {
	store
	mu sync.Mutex
	n  int
}

func (s *sweeping) oldest(ctx context.Context, prefix string, f func(sequence uint64, key string, value []byte) (bool, error)) error {
	s.mu.Lock()
	s.n++
	s.mu.Unlock()
	return s.store.oldest(ctx, prefix, f)
}

// TestTheBucketIsSweptAgain after a reconnect that no session has heard of.
func TestTheBucketIsSweptAgain(t *testing.T) {
	js, l, a, s := natstest.Connect(t), memlog.New(), newMemArchive(), newMemStore()
	NewWriter(l, 8).Write(t, 300)
	p := newLetting(l, a, s)
	stop := Start(t, p)
	untilArchived(t.Context(), t, s, a.put(t, l))
	stop()
	counted, each := &sweeping{store: s}, len(executions.Projection.Letting.Prefixes)
	p = newLetting(l, a, counted)
	p.o.JS = js
	look := func(want int) {
		t.Helper()
		tx, err := p.open(t.Context())
		if err == nil {
			err = p.deleteLetGo(tx)
		}
		if err != nil || counted.n != want {
			t.Fatalf("%d looks at keys of one kind, %v; want %d", counted.n, err, want)
		}
	}
	look(each)
	look(each)
	connected := js.Conn().StatusChanged(nats.CONNECTED)
	if err := js.Conn().ForceReconnect(); err != nil {
		t.Fatal(err)
	}
	<-connected
	look(2 * each)
	look(2 * each)
}

// TestTheBucketIsSweptOnce, however often another projector is faster.
func TestTheBucketIsSweptOnce(t *testing.T) {
	l, a, s := memlog.New(), newMemArchive(), newMemStore()
	w := NewWriter(l, 8)
	w.Write(t, 300)
	p := newLetting(l, a, s)
	stop := Start(t, p)
	untilArchived(t.Context(), t, s, a.put(t, l))
	stop()
	counted := &sweeping{store: s}
	p = newLetting(l, a, counted)
	Start(t, p)
	for range 10 {
		WaitUntil(t, p, w.Write(t, 20))
		if err := p.claim(t.Context()); err != nil { // as another does
			t.Fatal(err)
		}
		untilArchived(t.Context(), t, s, a.put(t, l))
	}
	WantVerified(t, p)
	counted.mu.Lock()
	defer counted.mu.Unlock()
	if want := len(executions.Projection.Letting.Prefixes); counted.n != want {
		t.Errorf("%d looks at keys of %d kinds", counted.n, want)
	}
}
