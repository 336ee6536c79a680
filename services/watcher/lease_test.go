package watcher

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hermes-serverless/hermes/services/api"
)

// leases is a lease that runs out by itself, in the bubble's time.
type leases struct {
	mu       sync.Mutex
	ttl      time.Duration
	lease    api.Lease
	revision uint64
	until    time.Time
	down     bool // it does not answer
	deaf     bool // it does as it is told, and its answer is lost
}

// set changes it, or looks at it, as another program would.
func (l *leases) set(change func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	change()
}

func (l *leases) stands() bool { return l.revision > 0 && time.Now().Before(l.until) }

// answer returns what do does, unless the answer is lost.
func (l *leases) answer(ctx context.Context, do func() error) error {
	l.mu.Lock()
	var err error
	if !l.down {
		err = do()
	}
	lost := l.down || l.deaf
	l.mu.Unlock()
	if !lost {
		return err
	}
	<-ctx.Done()
	return ctx.Err()
}

func (l *leases) get(ctx context.Context) (lease api.Lease, revision uint64, err error) {
	err = l.answer(ctx, func() error {
		if !l.stands() {
			return errNoLease
		}
		lease, revision = l.lease, l.revision
		return nil
	})
	return lease, revision, err
}

func (l *leases) put(ctx context.Context, lease api.Lease, expected func() bool) (revision uint64, err error) {
	err = l.answer(ctx, func() error {
		if !expected() {
			return errLeaseMoved
		}
		l.lease, l.until = lease, time.Now().Add(l.ttl)
		l.revision++
		revision = l.revision
		return nil
	})
	return revision, err
}

func (l *leases) create(ctx context.Context, lease api.Lease) (uint64, error) {
	return l.put(ctx, lease, func() bool { return !l.stands() })
}

func (l *leases) update(ctx context.Context, lease api.Lease, revision uint64) (uint64, error) {
	return l.put(ctx, lease, func() bool { return l.stands() && l.revision == revision })
}

func (l *leases) remove(ctx context.Context, revision uint64) error {
	return l.answer(ctx, func() error {
		if !l.stands() || l.revision != revision {
			return errLeaseMoved
		}
		l.revision = 0
		return nil
	})
}

func TestReleaseFindsARenewalThatWasNotHeardOf(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &leases{ttl: ttl}
		k := keep(store)
		if _, err := k.acquire(t.Context(), ""); err != nil {
			t.Fatal(err)
		}
		if _, err := store.update(t.Context(), k.value(), k.lastRevision()); err != nil {
			t.Fatal(err)
		}
		if err := k.release(t.Context()); err != nil || store.stands() {
			t.Errorf("after the release it stands: %t, %v", store.stands(), err)
		}
		// Somebody else's is left alone.
		theirs := api.Lease{Session: "theirs"}
		store.revision = 7
		if _, err := store.create(t.Context(), theirs); err == nil {
			t.Fatal("a lease was made beside one that stands")
		}
		if _, err := store.update(t.Context(), theirs, 7); err != nil {
			t.Fatal(err)
		}
		if err := k.release(t.Context()); err != nil || !store.stands() {
			t.Errorf("another's lease stands: %t, %v", store.stands(), err)
		}
	})
}

const ttl = 9 * time.Second

// kept is a keeper and what it has called.
type kept struct {
	*keeper
	lostAt time.Time
	loses  int
}

func keep(store *leases) *kept {
	k := &kept{}
	k.keeper = &keeper{
		store: store, ttl: ttl, session: "mine", log: slog.New(slog.DiscardHandler), poke: make(chan struct{}, 1),
		lost: func() { store.set(func() { k.lostAt = time.Now(); k.loses++ }) },
		held: func() { store.set(func() { k.lostAt = time.Time{} }) },
	}
	return k
}

