package watcher

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"golang.org/x/sync/semaphore"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/services/api"
	"github.com/hermes-serverless/hermes/services/watcher/gate"
	"github.com/hermes-serverless/hermes/services/watcher/output"
	"github.com/hermes-serverless/hermes/services/watcher/pool"
)

// ErrConnectionClosed: the connection to NATS was closed for good while the watcher ran.
var ErrConnectionClosed = errors.New("the connection to NATS is closed")

// Watcher runs executions on one machine. Make it with New and run it once.
type Watcher struct {
	Options
	session string
	asker   asker
	output  *output.Publisher
	reports reportDir
	lease   *keeper

	counters counters

	held    *held
	spares  *pool.Pool[spareKey]
	notices notices
	places  *semaphore.Weighted
	// making slows down who has sandboxes made without end, while others use the machine too.
	making *gate.Gate
	// gate is held by each claim under way, and as a whole by a hello that is not yet answered.
	gate      *semaphore.Weighted
	leaseHeld atomic.Bool
	// greetings has room for one: a token asks for a hello. greeted is closed at the first answer.
	greetings chan struct{}
	greeted   chan struct{}
	// helloNumber counts hellos; whoever says one holds the gate.
	helloNumber uint64
	leaving     chan struct{} // closed when the drain begins

	// life ends last of all, storing when output is given up that could not be stored.
	life, storing       context.Context
	endLife, endStoring context.CancelFunc
	serving             sync.WaitGroup // attempts that are prepared or run
	work                sync.WaitGroup // everything else
}

// New checks the options and makes a watcher. It talks to nobody yet.
func New(o Options) (*Watcher, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	out, err := output.New(o.Conn, cmp.Or(o.Bulk, o.Conn))
	if err != nil {
		return nil, err
	}
	w := &Watcher{
		Options: o, session: api.NewID(), output: out,
		asker: asker{nc: o.Conn, name: o.Name, log: o.Log},
		held:  newHeld(), places: semaphore.NewWeighted(int64(o.MaxHeld)), gate: semaphore.NewWeighted(gateAll), making: gate.New(makingRest),
		greetings: make(chan struct{}, 1), greeted: make(chan struct{}), leaving: make(chan struct{}),
	}
	if w.GPUs != nil {
		w.GPUs.OnChange(w.greet)
	}
	return w, nil
}

// Run takes runs until the context ends, and returns after an orderly drain: what runs has Grace
// to end, reports are sent or left on disk. Errors: ErrStateInUse, ErrNameTaken,
// ErrConnectionClosed, and what keeps it from starting.
func (w *Watcher) Run(ctx context.Context) error {
	lock, err := lockState(w.StateDir)
	if err != nil {
		return err
	}
	defer lock.Close() //nolint:errcheck // closing is what lets go of it
	old, err := w.recover(ctx)
	if err != nil {
		return unlessEnded(ctx, err)
	}
	acquired, err := w.acquireLease(ctx)
	if err != nil {
		return unlessEnded(ctx, err)
	}
	// What runs here outlives the context: the drain ends it.
	w.life, w.endLife = context.WithCancel(context.WithoutCancel(ctx))
	w.storing, w.endStoring = context.WithCancel(w.life)
	defer w.endLife()
	w.spares = w.newSpares()
	w.counters.spares.Store(w.spares)
	defer w.closeSpares()
	return w.live(ctx, acquired, old)
}

// unlessEnded is the error, or nil when it comes from a start that was called off.
func unlessEnded(ctx context.Context, err error) error {
	if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		return nil
	}
	return err
}

// recover removes what an earlier process left and returns the reports that it could not send.
func (w *Watcher) recover(ctx context.Context) ([]api.Report, error) {
	var err error
	if w.reports, err = openReports(w.StateDir); err != nil {
		return nil, err
	}
	if err := errors.Join(os.RemoveAll(w.scratch()), os.Mkdir(w.scratch(), 0o700)); err != nil {
		return nil, fmt.Errorf("clear the scratch folder: %w", err)
	}
	if err := w.reap(ctx); err != nil {
		return nil, fmt.Errorf("remove what an earlier watcher left: %w", err)
	}
	old, bad := w.reports.load()
	for _, err := range bad {
		w.Log.Error("a report of an earlier session cannot be read; its execution will count as lost", "err", err)
	}
	return old, nil
}

// reapWithin is how long a runtime may be away while the watcher starts. A containerd that died is
// there again sooner.
const reapWithin = time.Minute

