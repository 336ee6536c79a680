package watcher

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/hermes-serverless/hermes/services/api"
)

// ErrNameTaken: another watcher lives under the same name.
var ErrNameTaken = errors.New("another watcher runs under this name")

// Errors of a leaseStore.
var (
	errNoLease    = errors.New("no lease")
	errLeaseMoved = errors.New("the lease is not as expected")
)

// leaseStore holds the one lease of this watcher's name.
type leaseStore interface {
	// get returns the lease and its revision, or errNoLease.
	get(ctx context.Context) (api.Lease, uint64, error)
	// create makes the lease if there is none, or errLeaseMoved.
	create(ctx context.Context, l api.Lease) (uint64, error)
	// update replaces the lease of this revision, or errLeaseMoved.
	update(ctx context.Context, l api.Lease, revision uint64) (uint64, error)
	// remove deletes the lease of this revision.
	remove(ctx context.Context, revision uint64) error
}

// keeper holds the lease. Its time is the monotonic clock of this process: it counts from before a
// renewal was sent, so it is over here before it is over at the server.
type keeper struct {
	store   leaseStore
	ttl     time.Duration
	session string
	log     *slog.Logger
	// lost is called when runs must end because the lease is about to be over; held when it is
	// held (again). Both are called from keep.
	lost, held func()
	// gpus are the last readings of the machine's devices; nil: it has none.
	gpus func() []api.GPUReading
	poke chan struct{} // renew now

	mu       sync.Mutex
	draining bool
	revision uint64
}

// margin is what is kept of the lease for killing what runs.
func margin(ttl time.Duration) time.Duration { return ttl / 6 }

// retryEvery is how often a renewal that failed is tried again.
func retryEvery(ttl time.Duration) time.Duration { return ttl / 18 }

// acquire takes the lease and says since when it counts. One that the earlier session of this very
// state folder left is taken at once: the folder's lock proves that session dead. Another's is
// watched for as long as it could stand without a renewal: ErrNameTaken if it is renewed or does
// not go away.
func (k *keeper) acquire(ctx context.Context, mine string) (time.Time, error) {
	started := time.Now()
	var seen uint64
	for {
		sent := time.Now()
		lease, revision, err := k.take(ctx, mine)
		switch {
		case err == nil:
			k.setRevision(revision)
			return sent, nil
		case errors.Is(err, ErrNameTaken):
			if seen != 0 && revision != seen || time.Since(started) > k.ttl+k.ttl/3 {
				return time.Time{}, fmt.Errorf("%w (its session is %s)", err, lease.Session)
			}
			if seen == 0 {
				k.log.Info("a lease stands under this name; waiting whether its watcher lives", "session", lease.Session)
			}
			seen = revision
		case ctx.Err() == nil && !errors.Is(err, errLeaseMoved):
			k.log.Warn("cannot take the lease; trying again", "err", err)
			started, seen = time.Now(), 0
		}
		if !pause(ctx, retryEvery(k.ttl)) {
			return time.Time{}, ctx.Err()
		}
	}
}

// take takes the lease if nobody else holds it. ErrNameTaken comes with what stands there.
func (k *keeper) take(ctx context.Context, mine string) (api.Lease, uint64, error) {
	lease, revision, err := k.store.get(ctx)
	switch {
	case errors.Is(err, errNoLease):
		revision, err = k.store.create(ctx, k.value())
	case err == nil && mine != "" && lease.Session == mine:
		revision, err = k.store.update(ctx, k.value(), revision)
	case err == nil:
		err = ErrNameTaken
	}
	return lease, revision, err
}

// keep renews the lease, which counts since the time acquired, until the context ends. Its only
// other error is ErrNameTaken; lost has been called then.
func (k *keeper) keep(ctx context.Context, acquired time.Time) error {
	deadline := acquired.Add(k.ttl - margin(k.ttl))
	wait, alive := k.ttl/3, true
	for {
		if alive {
			wait = min(wait, time.Until(deadline))
		}
		k.await(ctx, wait)
		if ctx.Err() != nil {
			return nil
		}
		sent := time.Now()
		err := k.renewBefore(ctx, deadline, alive)
		switch {
		case err == nil:
			deadline, wait, alive = sent.Add(k.ttl-margin(k.ttl)), k.ttl/3, true
			k.held()
		case errors.Is(err, ErrNameTaken):
			k.lost()
			return err
		default:
			wait = retryEvery(k.ttl)
			if alive && !time.Now().Before(deadline) {
				k.log.Error("the lease could not be renewed: ending everything that runs", "err", err)
				alive = false
				k.lost()
			}
		}
	}
}

func (k *keeper) await(ctx context.Context, wait time.Duration) {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-k.poke:
	case <-ctx.Done():
	}
}

// renewBefore renews once and, while the lease is alive, returns no later than its deadline. One
// that a dying server took along is never answered: it must leave the time for others.
func (k *keeper) renewBefore(ctx context.Context, deadline time.Time, alive bool) error {
	patience := time.Now().Add(k.ttl / 6)
	if alive && deadline.Before(patience) {
		patience = deadline
	}
	ctx, cancel := context.WithDeadline(ctx, patience)
	defer cancel()
	return k.renew(ctx)
}

// renew writes the lease. When it is not as expected, what stands there decides: an own renewal
// whose answer was lost, nothing, or another watcher's.
func (k *keeper) renew(ctx context.Context) error {
	revision, err := k.store.update(ctx, k.value(), k.lastRevision())
	if errors.Is(err, errLeaseMoved) {
		var lease api.Lease
		lease, revision, err = k.store.get(ctx)
		switch {
		case errors.Is(err, errNoLease):
			revision, err = k.store.create(ctx, k.value())
		case err == nil && lease.Session != k.session:
			return fmt.Errorf("%w (its session is %s)", ErrNameTaken, lease.Session)
		case err == nil:
			revision, err = k.store.update(ctx, k.value(), revision)
		}
	}
	if err == nil {
		k.setRevision(revision)
	}
	return err
}

// drain makes the lease say that nothing new is taken.
func (k *keeper) drain() {
	k.mu.Lock()
	k.draining = true
	k.mu.Unlock()
	k.renewNow()
}

// renewNow asks keep not to wait for its time.
func (k *keeper) renewNow() {
	select {
	case k.poke <- struct{}{}:
	default:
	}
}

// release removes the lease. It is called when keep has returned. The last renewal may have been
// stored although its answer was not waited for: then the lease has moved, and is still this
// session's.
func (k *keeper) release(ctx context.Context) error {
	err := k.store.remove(ctx, k.lastRevision())
	if !errors.Is(err, errLeaseMoved) {
		return err
	}
	held, revision, err := k.store.get(ctx)
	switch {
	case errors.Is(err, errNoLease) || err == nil && held.Session != k.session:
		return nil // it has run out already
	case err != nil:
		return err
	}
	if err := k.store.remove(ctx, revision); !errors.Is(err, errLeaseMoved) {
		return err
	}
	return nil
}

func (k *keeper) value() api.Lease {
	k.mu.Lock()
	defer k.mu.Unlock()
	l := api.Lease{Session: k.session, Draining: k.draining}
	if k.gpus != nil {
		l.GPUs = k.gpus()
	}
	return l
}

func (k *keeper) lastRevision() uint64 {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.revision
}

func (k *keeper) setRevision(revision uint64) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.revision = revision
}
