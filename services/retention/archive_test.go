package retention_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"pgregory.net/rapid"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/events/streams"
	"github.com/hermes-serverless/hermes/events/streams/get"
	"github.com/hermes-serverless/hermes/projections"
	"github.com/hermes-serverless/hermes/projections/executions"
	"github.com/hermes-serverless/hermes/projections/projector"
	"github.com/hermes-serverless/hermes/projections/projector/views"
	"github.com/hermes-serverless/hermes/services/retention"
)

// began is when the first event of a model happened, by its own clock: long ago.
var began = time.Date(2025, 11, 29, 14, 0, 0, 0, time.UTC)

// model is what owners have, as nobody ever let go of it.
type model struct {
	*world
	minutes int
	ids     int
	// of are the executions of each owner in the order of their numbers.
	of map[string][]*executions.Execution
}

func (m *model) now() time.Time { return began.Add(time.Duration(m.minutes) * time.Minute) }

// add appends to an execution, which is a new one of the owner if it is nil.
func (m *model) add(owner string, e *executions.Execution, all ...events.Data) *executions.Execution {
	m.Helper()
	if e == nil {
		m.ids++
		e = &executions.Execution{}
		m.of[owner] = append(m.of[owner], e)
		e.ID, e.Number = fmt.Sprintf("01JDY%021d", (m.ids*7919)%1e6), int64(len(m.of[owner]))
	}
	id, number := e.ID, e.Number
	if e.Status == "" {
		*e = executions.Execution{}
	}
	for _, data := range all {
		m.minutes++
		m.n++
		r := events.Record{
			Event:   events.Event{ID: fmt.Sprint("event", m.n), Source: "test", Time: m.now(), Data: data},
			Subject: events.ExecutionSubject(owner, id),
		}
		var err error
		if r.Sequence, err = m.log.Append(m.Context(), r.Subject, e.Sequence, r.Event); err != nil {
			m.Fatal(err)
		}
		if *e, err = executions.Fold(*e, r); err != nil {
			m.Fatal(err)
		}
		e.Number = number
	}
	return e
}

func (m *model) whole(owner string) *executions.Execution {
	m.Helper()
	return m.add(owner, nil, requested(), events.ExecutionStarted{Attempt: 1, Watcher: "w1"}, events.ExecutionSucceeded{Attempt: 1})
}

func requested() events.Data {
	return events.ExecutionRequested{Kind: events.KindRun, Function: events.FunctionRef{Owner: "ana", Name: "pi", Version: "1.0.0"}}
}

// retain lets go of what had ended at the moment.
func (w *world) retain(ended time.Time) error {
	return w.retention(w.views, ended).err(w.Context())
}

type retainer struct{ retention.Executions }

func (r retainer) err(ctx context.Context) error {
	_, err := r.LetGo(ctx)
	return err
}

func (w *world) retention(v retention.Views, ended time.Time) retainer {
	const keep = 24 * time.Hour
	return retainer{retention.Executions{
		JS: w.js, Views: v, History: w.whole, Keep: keep,
		Now: func() time.Time { return ended.Add(keep) }, Log: slog.New(slog.DiscardHandler),
	}}
}

func text(e any) string {
	raw, err := json.Marshal(e)
	if err != nil {
		panic(err)
	}
	return string(raw)
}

