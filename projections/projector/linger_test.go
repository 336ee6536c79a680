package projector

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/hermes-serverless/hermes/events/log/memlog"
)

// TestLinger writes the views of events that come close together once, and those that somebody
// waits for at once.
func TestLinger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, s := memlog.New(), newMemStore()
		w, p := NewWriter(l, 1), newMem(l, s)
		p.o.Linger = time.Minute
		Start(t, p)
		w.Write(t, 1)
		time.Sleep(p.o.Linger / 2)
		last := w.Write(t, 1)
		synctest.Wait()
		wantProgress(t, p, 0)
		time.Sleep(p.o.Linger / 2)
		synctest.Wait()
		wantProgress(t, p, last)
		if s.snap.revision != 1 {
			t.Errorf("two events were written by %d commits, want 1", s.snap.revision)
		}
		last = w.Write(t, 1)
		synctest.Wait()
		wantProgress(t, p, last-1)
		p.Want(last)
		synctest.Wait()
		wantProgress(t, p, last)
		p.Want(last + 1)
		last = w.Write(t, 1)
		synctest.Wait()
		wantProgress(t, p, last)
	})
}

// TestLingerWithMoreWaiting: what waits already is no reason to write at once, unless it is much.
func TestLingerWithMoreWaiting(t *testing.T) {
	for _, test := range []struct {
		events int
		atOnce bool
	}{{chunk / 2, false}, {3 * chunk, true}} {
		synctest.Test(t, func(t *testing.T) {
			l, s := memlog.New(), newMemStore()
			w, p := NewWriter(l, 1), newMem(l, s)
			p.o.Linger = time.Minute
			last := w.Write(t, test.events)
			Start(t, p)
			synctest.Wait()
			if at, _ := p.Progress(); at > 0 != test.atOnce {
				t.Errorf("of %d events %d were written at once", test.events, at)
			}
			time.Sleep(p.o.Linger)
			synctest.Wait()
			wantProgress(t, p, last)
			// Each but the last is of what one is worth, at least.
			if most := uint64(test.events/chunk) + 1; s.snap.revision > most {
				t.Errorf("%d events were written by %d commits, want %d at most", test.events, s.snap.revision, most)
			}
		})
	}
}

func wantProgress(t *testing.T, p *Projector, want uint64) {
	t.Helper()
	if at, _ := p.Progress(); at != want {
		t.Errorf("the projection is at %d, want %d", at, want)
	}
}