// reap removes what an earlier process left. It waits for a runtime that does not answer.
func (w *Watcher) reap(ctx context.Context) error {
	return persist(ctx, reapWithin, permanentRuntime, func() error {
		err := w.Runtime.Reap(ctx)
		if err != nil {
			w.Log.Warn("what an earlier watcher left cannot be removed yet", "err", err)
		}
		return err
	})
}

// scratch is a folder for what nobody needs after a crash.
func (w *Watcher) scratch() string { return filepath.Join(w.StateDir, "scratch") }

func (w *Watcher) acquireLease(ctx context.Context) (acquired time.Time, err error) {
	mine, err := lastSession(w.StateDir)
	if err != nil {
		return time.Time{}, err
	}
	w.lease = &keeper{
		store: &kvLease{js: w.JS, name: w.Name, ttl: w.LeaseTTL}, ttl: w.LeaseTTL, session: w.session, log: w.Log,
		lost: w.loseLease, held: w.regainLease, poke: make(chan struct{}, 1),
	}
	if w.GPUs != nil {
		w.lease.gpus = w.gpuReadings
	}
	if acquired, err = w.lease.acquire(ctx, mine); err != nil {
		return time.Time{}, err
	}
	w.leaseHeld.Store(true)
	return acquired, writeSession(w.StateDir, w.session)
}

// live runs everything until the context ends or the watcher cannot go on, and then drains.
func (w *Watcher) live(ctx context.Context, acquired time.Time, old []api.Report) error {
	fatal := make(chan error, 2)
	stopLease, leaseDone := w.keepLease(acquired, fatal)
	requests, unsubscribe, err := w.listen()
	if err != nil {
		stopLease()
		return errors.Join(err, w.lease.release(context.WithoutCancel(ctx)))
	}
	defer unsubscribe()
	for _, report := range old {
		w.redeliver(report)
	}
	w.greet()
	w.work.Go(func() { w.hellos(w.life) })
	if w.GPUs != nil {
		w.work.Go(func() { w.GPUs.Run(w.life) })
	}
	w.work.Go(func() { w.watchConnection(fatal) })
	pulling, stopPulling := context.WithCancel(ctx)
	defer stopPulling()
	pulled := make(chan struct{})
	go func() {
		defer close(pulled)
		w.takeRequests(pulling, requests)
	}()
	var cause error
	select {
	case <-ctx.Done():
	case cause = <-fatal:
		w.Log.Error("the watcher cannot go on", "err", cause)
	}
	close(w.leaving)
	stopPulling()
	<-pulled
	clean := w.drain(cause == nil)
	stopLease()
	<-leaseDone
	w.work.Wait()
	if clean && cause == nil {
		w.removeLease()
	}
	return cause
}

// listen subscribes to what the watcher is told while it runs. It comes before the first hello: a
// run request that was not heard is sent again when a hello does not name it.
func (w *Watcher) listen() (requests *nats.Subscription, unsubscribe func(), err error) {
	var undo []func()
	unsubscribe = func() {
		for _, each := range undo {
			each()
		}
	}
	for _, hear := range []func() (func(), error){w.takeCancels, w.takeInput, w.hearStale} {
		silence, err := hear()
		if err != nil {
			unsubscribe()
			return nil, nil, err
		}
		undo = append(undo, silence)
	}
	requests, err = w.Conn.SubscribeSync(events.RunsSubject(w.Name))
	if err != nil {
		unsubscribe()
		return nil, nil, fmt.Errorf("listen for run requests: %w", err)
	}
	undo = append(undo, func() { _ = requests.Unsubscribe() })
	return requests, unsubscribe, nil
}

func (w *Watcher) keepLease(acquired time.Time, fatal chan<- error) (stop context.CancelFunc, done <-chan struct{}) {
	ctx, stop := context.WithCancel(w.life)
	over := make(chan struct{})
	go func() {
		defer close(over)
		if err := w.lease.keep(ctx, acquired); err != nil {
			fatal <- err
		}
	}()
	return stop, over
}

func (w *Watcher) removeLease() {
	ctx, cancel := context.WithTimeout(context.Background(), askTimeout)
	defer cancel()
	if err := w.lease.release(ctx); err != nil {
		w.Log.Warn("cannot remove the lease; it runs out by itself", "err", err)
	}
}

func (w *Watcher) isLeaving() bool {
	select {
	case <-w.leaving:
		return true
	default:
		return false
	}
}

// loseLease ends everything that runs: from the lease's end on somebody else may run it.
func (w *Watcher) loseLease() {
	w.leaseHeld.Store(false)
	for _, a := range w.held.all() {
		a.halt(leaseLost)
	}
}

// regainLease says hello when the lease had been lost.
func (w *Watcher) regainLease() {
	if !w.leaseHeld.Swap(true) {
		w.greet()
	}
}