// start takes the lease and keeps it until stop is called.
func (k *kept) start(t *testing.T) (stop func()) {
	t.Helper()
	acquired, err := k.acquire(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- k.keep(ctx, acquired) }()
	return func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

func TestLeaseIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &leases{ttl: ttl}
		k := keep(store)
		stop := k.start(t)
		for range 100 {
			time.Sleep(ttl / 10)
			store.set(func() {
				if !store.stands() || k.loses > 0 {
					t.Error("the lease ran out")
				}
			})
		}
		k.drain()
		synctest.Wait()
		store.set(func() {
			if !store.lease.Draining {
				t.Error("draining is not said at once")
			}
			store.deaf = true // renewals arrive, their answers do not
		})
		time.Sleep(2 * ttl)
		store.set(func() { store.deaf = false })
		time.Sleep(ttl)
		store.set(func() {
			if k.loses != 1 || !k.lostAt.IsZero() || !store.stands() {
				t.Errorf("lost %d times while its answers were; regained: %v", k.loses, k.lostAt.IsZero())
			}
		})
		stop()
	})
}

func TestLeaseIsLostBeforeItIsOver(t *testing.T) {
	for _, after := range []time.Duration{0, time.Second, ttl / 3, ttl/3 + time.Millisecond, 5 * time.Second} {
		synctest.Test(t, func(t *testing.T) {
			store := &leases{ttl: ttl}
			k := keep(store)
			stop := k.start(t)
			time.Sleep(after)
			synctest.Wait()
			var over time.Time
			store.set(func() { store.down, over = true, store.until })
			time.Sleep(time.Until(over))
			synctest.Wait()
			store.set(func() {
				if k.loses != 1 || over.Sub(k.lostAt) < margin(ttl) {
					t.Errorf("lost %d times, %v before its end; want %v", k.loses, over.Sub(k.lostAt), margin(ttl))
				}
			})
			time.Sleep(time.Minute)
			store.set(func() { store.down = false })
			time.Sleep(ttl)
			synctest.Wait()
			store.set(func() {
				if !store.stands() || !k.lostAt.IsZero() || k.loses != 1 {
					t.Error("the lease was not taken again")
				}
			})
			stop()
		})
	}
}

// The server dies with a renewal on its way and is back, without its leases, in time.
func TestLeaseOutlivesARenewalThatIsNeverAnswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &leases{ttl: ttl}
		k := keep(store)
		stop := k.start(t)
		time.Sleep(ttl/3 - time.Second)
		store.set(func() { store.down = true })
		time.Sleep(2 * time.Second) // a renewal is on its way
		store.set(func() { store.down, store.revision = false, 0 })
		time.Sleep(ttl)
		synctest.Wait()
		store.set(func() {
			if !store.stands() || k.loses != 0 {
				t.Errorf("lost %d times, stands: %t", k.loses, store.stands())
			}
		})
		stop()
	})
}

func TestLeaseTakenByAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &leases{ttl: ttl}
		k := keep(store)
		acquired, err := k.acquire(t.Context(), "")
		if err != nil {
			t.Fatal(err)
		}
		store.lease = api.Lease{Session: "theirs"}
		store.revision++
		if err := k.keep(t.Context(), acquired); !errors.Is(err, ErrNameTaken) || k.loses != 1 {
			t.Errorf("%v, lost %d times", err, k.loses)
		}
	})
}

func TestLeaseAcquire(t *testing.T) {
	for _, c := range []struct {
		name    string
		session string // of the lease that stands
		renewed bool
		within  time.Duration // of the answer
		want    error
	}{
		{name: "nothing there"},
		{name: "own dead self", session: "dead"},
		{name: "another's that is dead", session: "theirs", within: ttl + ttl/9},
		{name: "another's that lives", session: "theirs", renewed: true, within: ttl / 2, want: ErrNameTaken},
	} {
		synctest.Test(t, func(t *testing.T) {
			store := &leases{ttl: ttl}
			if c.session != "" {
				store.lease, store.revision, store.until = api.Lease{Session: c.session}, 7, time.Now().Add(ttl)
			}
			if c.renewed {
				go func() {
					time.Sleep(ttl / 3)
					store.set(func() { store.revision++ })
				}()
			}
			started := time.Now()
			_, err := keep(store).acquire(t.Context(), "dead")
			if !errors.Is(err, c.want) || time.Since(started) > c.within {
				t.Errorf("%s: %v after %v; want %v within %v", c.name, err, time.Since(started), c.want, c.within)
			}
			if c.want == nil && store.lease.Session != "mine" {
				t.Errorf("%s: the lease is of %q", c.name, store.lease.Session)
			}
			synctest.Wait()
		})
	}
}
