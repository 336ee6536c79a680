package executions_test

import (
	"fmt"
	"reflect"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/projections"
	"github.com/hermes-serverless/hermes/projections/executions"
	"github.com/hermes-serverless/hermes/projections/foldtest"
)

// TestBlocksAreTheViews draws events of many executions, some of which cannot follow: what the blocks say
// is what the views are, also after they were stored and read.
func TestBlocksAreTheViews(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		tx := foldtest.Tx{}
		sequence := uint64(0)
		step := func(id int, d events.Data) {
			sequence++
			subject := events.ExecutionSubject("ana", fmt.Sprintf("01JDY3M8WZ%016d", id))
			if err := executions.Projection.Step(tx, foldtest.Record(subject, sequence, d), nil); err != nil {
				t.Fatal(err)
			}
		}
		n := rapid.IntRange(1, 2*executions.BlockSize+5).Draw(t, "executions")
		for id := range n {
			step(id, events.ExecutionRequested{Retries: 1, Function: events.FunctionRef{Owner: "ana", Name: fmt.Sprint("f", id%7), Version: "1.0.0"}})
		}
		for range rapid.IntRange(0, 3*n).Draw(t, "events") {
			id := rapid.IntRange(0, n-1).Draw(t, "id")
			watcher := rapid.SampledFrom([]string{"w1", "w2"}).Draw(t, "watcher")
			step(id, rapid.SampledFrom([]events.Data{
				events.ExecutionStarted{Attempt: 1, Watcher: watcher}, events.ExecutionStarted{Attempt: 2, Watcher: watcher},
				events.ExecutionRetried{Attempt: 1, Watcher: watcher}, events.ExecutionSucceeded{Attempt: 1},
				events.ExecutionFailed{Attempt: 2}, events.ExecutionCancelRequested{By: "ana"}, events.ExecutionCancelled{},
			}).Draw(t, "event"))
		}
		for number := int64(1); number <= int64(n); number++ {
			e, _ := tx[executions.ViewKey("ana", number)].(executions.Execution)
			key := executions.BlockKey("ana", number)
			raw, err := projections.Encode(tx[key])
			if err != nil {
				t.Fatal(err)
			}
			stored, err := executions.Projection.Decode(key, raw)
			if err != nil || !reflect.DeepEqual(stored, tx[key]) {
				t.Fatalf("%s is read as %v, %v", key, stored, err)
			}
			if got := picked(stored.(executions.Block), number, e); got != "itself" {
				t.Fatalf("%d, %+v, is picked as %s", number, e, got)
			}
		}
	})
}

// picked says as what a block has the execution with a number: as it is, as another, or as nothing that it knows.
func picked(b executions.Block, number int64, e executions.Execution) string {
	n := int(number - executions.BlockFirst(number))
	is := func(ref events.FunctionRef, watcher string, status executions.Status) bool {
		p := executions.Picks{
			Function: func(f events.FunctionRef) bool { return f == ref }, Watcher: func(w string) bool { return w == watcher },
			Status: func(s executions.Status) bool { return s == status },
		}
		return slices.Equal(p.Places(b, n, n+1), []int{n})
	}
	switch {
	case is(events.FunctionRef{Name: "none"}, e.Watcher, e.Status):
		return "what is not known"
	case !is(e.Request.Function, e.Watcher, e.Status), is(e.Request.Function, "none", e.Status), is(e.Request.Function, e.Watcher, "none"):
		return "another"
	}
	return "itself"
}

// TestBlockThatKnowsLittle: rows that were never written, or are nonsense, are not known, and not ruled out.
func TestBlockThatKnowsLittle(t *testing.T) {
	b := executions.Block{Functions: [][3]string{{"ana", "f", "1.0.0"}}, Rows: []byte{
		0, 0, 0, 0, 0 /* nothing */, 1, 0, 0, 0, 1, 2, 0, 0, 0, 1 /* no such function */, 1, 0, 1, 0, 1 /* no such watcher */, 1, 0, 0, 0, 99, /* no such status */
	}}
	p := executions.Picks{Function: func(events.FunctionRef) bool { return false }}
	if got := p.Places(b, 0, 6); !slices.Equal(got, []int{5, 4, 3, 2, 0}) {
		t.Errorf("picked %v", got)
	}
}

// TestEnded: a block can change until it is full and all that is in it have ended.
func TestEnded(t *testing.T) {
	tx := foldtest.Tx{}
	sequence := uint64(0)
	step := func(id int, d events.Data) bool {
		sequence++
		subject := events.ExecutionSubject("ana", fmt.Sprintf("01JDY3M8WZ%016d", id))
		if err := executions.Projection.Step(tx, foldtest.Record(subject, sequence, d), nil); err != nil {
			t.Fatal(err)
		}
		return tx[executions.BlockKey("ana", 1)].(executions.Block).Ended()
	}
	for id := range executions.BlockSize {
		if step(id, events.ExecutionRequested{}) || step(id, events.ExecutionStarted{Attempt: 1, Watcher: "w"}) {
			t.Fatalf("ended with execution %d", id+1)
		}
		if id != 7 && step(id, events.ExecutionSucceeded{Attempt: 1}) {
			t.Fatalf("ended without execution 8, with %d", id+1)
		}
	}
	if !step(7, events.ExecutionLost{Attempt: 1, Watcher: "w"}) {
		t.Error("it has not ended")
	}
}

// TestShared draws blocks: with the names of all of them they say the same.
func TestShared(t *testing.T) {
	word := rapid.SampledFrom([]string{"a", "b", "c", "d"})
	rapid.Check(t, func(t *rapid.T) {
		var names executions.Names
		var p executions.Picks
		want := events.FunctionRef{Owner: "a", Name: word.Draw(t, "function"), Version: "a"}
		p.Function = func(f events.FunctionRef) bool { return f == want }
		p.Watcher = func(w string) bool { return w < "c" } // who has none, too
		for range rapid.IntRange(1, 6).Draw(t, "blocks") {
			var b executions.Block
			for _, name := range rapid.SliceOfNDistinct(word, 0, 4, rapid.ID).Draw(t, "functions") {
				b.Functions = append(b.Functions, [3]string{"a", name, "a"})
			}
			b.Watchers = rapid.SliceOfNDistinct(word, 0, 4, rapid.ID).Draw(t, "watchers")
			for range rapid.IntRange(0, executions.BlockSize).Draw(t, "rows") {
				b.Rows = append(b.Rows, byte(rapid.IntRange(0, 5).Draw(t, "f")), 0, byte(rapid.IntRange(0, 5).Draw(t, "w")), 0, byte(rapid.IntRange(0, 8).Draw(t, "s")))
			}
			before := slices.Clone(b.Rows)
			shared, _, ok := names.Share(b)
			if !ok || shared.Ended() != b.Ended() || !slices.Equal(b.Rows, before) {
				t.Fatalf("%+v is shared as %+v, %v", b, shared, ok)
			}
			fresh := executions.Picks{Function: p.Function, Watcher: p.Watcher}
			if got, want := p.Places(shared, 0, executions.BlockSize), fresh.Places(b, 0, executions.BlockSize); !slices.Equal(got, want) {
				t.Fatalf("of %+v as %+v, %v are picked, want %v", b, shared, got, want)
			}
		}
	})
}
