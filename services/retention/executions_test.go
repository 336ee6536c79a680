package retention_test

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/events/leaktest"
	"github.com/hermes-serverless/hermes/events/log"
	"github.com/hermes-serverless/hermes/events/log/jslog"
	"github.com/hermes-serverless/hermes/events/streams"
	"github.com/hermes-serverless/hermes/projections/executions"
	"github.com/hermes-serverless/hermes/projections/projector"
	"github.com/hermes-serverless/hermes/projections/projector/views"
	"github.com/hermes-serverless/hermes/services/retention"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

const patience = 2 * time.Minute

// world is an embedded server with the streams and the view of executions.
type world struct {
	testing.TB
	js        jetstream.JetStream
	log       log.Log
	whole     *jslog.Whole
	projector *projector.Projector
	views     *views.Views
	stop      func()
	shutdown  func()
	// last are the sequences of the executions' last events, by subject.
	last map[string]uint64
	n    int
}

type rawMessage = jetstream.RawStreamMsg

func newWorld(t *testing.T) *world {
	t.Helper()
	return worldIn(t, t.TempDir())
}

// worldIn is a world whose server keeps what it has in the folder.
func worldIn(t testing.TB, dir string) *world {
	t.Helper()
	s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: -1, JetStream: true, StoreDir: dir, NoLog: true, NoSigs: true})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	shutdown := func() { s.Shutdown(); s.WaitForShutdown() }
	t.Cleanup(shutdown)
	nc, err := nats.Connect(s.ClientURL(), nats.Timeout(patience))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	w := &world{TB: t, last: map[string]uint64{}, shutdown: shutdown}
	if w.js, err = jetstream.New(nc); err != nil {
		t.Fatal(err)
	}
	if _, err := streams.Ensure(t.Context(), w.js, streams.Options{}); err != nil {
		t.Fatal(err)
	}
	w.log, w.whole = jslog.New(w.js, streams.Executions), jslog.NewWhole(w.js, streams.History, streams.Executions)
	w.projector = w.newProjector()
	w.views = views.New(w.js, w.log, w.projector)
	w.project()
	return w
}

func (w *world) newProjector() *projector.Projector {
	return projector.New(projector.Options{
		JS: w.js, Log: w.log, Whole: w.whole.Read, Archive: jslog.New(w.js, streams.Archive), Projection: executions.Projection,
	})
}

// project runs the projector until it is stopped.
func (w *world) project() {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- w.projector.Run(ctx) }()
	w.stop = sync.OnceFunc(func() { cancel(); <-done })
	w.Cleanup(w.stop)
}

// append appends to ana's execution of the id.
func (w *world) append(id string, all ...events.Data) {
	w.Helper()
	subject := events.ExecutionSubject("ana", id)
	for _, data := range all {
		w.n++
		event := events.Event{ID: fmt.Sprint("event", w.n), Source: "test", Time: time.Now().UTC(), Data: data}
		sequence, err := w.log.Append(w.Context(), subject, w.last[subject], event)
		if err != nil {
			w.Fatal(err)
		}
		w.last[subject] = sequence
	}
}

func (w *world) request(id string) {
	w.Helper()
	w.append(id, events.ExecutionRequested{Kind: events.KindRun, Function: events.FunctionRef{Owner: "ana", Name: "pi", Version: "1.0.0"}})
}

func (w *world) start(id string) {
	w.Helper()
	w.append(id, events.ExecutionStarted{Attempt: 1, Watcher: "w1"})
}

func (w *world) succeed(id string) {
	w.Helper()
	w.append(id, events.ExecutionSucceeded{Attempt: 1})
}

func (w *world) whole3(id string) { w.request(id); w.start(id); w.succeed(id) }

// settled waits until the views and the history have everything.
func (w *world) settled() {
	w.Helper()
	ctx, cancel := context.WithTimeout(w.Context(), patience)
	defer cancel()
	head, err := w.log.Head(ctx, ">")
	if err != nil {
		w.Fatal(err)
	}
	if err := w.views.WaitForExecutions(ctx, head); err != nil {
		w.Fatal(err)
	}
	for {
		copied, err := w.whole.Copied(ctx)
		if err != nil {
			w.Fatal(err)
		}
		if copied >= head {
			return
		}
		select {
		case <-time.After(time.Millisecond):
		case <-ctx.Done():
			w.Fatal("the history does not catch up")
		}
	}
}

