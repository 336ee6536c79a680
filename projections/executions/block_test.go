package executions_test

import (
	"fmt"
	"reflect"
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
			got, known := stored.(executions.Block).Brief(int(number - executions.BlockFirst(number)))
			if want := (executions.Brief{Function: e.Request.Function, Watcher: e.Watcher, Status: e.Status}); !known || got != want {
				t.Fatalf("%d is %+v, %v, want %+v", number, got, known, want)
			}
		}
	})
}

// TestBlockThatKnowsLittle: rows that were never written, or are nonsense, are not known.
func TestBlockThatKnowsLittle(t *testing.T) {
	b := executions.Block{Functions: [][3]string{{"ana", "f", "1.0.0"}}, Rows: []byte{
		0, 0, 0, 0, 0 /* nothing */, 1, 0, 0, 0, 1, 2, 0, 0, 0, 1 /* no such function */, 1, 0, 1, 0, 1 /* no such watcher */, 1, 0, 0, 0, 99, /* no such status */
	}}
	for n, want := range []bool{false, true, false, false, false, false} {
		if _, known := b.Brief(n); known != want {
			t.Errorf("row %d is known: %v", n, known)
		}
	}
}