// wantAll demands that everything of an owner is listed, and found by its number and by its id.
func (m *model) wantAll(owner string, page int) {
	m.Helper()
	all := m.of[owner]
	want := len(all)
	for before, more := int64(0), true; more; {
		var found []executions.Execution
		var err error
		if found, more, err = m.views.ListExecutions(m.Context(), owner, before, page); err != nil {
			m.Fatal(err)
		}
		for _, e := range found {
			if want--; want < 0 || text(e) != text(all[want]) {
				m.Fatalf("%s of %s is listed behind %d, want number %d", text(e), owner, before, want+1)
			}
			before = e.Number
		}
	}
	if want != 0 {
		m.Fatalf("%d executions of %s are not listed", want, owner)
	}
	var numbers []int64
	for i, e := range all {
		byNumber, err := m.views.Execution(m.Context(), owner, int64(i)+1)
		if err != nil || text(byNumber) != text(e) {
			m.Fatalf("number %d of %s is %s, %v, want %s", i+1, owner, text(byNumber), err, text(e))
		}
		byID, err := m.views.ExecutionByID(m.Context(), owner, e.ID)
		if err != nil || text(byID) != text(e) {
			m.Fatalf("id %s of %s is %s, %v, want %s", e.ID, owner, text(byID), err, text(e))
		}
		if i%3 == 0 {
			numbers = append(numbers, int64(i)+1)
		}
	}
	if some, err := m.views.Executions(m.Context(), owner, append(numbers, 1e6)); err != nil || len(some) != len(numbers) {
		m.Fatalf("of %d executions of %s %d are found, %v", len(numbers), owner, len(some), err)
	}
	if none, err := m.views.ExecutionByID(m.Context(), owner, "01JDX000000000000000000000"); err != nil || none.Status != "" {
		m.Fatalf("an id of nobody is %s, %v", text(none), err)
	}
}

// keys counts the keys of the bucket that begin so.
func (w *world) keys(prefix string) (n int) {
	w.Helper()
	s, err := w.js.Stream(w.Context(), streams.BucketStream(streams.BucketExecutions))
	if err != nil {
		w.Fatal(err)
	}
	for next, more := uint64(1), true; more; {
		var messages []*rawMessage
		if messages, more, err = get.Next(w.Context(), w.js, s.CachedInfo().Config.Name, streams.BucketSubject(streams.BucketExecutions, prefix+">"), next, 1000); err != nil {
			w.Fatal(err)
		}
		for _, m := range messages {
			if next = m.Sequence + 1; !projector.IsMarker(m.Header) {
				n++
			}
		}
	}
	return n
}

// wantVerified demands that the views are the fold of everything, without what the archive has.
func (w *world) wantVerified() {
	w.Helper()
	if found, err := w.projector.Verify(w.Context()); err != nil || len(found) != 0 {
		w.Fatalf("verify: %s, %v", text(found), err)
	}
}

// TestLettingGoIsNotSeen: whatever happens, and whenever what is let go, lists and inspections are those of a
// model that lets go of nothing, and the views are the fold of the log without the archive.
func TestLettingGoIsNotSeen(t *testing.T) {
	m := &model{world: newWorld(t), of: map[string][]*executions.Execution{}}
	round := 0
	rapid.Check(t, func(t *rapid.T) {
		round++
		owners := []string{fmt.Sprintf("a%d", round), fmt.Sprintf("b%d", round)}
		for range rapid.IntRange(1, 4).Draw(t, "cuts") {
			for range rapid.IntRange(1, 15).Draw(t, "happens") {
				m.happen(t, rapid.SampledFrom(owners).Draw(t, "owner"))
			}
			m.settled()
			ended := began.Add(time.Duration(rapid.IntRange(0, m.minutes+1).Draw(t, "ended")) * time.Minute)
			if rapid.IntRange(0, 9).Draw(t, "all") == 0 {
				ended = time.Now().Add(long) // so the log is cut too
			}
			if err := m.retain(ended); err != nil {
				t.Fatal(err)
			}
			for _, owner := range owners {
				m.wantAll(owner, rapid.IntRange(1, 20).Draw(t, "page"))
			}
		}
		for _, owner := range owners { // the next round is not about them
			for _, e := range m.of[owner] {
				if !e.Status.Final() {
					m.add(owner, e, events.ExecutionFailed{Attempt: e.Attempt, Reason: events.ReasonOOM})
				}
			}
		}
	})
	m.wantVerified()
	if m.keys("drawer.") == 0 {
		t.Error("nothing was let go")
	}
	m.stop()
	m.projector = m.newProjector()
	m.views = views.New(m.js, m.log, m.projector)
	m.emptied()
	m.project()
	m.settled()
	if err := m.retain(began); err != nil {
		t.Fatal(err)
	}
	m.wantVerified()
	for owner := range m.of {
		m.wantAll(owner, 50)
	}
}