// letGo lets go of what is a day old at a time that is so long from now.
func (w *world) letGo(later time.Duration, spare uint64) uint64 {
	w.Helper()
	first := w.stream().State.FirstSeq
	gone, err := retention.Executions{
		JS: w.js, Views: w.views, History: w.whole, Keep: 24 * time.Hour, Spare: spare,
		Now: func() time.Time { return time.Now().Add(later) }, Log: slog.New(slog.DiscardHandler),
	}.LetGo(w.Context())
	if err != nil {
		w.Fatal(err)
	}
	if cut := w.stream().State.FirstSeq - first; cut != gone {
		w.Fatalf("%d events are said to have gone, and %d have", gone, cut)
	}
	return gone
}

func (w *world) stream() *jetstream.StreamInfo {
	w.Helper()
	s, err := w.js.Stream(w.Context(), streams.Executions)
	if err != nil {
		w.Fatal(err)
	}
	return s.CachedInfo()
}

// verify demands that the views are the fold of everything that ever happened, and can be made anew.
func (w *world) verify() {
	w.Helper()
	if found, err := w.projector.Verify(w.Context()); err != nil || len(found) != 0 {
		w.Fatalf("verify: %v, %v", found, err)
	}
	key := streams.BucketSubject(streams.BucketExecutions, executions.ViewKey("ana", 1))
	if _, err := w.js.Publish(w.Context(), key, []byte(`{"id":"forged"}`)); err != nil {
		w.Fatal(err)
	}
	if found, err := w.projector.Rebuild(w.Context()); err != nil || len(found) != 1 {
		w.Fatalf("rebuild corrected %v, %v; want the one that was forged", found, err)
	}
	if found, err := w.projector.Verify(w.Context()); err != nil || len(found) != 0 {
		w.Fatalf("verify after rebuild: %v, %v", found, err)
	}
}

const long = 48 * time.Hour

func TestWhatEndedGoes(t *testing.T) {
	w := newWorld(t)
	for i := range 20 {
		w.whole3(fmt.Sprintf("01JDY3M8WZ%016d", i))
	}
	w.settled()
	if gone := w.letGo(time.Hour, 0); gone != 0 {
		t.Fatalf("%d events went within the time that they are kept", gone)
	}
	if gone := w.letGo(long, 15); gone != 45 {
		t.Fatalf("%d events went, want 45: 15 of 60 are spared", gone)
	}
	info := w.stream()
	if info.State.FirstSeq != 46 || info.State.LastSeq != 60 || info.Config.MaxMsgs != -1 {
		t.Fatalf("the log has %d to %d, at most %d", info.State.FirstSeq, info.State.LastSeq, info.Config.MaxMsgs)
	}
	w.verify()
	e, err := w.views.Execution(t.Context(), "ana", 1)
	if err != nil || e.Status != executions.Success || e.ID != "01JDY3M8WZ0000000000000000" {
		t.Errorf("the first is shown as %+v, %v", e, err)
	}
	listed, more, err := w.views.ListExecutions(t.Context(), "ana", 3, 10)
	if err != nil || more || len(listed) != 2 {
		t.Errorf("the oldest are listed as %v, %t, %v", listed, more, err)
	}
	var kinds []events.Type
	subject, archive := events.ExecutionSubject("ana", e.ID), fmt.Sprint(streams.HistorySubjectPrefix, events.ExecutionPartition(e.ID))
	for r, err := range w.whole.ReadOne(t.Context(), subject, archive, e.RequestedAt, e.Sequence) {
		if err != nil {
			t.Fatal(err)
		}
		kinds = append(kinds, r.Data.Type())
	}
	if len(kinds) != 3 {
		t.Errorf("its history is %v", kinds)
	}
}

