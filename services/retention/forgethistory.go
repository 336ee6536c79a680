package retention

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/events/log"
	"github.com/hermes-serverless/hermes/events/streams"
)

// deletions is how many messages are deleted at once, one by one.
const deletions = 16

// deleteHistory deletes the events of the users' executions. The one that says that they are forgotten stays.
func (f Forget) deleteHistory(ctx context.Context, users []leaver) error {
	names := map[string]bool{}
	for _, u := range users {
		names[u.name] = true
	}
	return f.deleteEach(ctx, streams.History, func(ctx context.Context, found func(sequence uint64)) error {
		return f.History.Each(ctx, func(sequence uint64, subject string) error {
			if owner := events.OwnerOf(subject); names[owner] && subject != events.ExecutionsForgottenSubject(owner) {
				found(sequence)
			}
			return ctx.Err()
		})
	})
}

// deleteAudit deletes the audit events that tell from where and with which keys the users came. What the
// operator did stays.
func (f Forget) deleteAudit(ctx context.Context, users []leaver) error {
	names := map[string]bool{}
	for _, u := range users {
		names[u.name] = true
	}
	return f.deleteEach(ctx, streams.Audit, func(ctx context.Context, found func(sequence uint64)) error {
		for _, t := range []events.Type{events.LoginSucceeded{}.Type(), events.LoginFailed{}.Type(), events.KeyUsed{}.Type()} {
			for r, err := range f.Audit.Read(ctx, events.AuditSubject(t), 0) {
				var undecodable *log.UndecodableError
				if err != nil && !errors.As(err, &undecodable) {
					return fmt.Errorf("read the audit: %w", err)
				}
				if names[auditedUser(r.Data)] {
					found(r.Sequence)
				}
			}
		}
		return nil
	})
}

// auditedUser is who came, or tried to; empty if that is nobody who is known.
func auditedUser(data events.Data) string {
	switch d := data.(type) {
	case events.LoginSucceeded:
		return d.User
	case events.LoginFailed:
		return d.User
	case events.KeyUsed:
		return d.User
	}
	return ""
}

// deleteEach deletes the messages of a stream that find finds, while it looks for more.
func (f Forget) deleteEach(ctx context.Context, name string, find func(ctx context.Context, found func(sequence uint64)) error) error {
	stream, err := f.JS.Stream(ctx, name)
	if err != nil {
		return fmt.Errorf("look at stream %s: %w", name, err)
	}
	work, ctx := errgroup.WithContext(ctx)
	work.SetLimit(deletions)
	err = find(ctx, func(sequence uint64) {
		work.Go(func() error { return deleteOne(ctx, stream, sequence) })
	})
	// A failed deletion ends the look.
	if failed := work.Wait(); failed != nil {
		err = failed
	}
	return err
}

func deleteOne(ctx context.Context, stream jetstream.Stream, sequence uint64) error {
	name := stream.CachedInfo().Config.Name
	if stream.CachedInfo().Config.DenyDelete {
		return deniesError(name)
	}
	err := stream.DeleteMsg(ctx, sequence)
	if err == nil || ctx.Err() != nil {
		return err
	}
	// Somebody else may have been faster.
	if _, gone := stream.GetMsg(ctx, sequence); errors.Is(gone, jetstream.ErrMsgNotFound) {
		return nil
	}
	return fmt.Errorf("delete message %d of %s: %w", sequence, name, err)
}
