package projector

import (
	"iter"

	"github.com/hermes-serverless/hermes/events"
)

// aheadBy is how many records are handed over together, and aheadChunks how often that is done before
// who reads ahead waits.
const aheadBy, aheadChunks = 256, 8

// ahead yields what is read, while a goroutine of its own reads on: to read and decode a record costs
// as much as to apply it.
func ahead(read iter.Seq2[events.Record, error]) iter.Seq2[events.Record, error] {
	return func(yield func(events.Record, error) bool) {
		chunks, over := make(chan []item, aheadChunks), make(chan struct{})
		go func() {
			defer close(chunks)
			some := make([]item, 0, aheadBy)
			hand := func() bool {
				select {
				case chunks <- some:
					some = make([]item, 0, aheadBy)
					return true
				case <-over:
					return false
				}
			}
			for r, err := range read {
				if some = append(some, item{r, err}); len(some) == aheadBy && !hand() {
					return
				}
			}
			hand()
		}()
		defer func() {
			close(over)
			for range chunks { // until it has ended
			}
		}()
		for some := range chunks {
			for _, i := range some {
				if !yield(i.record, i.err) {
					return
				}
			}
		}
	}
}
