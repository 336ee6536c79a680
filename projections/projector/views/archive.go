package views

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/events/streams"
	"github.com/hermes-serverless/hermes/events/streams/get"
	"github.com/hermes-serverless/hermes/projections"
	"github.com/hermes-serverless/hermes/projections/executions"
)

const (
	// nearby is how many executions that nobody asked for are read to get more in one round trip.
	nearby = 16
	// maxDrawers is how many drawers a search for an id reads at once.
	maxDrawers = 16
)

// place is where in the archive an execution is.
type place struct {
	number   int64
	sequence uint64
}

// archived returns those of the owner's executions with these numbers that the archive has, in no order.
func (v *Views) archived(ctx context.Context, owner string, numbers []int64) ([]executions.Execution, error) {
	places, err := v.places(ctx, owner, numbers)
	if err != nil {
		return nil, err
	}
	slices.SortFunc(places, func(a, b place) int { return cmp.Compare(a.number, b.number) })
	var found []executions.Execution
	for len(places) > 0 {
		n := 1
		for n < len(places) && places[n].number-places[n-1].number <= nearby {
			n++
		}
		some, err := v.readArchive(ctx, owner, places[:n])
		if err != nil {
			return nil, fmt.Errorf("read the archive: %w", err)
		}
		found, places = append(found, some...), places[n:]
	}
	return found, nil
}

// places finds executions in the drawers. One that is in none is left out.
func (v *Views) places(ctx context.Context, owner string, numbers []int64) ([]place, error) {
	var firsts []int64
	for _, n := range numbers {
		firsts = append(firsts, executions.DrawerFirst(n))
	}
	slices.Sort(firsts)
	drawers, err := v.drawers(ctx, owner, slices.Compact(firsts))
	if err != nil {
		return nil, err
	}
	var all []place
	for _, n := range numbers {
		first := executions.DrawerFirst(n)
		if at := drawers[first].Sequence(int(n - first)); at > 0 {
			all = append(all, place{number: n, sequence: at})
		}
	}
	return all, nil
}

// drawers returns drawers by their first numbers. One that is not there is empty.
func (v *Views) drawers(ctx context.Context, owner string, firsts []int64) (map[int64]executions.Drawer, error) {
	keys := make([]string, len(firsts))
	for i, first := range firsts {
		keys[i] = executions.DrawerKey(owner, first)
	}
	values, _, err := v.fetchAll(ctx, keys)
	if err != nil {
		return nil, err
	}
	drawers := make(map[int64]executions.Drawer, len(values))
	for i, key := range keys {
		if raw, there := values[key]; there {
			if drawers[firsts[i]], err = decode[executions.Drawer](executions.Projection, key, raw); err != nil {
				return nil, err
			}
		}
	}
	return drawers, nil
}

// readArchive reads executions whose numbers are near one another, the lowest first: between those of an
// owner there are none but theirs.
func (v *Views) readArchive(ctx context.Context, owner string, places []place) ([]executions.Execution, error) {
	first, last := places[0], places[len(places)-1]
	wanted := make(map[uint64]bool, len(places))
	for _, p := range places {
		wanted[p.sequence] = true
	}
	var found []executions.Execution
	take := func(m *jetstream.RawStreamMsg) error {
		if !wanted[m.Sequence] {
			return nil
		}
		delete(wanted, m.Sequence)
		var e executions.Execution
		if err := json.Unmarshal(m.Data, &e); err != nil {
			return fmt.Errorf("message %d of %s: %w", m.Sequence, streams.Archive, err)
		}
		found = append(found, e)
		return nil
	}
	for next := first.sequence; next <= last.sequence; {
		messages, _, err := get.Next(ctx, v.js, streams.Archive, events.ArchiveSubjects(owner), next, int(last.number-first.number)+1)
		if err != nil {
			return nil, err
		}
		if len(messages) == 0 {
			break
		}
		for _, m := range messages {
			next = m.Sequence + 1
			if err := take(m); err != nil {
				return nil, err
			}
		}
	}
	for sequence := range wanted { // a replica may be behind; the leader knows whether it is gone
		m, err := get.LeaderNext(ctx, v.js, streams.Archive, events.ArchiveSubjects(owner), sequence)
		if errors.Is(err, get.ErrNone) {
			continue
		}
		if err == nil {
			err = take(m)
		}
		if err != nil {
			return nil, err
		}
	}
	return found, nil
}

// archivedByID finds the owner's execution with the id in the archive: a few bytes of each id lie in the drawers.
func (v *Views) archivedByID(ctx context.Context, owner, id string) (none executions.Execution, err error) {
	all, err := one[executions.Drawers](ctx, v, executions.Projection, executions.DrawersKey(owner))
	if err != nil {
		return none, err
	}
	for firsts := range slices.Chunk(all.May(id), maxDrawers) {
		drawers, err := v.drawers(ctx, owner, firsts)
		if err != nil {
			return none, err
		}
		for _, first := range firsts {
			for _, n := range drawers[first].Find(id) {
				found, err := v.readArchive(ctx, owner, []place{{first + int64(n), drawers[first].Sequence(n)}})
				if err != nil {
					return none, err
				}
				if len(found) > 0 && found[0].ID == id {
					return found[0], nil
				}
			}
		}
	}
	return none, nil
}

// Owners returns what the executions of each owner have in common, by owner.
func (v *Views) Owners(ctx context.Context) (map[string]executions.User, error) {
	prefix := executions.UserKey("")
	values, err := scan(ctx, v.js, streams.BucketExecutions, prefix+"*")
	if err != nil {
		return nil, fmt.Errorf("owners of executions: %w", err)
	}
	owners := make(map[string]executions.User, len(values))
	for key, raw := range values {
		if owners[strings.TrimPrefix(key, prefix)], err = decode[executions.User](executions.Projection, key, raw); err != nil {
			return nil, err
		}
	}
	return owners, nil
}

// WaitForArchived returns when the views of executions have seen the sequence of the archive, or with the
// context's error.
func (v *Views) WaitForArchived(ctx context.Context, sequence uint64) error {
	for wait := time.Millisecond; ; wait = min(2*wait, maxPoll) {
		mark, err := one[projections.ArchivedMark](ctx, v, executions.Projection, projections.KeyArchived)
		if err == nil && mark.Sequence >= sequence {
			return nil
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return fmt.Errorf("view %s has not seen %s of the archive yet: %w", streams.BucketExecutions, strconv.FormatUint(sequence, 10), ctx.Err())
		}
	}
}
