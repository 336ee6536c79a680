package orchestrator

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/projections/executions"
	"github.com/hermes-serverless/hermes/services/api"
)

var listStart = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)

// fill appends n executions of ana, a second apart give or take half a minute, to the log, and
// returns them as the views have them, newest first.
func (w *world) fill(n int) []executions.Execution { return w.fillEnded(n, 0) }

// fillEnded is fill of which the first so many have ended, and have been let go to the archive.
func (w *world) fillEnded(n, ended int) []executions.Execution {
	w.t.Helper()
	var all []executions.Execution
	last := uint64(0)
	for i := range n {
		id := api.NewID()
		subject := events.ExecutionSubject("ana", id)
		ref := events.FunctionRef{Owner: "ana", Name: []string{"pi", "e"}[i%2], Version: fmt.Sprintf("1.0.%d", i%3)}
		history := []events.Data{events.ExecutionRequested{
			Kind: events.KindRun, Function: ref, Input: events.Input{Inline: make([]byte, 4000*(i%100/99))}, Batch: batchOf(i),
		}}
		if i%4 > 0 {
			history = append(history, events.ExecutionStarted{Attempt: 1, Watcher: fmt.Sprint("w", i%5)})
		}
		if i%4 == 2 {
			history = append(history, events.ExecutionSucceeded{Attempt: 1})
		}
		if i%4 == 3 {
			history = append(history, events.ExecutionFailed{Attempt: 1, Reason: events.ReasonOOM})
		}
		if i < ended && i%4 < 2 {
			history = append(history, events.ExecutionFailed{Attempt: i % 4, Reason: events.ReasonInput})
		}
		var e executions.Execution
		at := listStart.Add(time.Duration(i+(i*7919)%60-30) * time.Second)
		for _, d := range history {
			r := events.Record{Event: events.Event{ID: api.NewID(), Source: "test", Time: at, Data: d}, Subject: subject}
			expected := e.Sequence
			var err error
			if r.Sequence, err = w.opts.Executions.Append(w.t.Context(), subject, expected, r.Event); err != nil {
				w.t.Fatal(err)
			}
			if e, err = executions.Fold(e, r); err != nil {
				w.t.Fatal(err)
			}
		}
		e.Number, last = int64(i)+1, e.Sequence
		all = append(all, e)
	}
	if err := w.opts.Views.WaitForExecutions(w.t.Context(), last); err != nil {
		w.t.Fatal(err)
	}
	w.letGo(all[:ended]...)
	slices.Reverse(all)
	return all
}

// Two batches, whose executions lie among others and among those of the other.
const (
	batchA = "01JD000000000000000000000A"
	batchB = "01JD000000000000000000000B"
)

func batchOf(i int) *events.BatchRef {
	switch {
	case i >= 100 && i < 400 && i%3 == 0:
		return &events.BatchRef{ID: batchA, Index: int64(i)}
	case i >= 350 && i%7 == 1:
		return &events.BatchRef{ID: batchB, Index: int64(i)}
	}
	return nil
}

// TestListFinds draws filters and sizes of pages: the pages together are what the filter picks, each
// once, newest first.
func TestListFinds(t *testing.T) {
	for _, letGo := range []int{0, 1, 300, 600} { // from the archive, from the bucket, or from both
		t.Run(fmt.Sprint(letGo, " of 600 let go"), func(t *testing.T) { listFinds(t, letGo) })
	}
}

func listFinds(t *testing.T, letGo int) {
	w := newWorld(t)
	w.answer()
	all := w.fillEnded(600, letGo)
	w.eventually("it answers", func() bool {
		_, err := ask[api.Executions](w, api.OpExecutionList, api.ExecutionList{})
		return err == nil
	})
	rapid.Check(t, func(t *rapid.T) {
		f := drawFilter(t)
		var want []int64
		for _, e := range all {
			if wanted(f, e) {
				want = append(want, e.Number)
			}
		}
		limit := rapid.SampledFrom([]int{1, 7, 100, 500}).Draw(t, "limit")
		var got []int64
		pages := 0
		for request := (api.ExecutionList{ExecutionFilter: f, Limit: limit}); pages < 5; pages++ {
			page, err := ask[api.Executions](w, api.OpExecutionList, request)
			if err != nil {
				t.Fatal(err)
			}
			if len(page.Executions) > limit || page.More != (page.Next > 0) {
				t.Fatalf("%d found of %d, more %v, next %d", len(page.Executions), page.Searched, page.More, page.Next)
			}
			for _, e := range page.Executions {
				got = append(got, e.Number)
			}
			if request.Before = page.Next; !page.More {
				break
			}
		}
		// A small page of many is not read to its end.
		if pages == 5 {
			want = want[:min(len(got), len(want))]
		}
		if !slices.Equal(got, want) {
			t.Fatalf("found %v, want %v", got, want)
		}
	})
}

