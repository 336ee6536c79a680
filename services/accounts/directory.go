package accounts

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/events/log"
	"github.com/hermes-serverless/hermes/projections/users"
)

// directory is every user in memory, a moment behind the log.
type directory struct {
	mu    sync.Mutex
	users map[string]users.User
	byKey map[string]string
	seen  uint64
	// moved is closed and made anew with each event.
	moved chan struct{}
	// ended tells, without waiting, that keys may have become worthless.
	ended chan struct{}
}

func newDirectory() *directory {
	return &directory{users: map[string]users.User{}, byKey: map[string]string{}, moved: make(chan struct{}), ended: make(chan struct{}, 1)}
}

// run follows the log until the context ends.
func (d *directory) run(ctx context.Context, l log.Log) error {
	for record, err := range l.Follow(ctx, "hermes.user.*", 1) {
		var undecodable *log.UndecodableError
		if err != nil && !errors.As(err, &undecodable) {
			return err
		}
		d.apply(record, err)
	}
	return ctx.Err()
}

// apply folds a record. One that cannot be folded is passed over, as the projection does.
func (d *directory) apply(r events.Record, undecodable error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	defer func() {
		d.seen = r.Sequence
		close(d.moved)
		d.moved = make(chan struct{})
	}()
	name, err := events.ParseUserSubject(r.Subject)
	if err != nil || undecodable != nil {
		return
	}
	before := d.users[name]
	after, err := users.Fold(before, r)
	if err != nil {
		return
	}
	d.users[name] = after
	for key := range before.Keys {
		if _, still := after.Keys[key]; !still && d.byKey[key] == name {
			delete(d.byKey, key)
		}
	}
	for key := range after.Keys {
		d.byKey[key] = name
	}
	switch r.Data.(type) {
	case events.UserKeyRevoked, events.UserDisabled, events.UserUnregistered:
		select {
		case d.ended <- struct{}{}:
		default:
		}
	}
}

// owner returns who enrolled the key.
func (d *directory) owner(key string) (users.User, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	name, known := d.byKey[key]
	return d.users[name], known
}

func (d *directory) user(name string) users.User {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.users[name]
}

// registered returns all users by name.
func (d *directory) registered() []users.User {
	d.mu.Lock()
	defer d.mu.Unlock()
	var all []users.User
	for _, name := range slices.Sorted(maps.Keys(d.users)) {
		if u := d.users[name]; u.Registered {
			all = append(all, u)
		}
	}
	return all
}

// catchUp waits until the directory has seen what the log holds now.
func (d *directory) catchUp(ctx context.Context, l log.Log) error {
	head, err := l.Head(ctx, "hermes.user.*")
	if err != nil {
		return err
	}
	for {
		d.mu.Lock()
		seen, moved := d.seen, d.moved
		d.mu.Unlock()
		if seen >= head {
			return nil
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
