package orchestrator

import (
	"context"
	"fmt"
	"sync"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/events/log"
	"github.com/hermes-serverless/hermes/projections/functions"
)

// cachedFunctions bounds the cache; past it everything is forgotten and read again.
const cachedFunctions = 10_000

// functionCache keeps folds of functions, and reads on where it stopped: a run decides on the log
// itself, not on a view that may lag, and pays one small read for it.
type functionCache struct {
	log log.Log
	mu  sync.Mutex
	by  map[string]functions.Function
}

func newFunctionCache(l log.Log) *functionCache {
	return &functionCache{log: l, by: map[string]functions.Function{}}
}

// get returns the fold of everything that is in the log now; the zero value if there is nothing.
func (c *functionCache) get(ctx context.Context, owner, name string) (functions.Function, error) {
	subject := events.FunctionSubject(owner, name)
	c.mu.Lock()
	state := c.by[subject]
	c.mu.Unlock()
	head, err := c.log.Head(ctx, subject)
	if err != nil {
		return functions.Function{}, fmt.Errorf("read function %s/%s: %w", owner, name, err)
	}
	known := state.Sequence
	switch {
	case head == known:
		return state, nil
	case head < known: // its owner has left, and was forgotten
		c.forget(subject)
		return functions.Function{}, nil
	}
	for record, err := range c.log.Read(ctx, subject, known+1) {
		if err != nil {
			return functions.Function{}, fmt.Errorf("read function %s/%s: %w", owner, name, err)
		}
		if state, err = functions.Fold(state, record); err != nil {
			return functions.Function{}, fmt.Errorf("fold function %s/%s at sequence %d: %w", owner, name, record.Sequence, err)
		}
	}
	if state.Sequence > known {
		c.put(subject, state)
	}
	return state, nil
}

func (c *functionCache) forget(subject string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.by, subject)
}

func (c *functionCache) put(subject string, state functions.Function) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.by) >= cachedFunctions {
		clear(c.by)
	}
	if c.by[subject].Sequence < state.Sequence {
		c.by[subject] = state
	}
}