func wanted(f api.ExecutionFilter, e executions.Execution) bool {
	name := e.Request.Function.Name
	function := f.Function.Name == "" || f.Function.Owner != "bob" && f.Function.Name == name
	version := f.Function.Version == "" || f.Function.Version == e.Request.Function.Version
	status := f.Status == nil || slices.Contains(f.Status, e.Status)
	watcher := f.Watcher == "" || f.Watcher == e.Watcher
	batch := f.Batch == "" || e.Request.Batch != nil && e.Request.Batch.ID == f.Batch
	since := e.RequestedAt.Compare(f.Since) >= 0
	until := f.Until.IsZero() || e.RequestedAt.Compare(f.Until) < 0
	return function && version && status && watcher && batch && since && until
}

func drawFilter(t *rapid.T) api.ExecutionFilter {
	moment := func(name string) time.Time {
		if !rapid.Bool().Draw(t, "a "+name) {
			return time.Time{}
		}
		return listStart.Add(time.Duration(rapid.IntRange(-100, 700).Draw(t, name)) * time.Second)
	}
	return api.ExecutionFilter{
		Function: rapid.SampledFrom([]events.FunctionRef{
			{}, {Name: "pi"}, {Owner: "me", Name: "e", Version: "1.0.1"}, {Owner: "bob", Name: "pi"},
		}).Draw(t, "function"),
		Status:  rapid.SampledFrom([][]executions.Status{nil, {executions.Queued}, {executions.Success, executions.Error}, {executions.Lost}}).Draw(t, "status"),
		Watcher: rapid.SampledFrom([]string{"", "", "w1", "w9"}).Draw(t, "watcher"),
		Batch:   rapid.SampledFrom([]string{"", "", batchA, batchB, someID}).Draw(t, "batch"),
		Since:   moment("since"), Until: moment("until"),
	}
}

// TestSearchForARecentPartReadsLittle: what is older than since, or not older than until, costs nothing.
func TestSearchForARecentPartReadsLittle(t *testing.T) {
	w := newWorld(t)
	w.answer()
	w.fill(1100)
	w.eventually("it answers", func() bool {
		_, err := ask[api.Executions](w, api.OpExecutionList, api.ExecutionList{})
		return err == nil
	})
	at := listStart.Add(500 * time.Second)
	page, err := ask[api.Executions](w, api.OpExecutionList, api.ExecutionList{Limit: 500, ExecutionFilter: api.ExecutionFilter{Since: at, Until: at.Add(time.Minute)}})
	if err != nil || len(page.Executions) == 0 || page.More || page.Searched > 300 {
		t.Errorf("%d found of %d, more %v, %v", len(page.Executions), page.Searched, page.More, err)
	}
	page, err = ask[api.Executions](w, api.OpExecutionList, api.ExecutionList{Limit: 500, ExecutionFilter: api.ExecutionFilter{Batch: batchA}})
	if err != nil || len(page.Executions) != 100 || page.More || page.Searched > 300 {
		t.Errorf("a batch: %d found of %d, more %v, %v", len(page.Executions), page.Searched, page.More, err)
	}
}

// TestTakeFillsAPage, and says where to go on.
func TestTakeFillsAPage(t *testing.T) {
	views := func(from, to int64) (found []executions.Execution) {
		for n := from; n >= to; n-- {
			found = append(found, executions.Execution{Number: n, RequestedAt: listStart})
		}
		return found
	}
	for _, c := range []struct {
		from, to int64
		more     bool
		want     api.Executions
	}{
		{from: 6, to: 1, want: api.Executions{More: true, Next: 2, Searched: 5}}, {from: 5, to: 1, want: api.Executions{Searched: 5}},
		{from: 9, to: 5, more: true, want: api.Executions{More: true, Next: 5, Searched: 5}}, {from: 3, to: 1, want: api.Executions{Searched: 3}},
	} {
		s := &search{most: 5}
		if err := s.take(views(c.from, c.to), c.more); err != nil || s.page.More != c.want.More || s.page.Next != c.want.Next || s.page.Searched != c.want.Searched || len(s.page.Executions) != s.page.Searched {
			t.Errorf("%+v: %+v, %v", c, s.page, err)
		}
	}
}

func TestListRefusesWhatIsNoFilter(t *testing.T) {
	w := newWorld(t)
	w.answer()
	w.eventually("it answers", func() bool {
		_, err := ask[api.Executions](w, api.OpExecutionList, api.ExecutionList{})
		return err == nil
	})
	for name, f := range map[string]api.ExecutionFilter{
		"a status":  {Status: []executions.Status{"finished"}},
		"a name":    {Function: events.FunctionRef{Name: "*"}},
		"a batch":   {Batch: "*"},
		"a version": {Function: events.FunctionRef{Name: "pi", Version: ">"}},
	} {
		if _, err := ask[api.Executions](w, api.OpExecutionList, api.ExecutionList{ExecutionFilter: f}); !api.IsKind(err, api.Invalid) {
			t.Errorf("%s that is none: %v", name, err)
		}
	}
}
