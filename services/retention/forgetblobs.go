package retention

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/events/log"
	"github.com/hermes-serverless/hermes/services/blobs"
)

// forget removes the content that a user who has left had, and that is nobody else's: what their events or
// the notes of what they uploaded name. It is done before the events go. What an upload that never ended
// has left is for Collect.
func (b Blobs) forget(ctx context.Context, u leaver) error {
	names, err := b.Store.Stored(ctx)
	if err != nil {
		return err
	}
	theirs := references{}
	for _, of := range []struct {
		log    log.Log
		filter string
	}{{b.Functions, events.FunctionSubject(u.name, "*")}, {b.Executions, "hermes.execution.*." + u.name + ".*"}} {
		if err := addEvents(ctx, theirs, of.log, of.filter); err != nil {
			return fmt.Errorf("find what they had: %w", err)
		}
	}
	others := map[string]bool{}
	for _, one := range names {
		switch {
		case one.Holder == u.name:
			theirs[one.Blob.Digest] = true
		case one.Holder != "" && (!isWatcher(one.Holder) || one.Since.After(u.at)):
			// A watcher that has brought it since did so for somebody else.
			others[one.Blob.Digest] = true
		}
	}
	if len(theirs) == 0 {
		return nil
	}
	needed, err := b.needed(ctx, u.name)
	if err != nil {
		return err
	}
	removed := map[string]bool{}
	for _, one := range names {
		digest := one.Blob.Digest
		if one.Holder != "" || !theirs[digest] || needed[digest] || others[digest] {
			continue
		}
		if removed[digest], err = b.Store.Forget(ctx, one); err != nil {
			return err
		}
	}
	for _, one := range names { // behind the content: until then they tell what that is
		if one.Holder == u.name || one.Holder != "" && removed[one.Blob.Digest] {
			if _, err := b.Store.Forget(ctx, one); err != nil {
				return err
			}
		}
	}
	return nil
}

func isWatcher(holder string) bool { return strings.HasPrefix(holder, blobs.WatcherHolder("")) }

// addEvents adds what the events name, whatever became of it.
func addEvents(ctx context.Context, r references, from log.Log, filter string) error {
	for record, err := range from.Read(ctx, filter, 0) {
		var undecodable *log.UndecodableError
		switch {
		case errors.As(err, &undecodable):
			r.addRaw(undecodable.Message.Data)
		case err != nil:
			return err
		default:
			if err := r.add(record.Data); err != nil {
				return err
			}
		}
	}
	return nil
}
