package orchestrator

import (
	"maps"
	"slices"
	"sync"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/projections/executions"
)

// Stats tell what the orchestrator does. What counts does so since its start.
type Stats struct {
	// Ended counts the executions whose end was appended here.
	Ended map[End]uint64
	// Leads says that it is the leader; the others leave what follows 0.
	Leads bool
	// Queued and Running are the live executions, Waiting those of the queued that no machine has yet.
	Queued, Running, Waiting int
}

// End is how executions ended.
type End struct {
	Status executions.Status
	// Reason is one of the events' Reason constants, "other", or "" where the status says it all.
	Reason string
}

// ends counts them.
type ends struct {
	mu    sync.Mutex
	count map[End]uint64
}

// add counts an execution that has just been appended to, if that ended it.
func (e *ends) add(exec executions.Execution) {
	if !exec.Status.Final() {
		return
	}
	end := End{Status: exec.Status, Reason: exec.Reason}
	if end.Reason != "" && !slices.Contains(events.Reasons(), end.Reason) {
		end.Reason = "other" // a watcher may send any, and each would be counted for ever
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.count == nil {
		e.count = map[End]uint64{}
	}
	e.count[end]++
}

// Stats may be called at any time, from any goroutine.
func (s *Service) Stats() Stats {
	s.ends.mu.Lock()
	now := Stats{Ended: maps.Clone(s.ends.count)}
	s.ends.mu.Unlock()
	l := s.leader.Load()
	if l == nil {
		return now
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	now.Leads = true
	for _, e := range l.state.execs {
		switch e.exec.Status {
		case executions.Queued:
			now.Queued++
		case executions.Running:
			now.Running++
		}
		if e.waiting() {
			now.Waiting++
		}
	}
	return now
}
