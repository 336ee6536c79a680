package orchestrator

import (
	"fmt"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/projections/executions"
)

// queued is a state in which so many executions of ana's wait, "000…" the first.
func queued(n int) *state {
	s := newState()
	for i := range n {
		s.load(executions.Execution{
			Owner: "ana", ID: fmt.Sprintf("%026d", i), Status: executions.Queued, Sequence: uint64(i + 1), RequestedAt: time.Unix(int64(i), 0),
			Request: events.ExecutionRequested{Base: events.HostBase},
		})
	}
	return s
}

// TestWhatLosesItsPlaceGoesBackToIt: also when the head of the queue has been looked at meanwhile.
func TestWhatLosesItsPlaceGoesBackToIt(t *testing.T) {
	s := queued(9)
	at := func(n int) key { return key{owner: "ana", id: fmt.Sprintf("%026d", n)} }
	head := func(most int) (numbers []int) {
		for _, need := range s.waitingOf("ana", most, Room{}) {
			n, err := strconv.Atoi(need.ID)
			if err != nil {
				t.Fatal(err)
			}
			numbers = append(numbers, n)
		}
		return numbers
	}
	check := func(most int, want ...int) {
		t.Helper()
		if got := head(most); !slices.Equal(got, want) {
			t.Errorf("the head is %v, want %v", got, want)
		}
	}
	for _, n := range []int{0, 2, 3, 7} {
		s.place(at(n), put{watcher: "w"}, time.Now())
	}
	check(2, 1, 4)
	check(9, 1, 4, 5, 6, 8)
	s.unplace(at(2), "w")
	s.unplace(at(7), "w")
	check(4, 1, 2, 4, 5)
	check(9, 1, 2, 4, 5, 6, 7, 8)
	for n := range 9 {
		s.place(at(n), put{watcher: "w"}, time.Now())
	}
	check(9)
	s.unplace(at(0), "w")
	check(9, 0)
}

// BenchmarkHeadOfTheQueue is part of each plan, and costs the same however many wait.
func BenchmarkHeadOfTheQueue(b *testing.B) {
	for _, n := range []int{windowPerUser, 100 * windowPerUser} {
		s := queued(n)
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			for range b.N {
				s.waitingOf("ana", windowPerUser, Room{})
			}
		})
	}
}