// TestViewsAreMadeAnew of what the log has let go of: none of a bucket that was lost is lost.
func TestViewsAreMadeAnew(t *testing.T) {
	w := newWorld(t)
	for i := range 10 {
		w.whole3(fmt.Sprintf("01JDY3M8WZ%016d", i))
	}
	w.settled()
	for _, spare := range []uint64{11, 0} { // in the middle of an execution, and all but the last event
		w.letGo(long, spare)
		w.stop()
		bucket, err := w.js.Stream(t.Context(), streams.BucketStream(streams.BucketExecutions))
		if err != nil {
			t.Fatal(err)
		}
		if err := bucket.Purge(t.Context()); err != nil {
			t.Fatal(err)
		}
		w.projector = w.newProjector()
		w.views = views.New(w.js, w.log, w.projector)
		w.project()
		w.settled()
		w.verify()
		listed, _, err := w.views.ListExecutions(t.Context(), "ana", 0, 100)
		if err != nil || len(listed) < 10 || listed[len(listed)-1].Number != 1 {
			t.Fatalf("%d are listed, %v", len(listed), err)
		}
	}
}

// TestWhatLivesStays: an execution that is older than what is kept goes on, and its end is recorded.
func TestWhatLivesStays(t *testing.T) {
	w := newWorld(t)
	const first, queued, running, last = "01JDY3M8WZ0000000000000001", "01JDY3M8WZ0000000000000002", "01JDY3M8WZ0000000000000003", "01JDY3M8WZ0000000000000004"
	w.whole3(first)
	w.request(queued)
	w.request(running)
	w.start(running)
	w.whole3(last)
	w.settled()
	if gone := w.letGo(long, 0); gone != 3 {
		t.Fatalf("%d events went, want those of the first execution", gone)
	}
	w.verify()
	w.succeed(running)
	w.settled()
	if gone := w.letGo(long, 0); gone != 0 {
		t.Fatalf("%d events went in front of the execution that is queued", gone)
	}
	w.start(queued)
	w.succeed(queued)
	w.settled()
	if gone := w.letGo(long, 0); gone != 8 {
		t.Fatalf("%d events went when all had ended, want 8 of 9: the last one stays", gone)
	}
	w.verify()
	// The log goes on where it was.
	w.request("01JDY3M8WZ0000000000000005")
	w.settled()
	if e, err := w.views.Execution(t.Context(), "ana", 5); err != nil || e.Sequence != 13 || e.Status != executions.Queued {
		t.Errorf("the next is %+v, %v", e, err)
	}
	w.verify()
}

// TestTheHistoryIsWaitedFor: what has not been copied stays, and so does what the views do not know.
func TestTheHistoryIsWaitedFor(t *testing.T) {
	w := newWorld(t)
	w.whole3("01JDY3M8WZ0000000000000001")
	w.settled()
	if err := w.js.DeleteStream(t.Context(), streams.History); err != nil {
		t.Fatal(err)
	}
	empty := streams.Options{}.All()[0]
	for _, c := range (streams.Options{}).All() {
		if c.Name == streams.History {
			empty = c
		}
	}
	empty.Sources = nil
	if _, err := w.js.CreateStream(t.Context(), empty); err != nil {
		t.Fatal(err)
	}
	if gone := w.letGo(long, 0); gone != 0 {
		t.Errorf("%d events went that the history does not have", gone)
	}
}

// TestACutThatWasCutShort: the limit that it left is lifted, and costs nothing before.
func TestACutThatWasCutShort(t *testing.T) {
	w := newWorld(t)
	w.whole3("01JDY3M8WZ0000000000000001")
	w.whole3("01JDY3M8WZ0000000000000002")
	w.settled()
	config := w.stream().Config
	config.MaxMsgs = 6
	if _, err := w.js.UpdateStream(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	if gone := w.letGo(time.Hour, 0); gone != 0 {
		t.Errorf("%d events went", gone)
	}
	if info := w.stream(); info.Config.MaxMsgs != -1 || info.State.Msgs != 6 {
		t.Errorf("%d events, at most %d", info.State.Msgs, info.Config.MaxMsgs)
	}
}

// TestALimitIsLiftedMeanwhile: also where the process that has set it is no more, and the next cut is an hour away.
func TestALimitIsLiftedMeanwhile(t *testing.T) {
	if testing.Short() {
		t.Skip("waits until it is looked for")
	}
	w := newWorld(t)
	w.whole3("01JDY3M8WZ0000000000000001")
	config := w.stream().Config
	config.MaxMsgs = 100
	if _, err := w.js.UpdateStream(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- retention.Executions{JS: w.js, Log: slog.New(slog.DiscardHandler)}.Run(ctx) }()
	for until := time.Now().Add(patience); w.stream().Config.MaxMsgs != -1; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(until) {
			t.Fatal("the limit stands")
		}
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
