package logtest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/hermes-serverless/hermes/events/log"
)

// call is what a client asked: an append expecting a sequence, or the head.
type call struct {
	head     bool
	expected uint64
}

// answer is what it was told.
type answer struct {
	sequence uint64
	conflict bool
}

// register is a subject as one value: its last sequence. An append is a compare-and-set whose new
// value the store chooses, larger than the old.
var register = porcupine.Model{
	Init: func() any { return uint64(0) },
	Step: func(state, input, output any) (bool, any) {
		last, in, out := state.(uint64), input.(call), output.(answer)
		switch {
		case in.head:
			return out.sequence == last, last
		case out.conflict:
			return in.expected != last, last
		}
		return in.expected == last && out.sequence > last, out.sequence
	},
	DescribeOperation: func(input, output any) string { return fmt.Sprintf("%+v -> %+v", input, output) },
}

// testAppendLinearizable records concurrent appends and heads of one subject and proves that an
// order of them exists that one register would have answered the same.
func testAppendLinearizable(t *testing.T, s Subject) {
	const clients, calls = 5, 40
	ctx := testContext(t)
	start := time.Now()
	histories := make([][]porcupine.Operation, clients)
	var wg sync.WaitGroup
	for client := range clients {
		random := rand.New(rand.NewPCG(1, uint64(client)))
		wg.Go(func() {
			known := uint64(0)
			for n := range calls {
				in, out := call{head: random.IntN(3) == 0, expected: known}, answer{}
				called := time.Since(start)
				var err error
				if in.head {
					out.sequence, err = s.Log.Head(ctx, "hermes.a")
					known = out.sequence
				} else {
					out.sequence, err = s.Log.Append(ctx, "hermes.a", known, newEvent(fmt.Sprint(client, "-", n)))
					known = max(known, out.sequence)
				}
				if out.conflict = errors.Is(err, log.ErrConflict); err != nil && !out.conflict {
					t.Errorf("client %d: %v", client, err)
					return
				}
				histories[client] = append(histories[client], porcupine.Operation{
					ClientId: client, Input: in, Output: out, Call: int64(called), Return: int64(time.Since(start)),
				})
			}
		})
	}
	wg.Wait()
	var all []porcupine.Operation
	for _, h := range histories {
		all = append(all, h...)
	}
	if result := porcupine.CheckOperationsTimeout(register, all, deadline); result != porcupine.Ok {
		t.Fatalf("%d operations are not linearizable: %s", len(all), result)
	}
}
