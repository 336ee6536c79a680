package executions_test

import (
	"reflect"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/projections/executions"
	"github.com/hermes-serverless/hermes/projections/foldtest"
)

// TestAtIsTheFoldOfAPrefix draws histories, with clocks that may run backwards, and moments: what At
// gives is the fold of the longest prefix without a later event, and never goes back as time goes on.
func TestAtIsTheFoldOfAPrefix(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		states := []executions.Execution{{}}
		var history []events.Record
		for sequence := uint64(1); ; sequence++ {
			last := states[len(states)-1]
			data := next(t, last)
			if data == nil || len(history) == 20 {
				break
			}
			r := foldtest.Record(subject, sequence, data)
			r.Time = time.Unix(rapid.Int64Range(0, 50).Draw(t, "second"), 0).UTC()
			state, err := executions.Fold(last, r)
			if err != nil {
				t.Fatal(err)
			}
			history, states = append(history, r), append(states, state)
		}
		before := 0
		for second := int64(-1); second <= 51; second++ {
			moment := time.Unix(second, 0)
			prefix := 0
			for prefix < len(history) && !history[prefix].Time.After(moment) {
				prefix++
			}
			got, err := executions.At(history, moment)
			if err != nil || !reflect.DeepEqual(got, states[prefix]) {
				t.Fatalf("at %d it is %+v, %v; the fold of the first %d is %+v", second, got, err, prefix, states[prefix])
			}
			if prefix < before {
				t.Fatalf("at %d it is in an earlier state than before", second)
			}
			before = prefix
		}
		if before != len(history) {
			t.Fatalf("at the end %d of %d events are in it", before, len(history))
		}
	})
}
