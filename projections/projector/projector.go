// Package projector keeps views in key-value buckets equal to the fold of their streams. It is
// the only writer of views.
//
// Views and the checkpoint up to which they are true change in one atomic batch that expects the
// checkpoint where it was left. So each event is applied exactly once, whenever the projector is
// stopped, and two projectors on one bucket do no harm: one of them loses and reads again.
package projector

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/events/log"
	"github.com/hermes-serverless/hermes/projections"
)

// Options are what a projector is made of.
type Options struct {
	JS jetstream.JetStream
	// Log is the stream to fold. All of it belongs to the projection.
	Log log.Log
	// Whole reads the stream from its beginning when the Log has let go of it; nil: the Log has it
	// all. Verify and Rebuild need it, and Run on a bucket that is further behind than the Log goes back.
	Whole func(ctx context.Context, from uint64) iter.Seq2[events.Record, error]
	// Archive keeps what the projection lets go of; nil: it lets go of nothing.
	Archive log.Log
	// Projection names the bucket.
	Projection projections.Projection
	// Logger gets what went wrong and was overcome; nil: nobody does.
	Logger *slog.Logger
	// Standby is how long to leave the bucket to another projector that was first. Default 250 ms.
	Standby time.Duration
	// Linger is how long an event may wait for others that change the same views, so that all are
	// written once. Who waits for a sequence by Want, or a log that has more already, cuts it short.
	Linger time.Duration
}

// ErrAhead: the checkpoint is past the end of the log, or no number at all: the log was restored
// from an older copy, or the bucket was tampered with. Rebuild restores the bucket.
var ErrAhead = errors.New("the checkpoint is past the end of the log")

const (
	allSubjects = ">"
	// maxKeys is what any server takes in one commit: 1000 messages, unless it is told otherwise.
	maxKeys = 990
	// mostKeys and mostBytes, about, bound a commit where the server takes more. Readers wait while it is made.
	mostKeys, mostBytes = 8 * maxKeys, 16 << 20
	// maxKeysARecord is the most that one record writes.
	maxKeysARecord = 6
	// chunk is how many records are as much as a commit is worth.
	chunk = 100
	// together is for how many records the keys are read together.
	together     = 512
	maxRetryWait = 5 * time.Second
)

// Projector folds one stream into one bucket.
type Projector struct {
	o        Options
	store    store
	progress *progress
	// gate is held while views are written, so that Rebuild in the same process gets its turn.
	gate sync.Mutex
	// sweptOn is the connection on which it was found that nothing that was let go of is in the bucket, as
	// connections counts them. It is of Run.
	sweptOn uint64
	// most is how many keys a commit may have, and refused says that the server has refused more. They are of
	// Run.
	most    int
	refused bool
}

// New returns a projector; Run starts it. It does no I/O.
func New(o Options) *Projector {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Standby == 0 {
		o.Standby = 250 * time.Millisecond
	}
	store := bucketStore{js: o.JS, bucket: o.Projection.Name}
	if o.Projection.Transient != nil {
		store.passing = append(store.passing, o.Projection.Transient.Prefix)
	}
	if o.Projection.Letting != nil {
		store.passing = append(store.passing, o.Projection.Letting.Prefixes...)
	}
	return &Projector{o: o, store: store, progress: newProgress(), most: maxKeys}
}

// Bucket is the name of the bucket that it writes.
func (p *Projector) Bucket() string { return p.o.Projection.Name }

// Progress returns the last sequence that this projector knows to be applied, and a channel that
// is closed when it knows of a later one.
func (p *Projector) Progress() (uint64, <-chan struct{}) { return p.progress.now() }

// Lag is how many events of the log this projector does not know to be applied.
func (p *Projector) Lag(ctx context.Context) (uint64, error) {
	head, err := p.o.Log.Head(ctx, allSubjects)
	if err != nil {
		return 0, err
	}
	at, _ := p.progress.now()
	return head - min(at, head), nil // a log that has let go of everything it had says 0
}

// Want says that somebody waits until the sequence is applied.
func (p *Projector) Want(sequence uint64) { p.progress.want(sequence) }

// Run projects until the context ends (nil), the log is closed (log.ErrClosed) or ErrAhead.
// Everything else it retries.
func (p *Projector) Run(ctx context.Context) error {
	for wait := 10 * time.Millisecond; ; {
		before, _ := p.progress.now()
		err := p.session(ctx)
		after, _ := p.progress.now()
		if after > before {
			wait = 10 * time.Millisecond
		}
		pause := wait
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, log.ErrClosed) || errors.Is(err, ErrAhead):
			return fmt.Errorf("project %s: %w", p.Bucket(), err)
		case errors.Is(err, errConflict):
			pause = p.o.Standby
		case errors.Is(err, errReconnected):
			pause = 0
		case errors.Is(err, errTooLarge) && p.most > maxKeys:
			p.most, p.refused, pause = maxKeys, true, 0
		default:
			p.most = maxKeys // whatever it was, less is asked of the server
			p.o.Logger.Warn("projection starts again", "bucket", p.Bucket(), "err", err)
			wait = min(2*wait, maxRetryWait)
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return nil
		}
	}
}

// session projects until the first error, or until the server may have crashed.
func (p *Projector) session(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	if p.o.JS != nil {
		defer onReconnect(p.o.JS.Conn(), func() { cancel(errReconnected) })()
	}
	err := p.project(ctx)
	if cause := context.Cause(ctx); errors.Is(cause, errReconnected) {
		return cause
	}
	return err
}

