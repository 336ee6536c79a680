package orchestrator

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/projections"
	"github.com/hermes-serverless/hermes/projections/executions"
	"github.com/hermes-serverless/hermes/projections/foldtest"
	"github.com/hermes-serverless/hermes/services/api"
)

// seekViews are views of one owner in memory, as the projection makes them.
type seekViews struct {
	Views
	tx     foldtest.Tx
	last   int64
	blocks int // that were read
	// inMemory: none is read.
	inMemory bool
}

func newSeekViews() *seekViews { return &seekViews{tx: foldtest.Tx{}} }

// add makes one more execution.
func (v *seekViews) add(function string, started, ended bool) {
	v.last++
	subject := events.ExecutionSubject("ana", fmt.Sprintf("01JDY3M8WZ%016d", v.last))
	history := []events.Data{events.ExecutionRequested{Function: events.FunctionRef{Owner: "ana", Name: function}}}
	if started {
		history = append(history, events.ExecutionStarted{Attempt: 1, Watcher: fmt.Sprint("w", v.last%3)})
	}
	if started && ended {
		history = append(history, events.ExecutionSucceeded{Attempt: 1})
	}
	for i, d := range history {
		if err := executions.Projection.Step(v.tx, foldtest.Record(subject, uint64(v.last)*10+uint64(i), d), nil); err != nil {
			panic(err) // the Tx has no errors
		}
	}
}

func (v *seekViews) LastNumber(context.Context, string) (int64, error) { return v.last, nil }

func (v *seekViews) Blocks(_ context.Context, owner string, before int64, most int) (all []executions.Block, read int, _ error) {
	for first := executions.BlockFirst(before - 1); first > 0 && len(all) < most; first -= executions.BlockSize {
		b, _, err := projections.Get[executions.Block](v.tx, executions.BlockKey(owner, first))
		if err != nil {
			return nil, 0, err
		}
		all = append(all, b)
		if !v.inMemory {
			v.blocks++
			read++
		}
	}
	return all, read, nil
}

func (v *seekViews) Executions(_ context.Context, owner string, numbers []int64) (found []executions.Execution, _ error) {
	for _, n := range numbers {
		if e, there := v.tx[executions.ViewKey(owner, n)].(executions.Execution); there {
			found = append(found, e)
		}
	}
	slices.SortFunc(found, func(a, b executions.Execution) int { return int(b.Number - a.Number) })
	return found, nil
}

// forget lets go of the oldest views and of some blocks, as an instance has none that is older than blocks are.
func (v *seekViews) forget(views int64, blocks []int64) {
	for n := int64(1); n <= views; n++ {
		delete(v.tx, executions.ViewKey("ana", n))
	}
	for _, n := range blocks {
		delete(v.tx, executions.BlockKey("ana", n))
	}
}

// TestSeekFindsWhatThereIs draws executions, filters and sizes of pages: the pages together are what the
// filter picks of the views, each once, newest first, whatever comes meanwhile.
func TestSeekFindsWhatThereIs(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v := newSeekViews()
		n := rapid.IntRange(0, 4*executions.BlockSize).Draw(t, "executions")
		rare := rapid.IntRange(2, 400).Draw(t, "one in")
		for i := range n {
			v.add([]string{"often", "rare"}[min(1, i%rare/(rare-1))], i%5 > 0, i%3 > 0)
		}
		v.forget(int64(rapid.IntRange(0, n).Draw(t, "views that are gone")/executions.BlockSize*executions.BlockSize),
			rapid.SliceOfN(rapid.Int64Range(1, int64(n)+1), 0, 2).Draw(t, "blocks that are gone"))
		f := filter{api.ExecutionFilter{
			Function: rapid.SampledFrom([]events.FunctionRef{{}, {Owner: "ana", Name: "rare"}, {Owner: "ana", Name: "none"}}).Draw(t, "function"),
			Status:   rapid.SampledFrom([][]executions.Status{nil, {executions.Queued}, {executions.Success, executions.Running}}).Draw(t, "status"),
			Watcher:  rapid.SampledFrom([]string{"", "w1"}).Draw(t, "watcher"),
		}}
		var want []int64
		for number := v.last; number > 0; number-- {
			if e, there := v.tx[executions.ViewKey("ana", number)].(executions.Execution); there && f.picks(e) {
				want = append(want, number)
			}
		}
		most := rapid.SampledFrom([]int{1, 7, 50, 500}).Draw(t, "limit")
		bound := rapid.SampledFrom([]int{1, 300, searchBound}).Draw(t, "bound")
		var got []int64
		next, searched := int64(0), 0
		for pages := 0; ; pages++ {
			s := &search{filter: f, most: most, bound: bound, page: api.Executions{Next: next}}
			if err := (&seek{search: s, views: v, user: "ana"}).run(t.Context()); err != nil {
				t.Fatal(err)
			}
			for _, e := range s.page.Executions {
				got = append(got, e.Number)
			}
			searched += s.page.Searched
			if s.page.More != (s.page.Next > 0) || len(s.page.Executions) > most || s.page.More && next > 0 && s.page.Next >= next {
				t.Fatalf("a page from %d: %+v", next, s.page)
			}
			if next = s.page.Next; !s.page.More {
				break
			}
			v.add("rare", true, true)
		}
		if !slices.Equal(got, want) {
			t.Fatalf("found %v, want %v", got, want)
		}
		if searched != n {
			t.Fatalf("looked at %d of %d", searched, n)
		}
	})
}

// TestSeekReadsLittle: a filter that is often met needs the newest blocks alone, and one that is never
// met no view.
func TestSeekReadsLittle(t *testing.T) {
	v := newSeekViews()
	for range 40 * executions.BlockSize {
		v.add("often", true, true)
	}
	s := &search{filter: filter{api.ExecutionFilter{Status: []executions.Status{executions.Success}}}, most: 50, bound: searchBound}
	if err := (&seek{search: s, views: v, user: "ana"}).run(t.Context()); err != nil || len(s.page.Executions) != 50 || v.blocks > firstBlocks {
		t.Errorf("%d found in %d blocks, %v", len(s.page.Executions), v.blocks, err)
	}
	for n := range v.last {
		delete(v.tx, executions.ViewKey("ana", n+1)) // who reads a view gets none
	}
	s = &search{filter: filter{api.ExecutionFilter{Watcher: "nowhere"}}, most: 50, bound: 1000}
	if err := (&seek{search: s, views: v, user: "ana"}).run(t.Context()); err != nil || !s.page.More || s.page.Searched < 1000 || s.page.Searched > 1000+firstBlocks*executions.BlockSize {
		t.Errorf("%+v, %v", s.page, err)
	}
}

// TestSeekInMemory: where the blocks are in memory, one request looks at many times as much.
func TestSeekInMemory(t *testing.T) {
	v := newSeekViews()
	for range 40 * executions.BlockSize {
		v.add("often", true, true)
	}
	v.inMemory = true
	s := &search{filter: filter{api.ExecutionFilter{Watcher: "nowhere"}}, most: 50, bound: 1000}
	if err := (&seek{search: s, views: v, user: "ana"}).run(t.Context()); err != nil || s.page.More || s.page.Searched != int(v.last) {
		t.Errorf("%+v, %v", s.page, err)
	}
	s = &search{filter: filter{api.ExecutionFilter{Watcher: "nowhere"}}, most: 50, bound: 100}
	if err := (&seek{search: s, views: v, user: "ana"}).run(t.Context()); err != nil || !s.page.More || s.page.Searched < 100*inMemory {
		t.Errorf("%+v, %v", s.page, err)
	}
}
