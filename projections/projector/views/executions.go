package views

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/hermes-serverless/hermes/events/streams"
	"github.com/hermes-serverless/hermes/events/streams/get"
	"github.com/hermes-serverless/hermes/projections"
	"github.com/hermes-serverless/hermes/projections/executions"
	"github.com/hermes-serverless/hermes/projections/projector"
)

// Execution finds one of the owner's executions by its number.
func (v *Views) Execution(ctx context.Context, owner string, number int64) (executions.Execution, error) {
	found, err := v.Executions(ctx, owner, []int64{number})
	if err != nil || len(found) == 0 {
		return executions.Execution{}, err
	}
	return found[0], nil
}

// ExecutionByID finds one of the owner's executions by its id.
func (v *Views) ExecutionByID(ctx context.Context, owner, id string) (executions.Execution, error) {
	raw, err := fetch(ctx, v.js, streams.BucketExecutions, executions.IDKey(owner, id))
	if err == nil && raw == nil {
		return v.archivedByID(ctx, owner, id)
	}
	if err != nil {
		return executions.Execution{}, err
	}
	number, err := strconv.ParseInt(string(raw), 10, 64)
	if err != nil {
		return executions.Execution{}, err
	}
	return v.Execution(ctx, owner, number)
}

// Batch says where one of the owner's batches is among their executions.
func (v *Views) Batch(ctx context.Context, owner, batch string) (executions.Batch, error) {
	return one[executions.Batch](ctx, v, executions.Projection, executions.BatchKey(owner, batch))
}

// ListExecutions returns at most limit of the owner's executions with numbers below before (0:
// all), newest first, and whether there are more.
//
// Of who has left the oldest are gone: where a whole page of numbers has none, the list ends.
func (v *Views) ListExecutions(ctx context.Context, owner string, before int64, limit int) ([]executions.Execution, bool, error) {
	user, err := one[executions.User](ctx, v, executions.Projection, executions.UserKey(owner))
	if err != nil {
		return nil, false, err
	}
	next := user.Last
	if before > 0 {
		next = min(next, before-1)
	}
	var found []executions.Execution
	for next > 0 && len(found) <= limit {
		// One more than asked for tells whether there are more.
		n := min(int64(limit+1-len(found)), next, page)
		some, err := v.numbered(ctx, owner, next-n+1, next)
		if err != nil {
			return nil, false, err
		}
		if len(some) == 0 {
			break
		}
		found = append(found, some...)
		next -= n
	}
	if len(found) > limit {
		return found[:limit], true, nil
	}
	return found, false, nil
}

// LastNumber is the number of the owner's newest execution, 0 if there is none.
func (v *Views) LastNumber(ctx context.Context, owner string) (int64, error) {
	user, err := one[executions.User](ctx, v, executions.Projection, executions.UserKey(owner))
	return user.Last, err
}

// Executions returns those of the owner's executions with these numbers that exist, newest first: from the
// bucket, or from the archive what that has let go.
func (v *Views) Executions(ctx context.Context, owner string, numbers []int64) ([]executions.Execution, error) {
	found, user, err := v.stored(ctx, owner, numbers)
	if err != nil {
		return nil, err
	}
	if len(found) < len(numbers) {
		// Between two answers of one snapshot, more may have been let go.
		if user, err = one[executions.User](ctx, v, executions.Projection, executions.UserKey(owner)); err != nil {
			return nil, err
		}
	}
	all, old := make([]executions.Execution, 0, len(numbers)), []int64(nil)
	for _, n := range numbers {
		if e, is := found[n]; is {
			all = append(all, e)
		} else if n <= user.LetGo && n > user.Gone {
			old = append(old, n)
		}
	}
	if len(old) > 0 {
		some, err := v.archived(ctx, owner, old)
		if err != nil {
			return nil, err
		}
		all = append(all, some...)
	}
	slices.SortFunc(all, func(a, b executions.Execution) int { return cmp.Compare(b.Number, a.Number) })
	return all, nil
}

