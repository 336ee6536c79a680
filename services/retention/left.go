package retention

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/events/log"
	"github.com/hermes-serverless/hermes/events/streams"
	"github.com/hermes-serverless/hermes/projections/executions"
)

// leftUsers are the names of users who are gone. Those whom a server's configuration signs in need not be
// in the log.
func leftUsers(ctx context.Context, users log.Log) (map[string]bool, error) {
	left := map[string]bool{}
	for record, err := range users.Read(ctx, ">", 0) {
		var undecodable *log.UndecodableError
		if errors.As(err, &undecodable) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("find who has left: %w", err)
		}
		if name, err := events.ParseUserSubject(record.Subject); err == nil {
			_, left[name] = record.Data.(events.UserUnregistered)
		}
	}
	return left, nil
}

// purgeLeft takes from the archive what it keeps of users who are gone. It says first that it is gone, and
// waits until the views have let go of all of it: without the messages they could not.
func (e Executions) purgeLeft(ctx context.Context) error {
	left, err := leftUsers(ctx, e.Users)
	if err != nil {
		return err
	}
	stream, err := e.JS.Stream(ctx, streams.Archive)
	if err != nil {
		return fmt.Errorf("look at stream %s: %w", streams.Archive, err)
	}
	for owner, isLeft := range left {
		if !isLeft {
			continue
		}
		info, err := stream.Info(ctx, jetstream.WithSubjectFilter(events.ArchiveSubjects(owner)))
		if err != nil {
			return fmt.Errorf("look for what the archive keeps of %s: %w", owner, err)
		}
		delete(info.State.Subjects, events.ArchiveGoneSubject(owner))
		if len(info.State.Subjects) == 0 {
			continue
		}
		if err := e.sayGone(ctx, owner); err != nil {
			return fmt.Errorf("say that the executions of %s are gone: %w", owner, err)
		}
		for subject := range info.State.Subjects {
			if err := stream.Purge(ctx, jetstream.WithPurgeSubject(subject)); err != nil {
				return fmt.Errorf("purge %s: %w", subject, err)
			}
		}
		e.Log.Info("purged the archive of a user who has left", "user", owner)
	}
	return nil
}

func (e Executions) sayGone(ctx context.Context, owner string) error {
	number, gone, err := archivedLast(ctx, e.JS, owner)
	if err != nil {
		return err
	}
	if !gone {
		_, projected, err := e.Views.Active(ctx)
		if err != nil {
			return err
		}
		w, err := openArchive(ctx, e.JS)
		if err != nil {
			return err
		}
		if err := w.add(ctx, events.ArchiveGoneSubject(owner), projected, executions.Gone{Last: number}); err != nil {
			return err
		}
		if err := w.flush(ctx); err != nil {
			return err
		}
	}
	return e.projected(ctx)
}
