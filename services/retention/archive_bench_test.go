package retention_test

import (
	"fmt"
	"math"
	"runtime"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/events/streams"
	"github.com/hermes-serverless/hermes/projections/executions"
	"github.com/hermes-serverless/hermes/projections/projector/views"
)

// BenchmarkLetGo measures what 100,000 executions of one owner cost the memory of the
// process, which is mostly that of the server, before and after they are let go of; how fast that is; and
// what reading them costs from the bucket and from the archive.
func BenchmarkLetGo(b *testing.B) {
	const n, pages = 100_000, 50
	for range b.N {
		m := &model{world: worldIn(b, b.TempDir()), of: map[string][]*executions.Execution{}}
		empty := heap()
		m.many(n)
		m.settled()
		m.marksOf("active.")
		m.stop() // and what its projector remembers
		full := heap()
		stored := m.readPages(n, pages)
		m.projector = m.newProjector()
		m.views = views.New(m.js, m.log, m.projector)
		m.project()
		began := time.Now()
		if err := m.retain(time.Now().Add(long)); err != nil {
			b.Fatal(err)
		}
		took := time.Since(began)
		m.marksOf("view.")
		m.stop()
		after := heap()
		b.ReportMetric(float64(full-empty)/n, "heap-B/view")
		b.ReportMetric(float64(after-empty)/n, "heap-B/archived")
		b.ReportMetric(n/took.Seconds(), "let-go/s")
		b.ReportMetric(stored.Seconds()*1e3/pages, "page-ms")
		b.ReportMetric(m.readPages(n, pages).Seconds()*1e3/pages, "archived-page-ms")
		one := time.Now()
		for i := range int64(pages) {
			if e, err := m.views.Execution(b.Context(), "ana", 1+i*(n/pages)); err != nil || e.Status == "" {
				b.Fatal(e, err)
			}
		}
		b.ReportMetric(time.Since(one).Seconds()*1e3/pages, "archived-inspect-ms")
		one = time.Now()
		for i := range pages {
			if e, err := m.views.ExecutionByID(b.Context(), "ana", idOf(1+i*(n/pages))); err != nil || e.Status == "" {
				b.Fatal(e, err)
			}
		}
		b.ReportMetric(time.Since(one).Seconds()*1e3/pages, "archived-inspect-id-ms")
	}
}

func idOf(i int) string { return fmt.Sprintf("01JDY%021d", i) }

// heap is what lives when nothing happens: the server lets go of blocks that it has read after a while.
func heap() int64 {
	var m runtime.MemStats
	for least, same := uint64(math.MaxUint64), 0; same < 5; time.Sleep(time.Second) {
		runtime.GC()
		runtime.ReadMemStats(&m)
		if same++; m.HeapAlloc < least-least/50 {
			least, same = m.HeapAlloc, 0
		}
	}
	return int64(m.HeapAlloc)
}

// many appends so many executions of ana that end.
func (m *model) many(n int) {
	m.Helper()
	js, err := jetstream.New(m.js.Conn(), jetstream.WithPublishAsyncMaxPending(2000))
	if err != nil {
		m.Fatal(err)
	}
	for i := 1; i <= n; i++ {
		for k, data := range []events.Data{requested(), events.ExecutionStarted{Attempt: 1, Watcher: "w1"}, events.ExecutionSucceeded{Attempt: 1}} {
			event := events.Event{ID: fmt.Sprint(i, ".", k), Source: "test", Time: began.Add(time.Duration(i) * time.Second), Data: data}
			encoded, err := events.Encode(event)
			if err != nil {
				m.Fatal(err)
			}
			msg := &nats.Msg{Subject: events.ExecutionSubject("ana", idOf(i)), Data: encoded.Data, Header: nats.Header{}}
			for key, value := range encoded.Header {
				msg.Header.Set(key, value)
			}
			if _, err := js.PublishMsgAsync(msg, jetstream.WithStallWait(time.Minute)); err != nil {
				m.Fatal(err)
			}
		}
	}
	<-js.PublishAsyncComplete()
}

// readPages lists so many pages of 50, spread over all.
func (m *model) readPages(n, pages int) time.Duration {
	m.Helper()
	began := time.Now()
	for i := range pages {
		if page, _, err := m.views.ListExecutions(m.Context(), "ana", int64(n-i*(n/pages)), 50); err != nil || len(page) != 50 {
			m.Fatal(len(page), err)
		}
	}
	return time.Since(began)
}

// marksOf waits until no marker of a key that begins so is left.
func (w *world) marksOf(prefix string) {
	w.Helper()
	stream, err := w.js.Stream(w.Context(), streams.BucketStream(streams.BucketExecutions))
	if err != nil {
		w.Fatal(err)
	}
	for until := time.Now().Add(patience); ; time.Sleep(100 * time.Millisecond) {
		info, err := stream.Info(w.Context(), jetstream.WithSubjectFilter(streams.BucketSubject(streams.BucketExecutions, prefix+">")))
		if err != nil {
			w.Fatal(err)
		}
		if len(info.State.Subjects) == 0 {
			return
		}
		if time.Now().After(until) {
			w.Fatalf("%d keys %s are left", len(info.State.Subjects), prefix)
		}
	}
}