// stored returns those of the owner's executions with these numbers that have a view, by number. One that was
// let go has none, even if a crash of the server has brought it back.
func (v *Views) stored(ctx context.Context, owner string, numbers []int64) (map[int64]executions.Execution, executions.User, error) {
	var user executions.User
	keys := []string{executions.UserKey(owner)}
	for _, n := range numbers {
		keys = append(keys, executions.ViewKey(owner, n))
	}
	values, _, err := v.fetchAll(ctx, keys)
	if err != nil {
		return nil, user, err
	}
	if raw, there := values[keys[0]]; there {
		if user, err = decode[executions.User](executions.Projection, keys[0], raw); err != nil {
			return nil, user, err
		}
	}
	found := make(map[int64]executions.Execution, len(numbers))
	for i, n := range numbers {
		raw, there := values[keys[i+1]]
		if !there || n <= user.LetGo {
			continue
		}
		if found[n], err = decode[executions.Execution](executions.Projection, keys[i+1], raw); err != nil {
			return nil, user, err
		}
	}
	return found, user, nil
}

// numbered returns the owner's executions from one number to another, newest first.
func (v *Views) numbered(ctx context.Context, owner string, from, to int64) ([]executions.Execution, error) {
	numbers := make([]int64, 0, to-from+1)
	for n := from; n <= to; n++ {
		numbers = append(numbers, n)
	}
	return v.Executions(ctx, owner, numbers)
}

// fetchExecutions returns those of the views that exist, in no order, and a checkpoint that none
// of them is older than.
func (v *Views) fetchExecutions(ctx context.Context, keys []string) ([]executions.Execution, uint64, error) {
	values, at, err := v.fetchAll(ctx, keys)
	if err != nil {
		return nil, 0, err
	}
	found := make([]executions.Execution, 0, len(values))
	for key, raw := range values {
		e, err := decode[executions.Execution](executions.Projection, key, raw)
		if err != nil {
			return nil, 0, err
		}
		found = append(found, e)
	}
	return found, at, nil
}

// fetchAll returns the values of those of the keys that exist, and a checkpoint that none of them is
// older than.
func (v *Views) fetchAll(ctx context.Context, keys []string) (map[string][]byte, uint64, error) {
	values, at, err := together(ctx, v.js, keys)
	if !errors.Is(err, get.ErrTooMany) || len(keys) < 2 {
		return values, at, err
	}
	half := len(keys) / 2
	values, at, err = v.fetchAll(ctx, keys[:half])
	if err != nil {
		return nil, 0, err
	}
	more, later, err := v.fetchAll(ctx, keys[half:])
	maps.Copy(values, more)
	return values, min(at, later), err
}

// together returns the values of the keys (or wildcards) of the executions' bucket and its
// checkpoint, as they stood at one moment; get.ErrTooMany if they do not fit into one answer.
func together(ctx context.Context, js jetstream.JetStream, keys []string) (map[string][]byte, uint64, error) {
	prefix := streams.BucketSubject(streams.BucketExecutions, "")
	subjects := []string{prefix + projections.KeyCheckpoint}
	for _, key := range keys {
		subjects = append(subjects, prefix+key)
	}
	messages, err := get.Snapshot(ctx, js, streams.BucketStream(streams.BucketExecutions), subjects)
	if err != nil {
		return nil, 0, err
	}
	values, at := make(map[string][]byte, len(messages)), uint64(0)
	for _, m := range messages {
		key := strings.TrimPrefix(m.Subject, prefix)
		switch {
		case projector.IsMarker(m.Header):
		case key != projections.KeyCheckpoint:
			values[key] = m.Data
		default:
			if at, err = strconv.ParseUint(string(m.Data), 10, 64); err != nil {
				return nil, 0, err
			}
		}
	}
	return values, at, nil
}