// happen lets something happen to an execution of the owner, maybe a new one.
func (m *model) happen(t *rapid.T, owner string) {
	var live []*executions.Execution
	for _, e := range m.of[owner] {
		if !e.Status.Final() {
			live = append(live, e)
		}
	}
	i := rapid.IntRange(0, 3).Draw(t, "which")
	switch {
	case i >= len(live):
		m.add(owner, nil, requested())
	case live[i].Status == executions.Queued:
		m.add(owner, live[i], events.ExecutionStarted{Attempt: 1, Watcher: "w1"})
	default:
		m.add(owner, live[i], rapid.SampledFrom([]events.Data{
			events.ExecutionSucceeded{Attempt: 1}, events.ExecutionFailed{Attempt: 1, Reason: events.ReasonOOM}, events.ExecutionTimedOut{Attempt: 1},
		}).Draw(t, "end"))
	}
}

// emptied takes everything from the bucket, as a lost one has it.
func (w *world) emptied() {
	w.Helper()
	bucket, err := w.js.Stream(w.Context(), streams.BucketStream(streams.BucketExecutions))
	if err != nil {
		w.Fatal(err)
	}
	if err := bucket.Purge(w.Context()); err != nil {
		w.Fatal(err)
	}
}

// numbered demands that the archive has each of so many executions of the owner once, in order.
func (w *world) numbered(owner string, want int) {
	w.Helper()
	n := int64(0)
	for next, more := uint64(1), true; more; {
		var messages []*rawMessage
		var err error
		if messages, more, err = get.Next(w.Context(), w.js, streams.Archive, events.ArchiveSubjects(owner), next, 1000); err != nil {
			w.Fatal(err)
		}
		for _, m := range messages {
			next = m.Sequence + 1
			var e executions.Execution
			if err := json.Unmarshal(m.Data, &e); err != nil {
				w.Fatal(err)
			}
			if n++; e.Number != n || !e.Status.Final() {
				w.Fatalf("message %d of %s has number %d, %s", n, owner, e.Number, e.Status)
			}
		}
	}
	if n != int64(want) {
		w.Fatalf("%d executions of %s are archived, want %d", n, owner, want)
	}
}

// failing are views that fail after so many questions, as those of a process that is killed.
type failing struct {
	*views.Views
	left *int
}

var errKilled = errors.New("killed")

func (f failing) ask() error {
	if *f.left--; *f.left < 0 {
		return errKilled
	}
	return nil
}

func (f failing) Owners(ctx context.Context) (map[string]executions.User, error) {
	if err := f.ask(); err != nil {
		return nil, err
	}
	return f.Views.Owners(ctx)
}

func (f failing) Executions(ctx context.Context, owner string, numbers []int64) ([]executions.Execution, error) {
	if err := f.ask(); err != nil {
		return nil, err
	}
	return f.Views.Executions(ctx, owner, numbers)
}

func (f failing) WaitForArchived(ctx context.Context, sequence uint64) error {
	if err := f.ask(); err != nil {
		return err
	}
	return f.Views.WaitForArchived(ctx, sequence)
}

// TestAKilledWriterGoesOn wherever it was killed: nothing is archived twice, and nothing is lost.
func TestAKilledWriterGoesOn(t *testing.T) {
	m := &model{world: newWorld(t), of: map[string][]*executions.Execution{}}
	const ana, bob = 650, 3
	for range ana { // more than one batch
		m.add("ana", nil, requested(), events.ExecutionFailed{Reason: events.ReasonInput})
	}
	for range bob {
		m.whole("bob")
	}
	m.settled()
	kills := 0
	for after := 0; ; after++ {
		left := after
		err := m.retention(failing{m.views, &left}, time.Now().Add(long)).err(t.Context())
		if err == nil {
			break
		}
		if !errors.Is(err, errKilled) {
			t.Fatal(err)
		}
		kills++
		m.wantVerified()
	}
	if kills < 8 {
		t.Errorf("killed in %d places only", kills)
	}
	m.numbered("ana", ana)
	m.numbered("bob", bob)
	m.wantAll("bob", 10)
	if n := m.keys("view.") + m.keys("id."); n != 0 {
		t.Errorf("%d keys are left", n)
	}
}

