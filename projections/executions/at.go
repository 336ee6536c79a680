package executions

import (
	"time"

	"github.com/hermes-serverless/hermes/events"
)

// At folds the history of one execution up to a moment: up to the first event that is later. What
// follows that one is left out even if a clock that was behind dates it earlier, so that the
// result is a state in which the execution has been. It is the zero value before the first event.
func At(history []events.Record, moment time.Time) (Execution, error) {
	var e Execution
	for _, r := range history {
		if r.Time.After(moment) {
			break
		}
		next, err := Fold(e, r)
		if err != nil {
			return e, err
		}
		e = next
	}
	return e, nil
}
