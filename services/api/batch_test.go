package api_test

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/services/api"
)

// TestBatchExecutionIDs: each place has one id, in the order of the places; batches of one moment
// share none.
func TestBatchExecutionIDs(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := api.NewID(), api.NewID()
		index := rapid.Int64Range(1, api.MaxBatch)
		i, j := index.Draw(t, "i"), index.Draw(t, "j")
		id := func(batch string, index int64) string {
			id, err := api.BatchExecutionID(events.BatchRef{ID: batch, Index: index})
			if err != nil {
				t.Fatal(err)
			}
			if err := events.CheckExecutionID(id); err != nil {
				t.Fatal(err)
			}
			return id
		}
		first, again := id(a, i), id(a, i)
		if first != again || first == id(b, i) || (id(a, i) < id(a, j)) != (i < j) || id(a, i)[:10] != a[:10] {
			t.Fatalf("of %s, %d and %d are %s and %s; of %s, %d is %s", a, i, j, id(a, i), id(a, j), b, i, id(b, i))
		}
	})
}

func TestBatchExecutionIDRefuses(t *testing.T) {
	good := api.NewID()
	var took []events.BatchRef
	for _, ref := range []events.BatchRef{
		{}, {ID: good}, {ID: good, Index: -1}, {ID: good, Index: api.MaxBatch + 1}, {ID: "x", Index: 1}, {ID: "*", Index: 1},
		{ID: good[:25], Index: 1}, {ID: "a" + good[1:], Index: 1},
	} {
		if _, err := api.BatchExecutionID(ref); !api.IsKind(err, api.Invalid) {
			took = append(took, ref)
		}
	}
	if len(took) > 0 {
		t.Errorf("took %+v", took)
	}
	if _, err := api.BatchExecutionID(events.BatchRef{ID: good, Index: api.MaxBatch}); err != nil {
		t.Errorf("the last place: %v", err)
	}
}