// TestTwoWritersDoNoHarm: one of them is refused.
func TestTwoWritersDoNoHarm(t *testing.T) {
	m := &model{world: newWorld(t), of: map[string][]*executions.Execution{}}
	for range 300 {
		m.add("ana", nil, requested(), events.ExecutionFailed{Reason: events.ReasonInput})
	}
	m.settled()
	var work sync.WaitGroup
	errs := make([]error, 4)
	for i := range errs {
		work.Go(func() { errs[i] = m.retain(began.Add(time.Duration(100*(i+1)) * time.Minute)) })
	}
	work.Wait()
	for _, err := range errs {
		if err != nil && !streams.IsConflict(err) {
			t.Error(err)
		}
	}
	if err := m.retain(time.Now().Add(long)); err != nil {
		t.Fatal(err)
	}
	m.numbered("ana", 300)
	m.wantVerified()
}

// TestACrashBringsNothingBack: a server that has to read its store anew finds keys that were deleted, and
// nobody sees them.
func TestACrashBringsNothingBack(t *testing.T) {
	dir := t.TempDir()
	m := &model{world: worldIn(t, dir), of: map[string][]*executions.Execution{}}
	var live *executions.Execution
	for i := range 200 {
		e := m.add("ana", nil, requested(), events.ExecutionStarted{Attempt: 1, Watcher: "w1"})
		m.settled() // so its view is written more than once
		if i == 150 {
			live = e
			continue
		}
		m.add("ana", e, events.ExecutionSucceeded{Attempt: 1})
	}
	m.settled()
	if err := m.retain(time.Now().Add(long)); err != nil {
		t.Fatal(err)
	}
	if n := m.keys("view."); n != 50 {
		t.Fatalf("%d views are left, want 50", n)
	}
	m.marksGone()
	m.stop()
	m.shutdown()
	indices, err := filepath.Glob(filepath.Join(dir, "jetstream", "*", "streams", "*", "msgs", "index.db"))
	if err != nil || len(indices) == 0 {
		t.Fatalf("the server has no indices in %s, %v", dir, err)
	}
	for _, index := range indices {
		if err := os.Remove(index); err != nil {
			t.Fatal(err)
		}
	}
	again := worldIn(t, dir)
	again.stop() // it may have swept already
	t.Logf("%d views and %d ids are back", again.keys("view.")-50, again.keys("id.")-50)
	// What did not come back by itself is brought back.
	for n := int64(1); n < 150; n += 10 {
		old := *m.of["ana"][n-1]
		old.Status, old.EndedAt, old.Sequence = executions.Running, time.Time{}, old.Sequence-1
		for key, value := range map[string]string{executions.ViewKey("ana", n): text(old), executions.IDKey("ana", old.ID): fmt.Sprint(n)} {
			if _, err := again.js.Publish(t.Context(), streams.BucketSubject(streams.BucketExecutions, key), []byte(value)); err != nil {
				t.Fatal(err)
			}
		}
	}
	again.n, m.world = m.n, again
	m.wantAll("ana", 30)
	m.projector = m.newProjector()
	m.views = views.New(m.js, m.log, m.projector)
	m.project()
	m.add("ana", live, events.ExecutionSucceeded{Attempt: 1})
	m.settled()
	m.wantVerified()
	m.wantAll("ana", 30)
}

// marksGone waits until the markers of deleted keys are gone too.
func (w *world) marksGone() {
	w.Helper()
	subject := streams.BucketSubject(streams.BucketExecutions, executions.ViewKey("ana", 1))
	for until := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		if _, err := get.One(w.Context(), w.js, streams.BucketStream(streams.BucketExecutions), subject); errors.Is(err, get.ErrNone) {
			return
		}
		if time.Now().After(until) {
			w.Fatal("the marker of a view that was let go stays")
		}
	}
}