// project goes on from the bucket's checkpoint. It ends with the first error. What is read, what is
// applied and what is written are at work at the same time: while a commit is under way the next grows.
func (p *Projector) project(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	t, err := p.open(ctx)
	if err != nil {
		return err
	}
	defer func() {
		cancel()
		_ = t.land() // the next session reads what became of it
	}()
	if err := p.deleteLetGo(t); err != nil {
		return err
	}
	if err := p.deleteRevived(t); err != nil { // behind it: views are the witnesses
		return err
	}
	l, err := p.followArchive(ctx, t)
	if err != nil {
		return err
	}
	p.progress.advance(t.checkpoint)
	f, stop := p.feed(ctx, t.checkpoint+1)
	defer func() {
		stop()
		cancel()
		l.end()
	}()
	for {
		if err := p.letGo(t, l); err != nil {
			return err
		}
		items, err := f.next(t, l)
		if err != nil {
			return errors.Join(err, ctx.Err())
		}
		if len(items) == 0 { // a message of the archive is due
			continue
		}
		p.linger(ctx, items, f)
		if err := p.commitFrom(t, items, f); err != nil {
			return err
		}
	}
}

// open reads where the bucket stands.
func (p *Projector) open(ctx context.Context) (*tx, error) {
	snap, err := p.store.snapshot(ctx, nil)
	if err != nil {
		return nil, err
	}
	head, err := p.o.Log.Head(ctx, allSubjects)
	if err != nil {
		return nil, err
	}
	// A log that has let go of everything it had says 0.
	if snap.bad != "" || head != 0 && snap.checkpoint > head {
		return nil, fmt.Errorf("%w: checkpoint %d %s, log %d", ErrAhead, snap.checkpoint, snap.bad, head)
	}
	t := &tx{
		ctx: ctx, store: p.store, projection: p.o.Projection, cache: newCache(), writes: map[string]any{},
		checkpoint: snap.checkpoint, revision: snap.revision, gate: &p.gate, written: p.progress.advance,
	}
	if snap.revision == 0 && head > 0 {
		// Nor may there be keys without a checkpoint: somebody may have deleted that alone.
		empty, err := p.store.empty(ctx)
		if err != nil {
			return nil, err
		}
		if empty {
			t.fresh = newFresh(head)
		}
	}
	return t, nil
}

// linger waits for what will change the same views, unless somebody waits for this, or there is as much
// as a commit is worth.
func (p *Projector) linger(ctx context.Context, items []item, f *feed) {
	if p.o.Linger == 0 || items[0].err != nil {
		return
	}
	enough := time.NewTimer(p.o.Linger)
	defer enough.Stop()
	for {
		wanted, hurry := p.progress.need()
		if wanted >= items[0].record.Sequence || len(items)+len(f.items) >= chunk {
			return
		}
		select {
		case <-hurry:
		case <-f.plenty: // or so it was
		case <-enough.C:
			return
		case <-ctx.Done():
			return
		}
	}
}

// commitFrom applies the items and those that are there already, as many as one commit holds, and
// begins to write them. While the commit before is under way it waits for more.
func (p *Projector) commitFrom(t *tx, items []item, f *feed) error {
	checkpoint := uint64(0)
	for len(items) > 0 {
		left, err := p.apply(t, f.gather(items), &checkpoint)
		if err != nil {
			return err
		}
		if f.left = left; len(left) > 0 {
			break
		}
		if items, err = f.more(t); err != nil {
			return err
		}
	}
	encoded, err := t.encode() // while the commit before is written
	if err != nil {
		return err
	}
	if err := t.land(); err != nil {
		return err
	}
	t.start(encoded, checkpoint)
	p.grow(encoded, len(f.left) > 0)
	return nil
}

// grow lets the next commits have twice the keys behind one that could not have more: a bucket that is far
// behind is written in fewer, and a key that changes often is written less often.
func (p *Projector) grow(encoded map[string][]byte, full bool) {
	if p.refused || !full {
		return
	}
	bytes := 0
	for _, raw := range encoded {
		bytes += len(raw)
	}
	most := min(2*p.most, mostKeys)
	if bytes > 0 {
		most = min(most, len(encoded)*mostBytes/bytes)
	}
	p.most = max(most, maxKeys)
}

// apply applies the items, as far as their writes fit into the commit, and returns the others.
func (p *Projector) apply(t *tx, items []item, checkpoint *uint64) (left []item, err error) {
	if p.o.Projection.Reads != nil {
		if err := t.prefetchFor(items); err != nil {
			return nil, err
		}
	}
	for n, i := range items {
		if len(t.writes) > p.most-p.mayWrite(i) {
			return items[n:], nil
		}
		var undecodable *log.UndecodableError
		if i.err != nil && !errors.As(i.err, &undecodable) {
			return nil, i.err
		}
		if err := p.o.Projection.Step(t, i.record, i.err); err != nil {
			return nil, err
		}
		*checkpoint = i.record.Sequence
	}
	return nil, nil
}

// mayWrite bounds the keys that an item writes.
func (p *Projector) mayWrite(i item) int {
	if p.o.Projection.Forgets != nil && i.err == nil {
		if _, forgets := p.o.Projection.Forgets(i.record); forgets {
			return maxKeysARecord + projections.MaxReleased
		}
	}
	return maxKeysARecord
}