// TestAWrongArchiveIsFound: what is not what the log says is let go of by nobody, and shown.
func TestAWrongArchiveIsFound(t *testing.T) {
	m := &model{world: newWorld(t), of: map[string][]*executions.Execution{}}
	e := m.whole("ana")
	m.settled()
	wrong := *e
	wrong.ExitCode = 7
	msg := &nats.Msg{Subject: events.ArchiveSubject("ana", e.RequestedAt), Data: []byte(text(wrong)), Header: nats.Header{}}
	msg.Header.Set(projections.HeaderLogSequence, fmt.Sprint(e.Sequence))
	if _, err := m.js.PublishMsg(t.Context(), msg); err != nil {
		t.Fatal(err)
	}
	if err := m.views.WaitForArchived(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	m.wantAll("ana", 5)
	found, err := m.projector.Verify(t.Context())
	if err != nil || len(found) != 1 || !strings.HasPrefix(found[0].Key, "message 1 of the archive, hermes.archive.ana.202511") || string(found[0].Want) != text(e) {
		t.Errorf("verify finds %s, %v", text(found), err)
	}
	if found, err := m.projector.Rebuild(t.Context()); !projections.IsMismatch(err) || len(found) != 0 {
		t.Errorf("rebuild corrects %s, %v", text(found), err)
	}
	// Its events stay, and those behind: its view is the only one that is right.
	m.whole("bob")
	m.settled()
	if err := m.retain(time.Now().Add(long)); err != nil {
		t.Fatal(err)
	}
	if first := m.stream().State.FirstSeq; first != 1 {
		t.Errorf("the log begins at %d", first)
	}
	m.wantAll("bob", 5)
	if n := m.keys("view.bob."); n != 0 {
		t.Errorf("%d views of another owner are left", n)
	}
}

// TestAnArchiveThatWasPutBack: to an older state, without what the views have let go of by it. Verify says so,
// and rebuild restores what only the log has.
func TestAnArchiveThatWasPutBack(t *testing.T) {
	m := &model{world: newWorld(t), of: map[string][]*executions.Execution{}}
	for range 5 {
		m.whole("ana")
	}
	m.settled()
	if err := m.retain(time.Now().Add(long)); err != nil {
		t.Fatal(err)
	}
	m.stop()
	if err := m.js.DeleteStream(t.Context(), streams.Archive); err != nil {
		t.Fatal(err)
	}
	if _, err := streams.Ensure(t.Context(), m.js, streams.Options{}); err != nil {
		t.Fatal(err)
	}
	if _, err := m.projector.Verify(t.Context()); !errors.Is(err, projector.ErrAhead) {
		t.Errorf("verify says %v", err)
	}
	if err := m.projector.Run(t.Context()); !errors.Is(err, projector.ErrAhead) {
		t.Errorf("the projector ends with %v", err)
	}
	if found, err := m.projector.Rebuild(t.Context()); err != nil || len(found) < 10 {
		t.Fatalf("rebuild corrected %d, %v", len(found), err)
	}
	m.wantVerified()
	m.projector = m.newProjector()
	m.views = views.New(m.js, m.log, m.projector)
	m.project()
	m.wantAll("ana", 5)
	if err := m.retain(time.Now().Add(long)); err != nil {
		t.Fatal(err)
	}
	m.wantVerified()
	m.wantAll("ana", 5)
	if n := m.keys("view."); n != 0 {
		t.Errorf("%d views are left", n)
	}
}

// TestWhatIsYoungKeepsItsView: it goes when its end is as old as it has to be, and not before those in front
// of it have gone.
func TestWhatIsYoungKeepsItsView(t *testing.T) {
	m := &model{world: newWorld(t), of: map[string][]*executions.Execution{}}
	first := m.whole("ana")
	live := m.add("ana", nil, requested(), events.ExecutionStarted{Attempt: 1, Watcher: "w1"})
	m.whole("ana")
	m.settled()
	for _, c := range []struct {
		ended time.Time
		left  int
	}{{first.EndedAt.Add(-time.Second), 3}, {first.EndedAt, 2}, {time.Now(), 2}} {
		if err := m.retain(c.ended); err != nil {
			t.Fatal(err)
		}
		if n := m.keys("view."); n != c.left {
			t.Errorf("at %s %d have a view, want %d", c.ended, n, c.left)
		}
		m.numbered("ana", 3-c.left)
	}
	m.add("ana", live, events.ExecutionSucceeded{Attempt: 1})
	m.settled()
	if err := m.retain(live.EndedAt.Add(-time.Second)); err != nil {
		t.Fatal(err)
	}
	m.numbered("ana", 1)
	if err := m.retain(live.EndedAt); err != nil {
		t.Fatal(err)
	}
	m.numbered("ana", 3)
	m.wantAll("ana", 2)
}
