package retention

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math"
	"slices"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/events/log"
	"github.com/hermes-serverless/hermes/events/streams"
	"github.com/hermes-serverless/hermes/events/streams/get"
	"github.com/hermes-serverless/hermes/projections"
	"github.com/hermes-serverless/hermes/projections/executions"
)

// ForgetViews are what is asked of the views to forget a user. Each returns when a view has come so far.
type ForgetViews interface {
	WaitForFunctions(ctx context.Context, sequence uint64) error
	WaitForExecutions(ctx context.Context, sequence uint64) error
	WaitForArchived(ctx context.Context, sequence uint64) error
}

// Copies is the history as who deletes of it sees it.
type Copies interface {
	History
	// Each calls f with the sequence of every event that the history has, and with the subject that the
	// event had in the log.
	Each(ctx context.Context, f func(sequence uint64, subject string) error) error
}

const (
	// forgetAgain is for how long after a user has left they are forgotten again and again, at every start
	// and every day: a watcher that was lost may come back and print, what was counted of logins is recorded
	// at the end of its window, and a crash of the server may bring back what it had not on disk.
	forgetAgain = 7 * 24 * time.Hour
	forgetEvery = 24 * time.Hour
	// firstRetry and maxRetry lie between two tries.
	firstRetry, maxRetry = time.Second, time.Hour
	// forgetWithin bounds a step: a purge of what a user has had for years takes a while.
	forgetWithin = 10 * time.Minute
	source       = "retention"
)

// Forget removes what the streams, buckets and stores keep of users who have left. All fields are required.
//
// Everything that it does may be done again, and by several at once. The order is such that whoever folds the
// logs meanwhile has nothing of the user either: the logs say that the user is forgotten, so that who follows
// them drops what was not seen to end; then the archive does, which takes the views away, and from the
// beginning out of what is folded anew; and only then events go. The last to go are the user's own, but for
// the one by which the name stays taken: as long as there are others, there is something to do.
type Forget struct {
	JS      jetstream.JetStream
	Views   ForgetViews
	History Copies
	Audit   log.Log
	// Blobs has the logs, and knows what refers to content.
	Blobs Blobs
	NewID func() string
	Now   func() time.Time
	Log   *slog.Logger
}

// Run forgets who leaves, until the context ends; it returns nil then.
func (f Forget) Run(ctx context.Context) error {
	wait, again := firstRetry, f.Now()
	for ctx.Err() == nil {
		// Found first: who leaves meanwhile is met.
		head, err := f.Blobs.Users.Head(ctx, ">")
		if err == nil {
			lately := time.Duration(0)
			if !f.Now().Before(again) {
				lately = forgetAgain
			}
			err = f.Round(ctx, lately)
		}
		until := again.Sub(f.Now())
		switch {
		case err == nil:
			if until <= 0 {
				again = f.Now().Add(forgetEvery)
				until = forgetEvery
			}
			wait = firstRetry
		case ctx.Err() == nil:
			f.Log.Warn("cannot remove all that is kept of users who have left yet", "err", err)
			until, wait = wait, min(2*wait, maxRetry)
		}
		f.await(ctx, head, until)
	}
	return nil
}

// await returns when somebody leaves behind the sequence of the log of users, or after a while.
func (f Forget) await(ctx context.Context, behind uint64, atMost time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, atMost)
	defer cancel()
	for r, err := range f.Blobs.Users.Follow(ctx, ">", behind+1) {
		var undecodable *log.UndecodableError
		if err != nil && !errors.As(err, &undecodable) {
			<-ctx.Done() // what is wrong is said by the next round
			return
		}
		if _, left := r.Data.(events.UserUnregistered); left {
			return
		}
	}
}

// Everybody is Round's lately that no time is longer than.
const Everybody = time.Duration(math.MaxInt64)

// Round forgets everybody of whom more is kept than has to be, and those who left no longer ago than lately.
// After an error the rest is for the next round.
func (f Forget) Round(ctx context.Context, lately time.Duration) error {
	left, err := leavers(ctx, f.Blobs.Users)
	if err != nil {
		return err
	}
	var prepared []leaver
	var all error
	for _, name := range slices.Sorted(maps.Keys(left)) {
		u := left[name]
		if !u.more && f.Now().Sub(u.at) > lately {
			continue
		}
		if err := f.prepare(ctx, u); err != nil {
			all = errors.Join(all, fmt.Errorf("forget %s: %w", name, err))
			continue
		}
		prepared = append(prepared, u)
	}
	if len(prepared) == 0 {
		return all
	}
	// One look at all of the history is for all of them.
	if err := errors.Join(f.deleteHistory(ctx, prepared), f.deleteAudit(ctx, prepared)); err != nil {
		return errors.Join(all, err)
	}
	for _, u := range prepared {
		if err := f.purge(ctx, streams.Users, events.UserSubject(u.name), u.sequence); err != nil {
			all = errors.Join(all, err)
			continue
		}
		if u.more {
			f.Log.Info("removed all that was kept of a user who has left", "user", u.name)
		}
	}
	return all
}

// prepare does everything for a user that is not done for all together, and not the last step.
func (f Forget) prepare(ctx context.Context, u leaver) error {
	ctx, cancel := context.WithTimeout(ctx, forgetWithin)
	defer cancel()
	functions, err := f.say(ctx, f.Blobs.Functions, events.FunctionsForgottenSubject(u.name), events.FunctionsForgotten{})
	if err == nil {
		err = f.Views.WaitForFunctions(ctx, functions)
	}
	if err != nil {
		return err
	}
	executions, err := f.say(ctx, f.Blobs.Executions, events.ExecutionsForgottenSubject(u.name), events.ExecutionsForgotten{})
	if err == nil {
		err = f.Views.WaitForExecutions(ctx, executions)
	}
	if err != nil {
		return err
	}
	if err := f.emptyArchive(ctx, u.name, executions); err != nil {
		return err
	}
	if err := f.Blobs.forget(ctx, u); err != nil {
		return err
	}
	if err := f.copied(ctx, executions); err != nil {
		return err
	}
	return errors.Join(
		f.purge(ctx, streams.Output, events.OutputSubject("*", u.name, ">"), 0),
		f.purge(ctx, streams.Runs, events.RunSubject("*", u.name, "*"), 0),
		f.purge(ctx, streams.Executions, "hermes.execution.*."+u.name+".*", executions),
		f.purge(ctx, streams.Functions, events.FunctionSubject(u.name, "*"), functions),
		f.purgeMarkers(ctx, u.name),
	)
}

// say has the log say that a user is forgotten, once, and returns where it does.
func (f Forget) say(ctx context.Context, l log.Log, subject string, data events.Data) (uint64, error) {
	for {
		said, err := l.Head(ctx, subject)
		if err != nil || said > 0 {
			return said, err
		}
		said, err = l.Append(ctx, subject, 0, events.Event{ID: f.NewID(), Source: source, Time: f.Now().UTC(), Data: data})
		if !errors.Is(err, log.ErrConflict) {
			return said, err
		}
	}
}

// emptyArchive has the archive say it, waits until the views have nothing of the user, and takes away what
// the archive has.
func (f Forget) emptyArchive(ctx context.Context, name string, at uint64) error {
	said, err := f.sayArchive(ctx, name, at)
	if err == nil {
		err = f.Views.WaitForArchived(ctx, said)
	}
	if err != nil {
		return err
	}
	stream, err := f.JS.Stream(ctx, streams.Archive)
	if err != nil {
		return fmt.Errorf("look at stream %s: %w", streams.Archive, err)
	}
	info, err := stream.Info(ctx, jetstream.WithSubjectFilter(events.ArchiveSubjects(name)))
	if err != nil {
		return fmt.Errorf("look for what the archive keeps: %w", err)
	}
	for subject := range info.State.Subjects {
		if err := f.purge(ctx, streams.Archive, subject, said); err != nil {
			return err
		}
	}
	return nil
}

func (f Forget) sayArchive(ctx context.Context, name string, at uint64) (uint64, error) {
	subject := events.ArchiveGoneSubject(name)
	last, err := get.LeaderLast(ctx, f.JS, streams.Archive, subject)
	if err == nil && isForgotten(last.Data) {
		return last.Sequence, nil
	}
	if err != nil && !errors.Is(err, get.ErrNone) {
		return 0, err
	}
	raw, err := json.Marshal(executions.Gone{Forgotten: true})
	if err != nil {
		return 0, err
	}
	ack, err := f.JS.PublishMsg(ctx, archiveMessage(subject, at, raw))
	if err != nil {
		return 0, fmt.Errorf("have the archive say that %s is forgotten: %w", name, err)
	}
	return ack.Sequence, nil
}

func isForgotten(raw []byte) bool {
	var gone executions.Gone
	return json.Unmarshal(raw, &gone) == nil && gone.Forgotten
}

// copied waits until the history has the event: nothing that is before it is copied any more.
func (f Forget) copied(ctx context.Context, sequence uint64) error {
	for wait := time.Millisecond; ; wait = min(2*wait, time.Second) {
		copied, err := f.History.Copied(ctx)
		if err != nil || copied >= sequence {
			return err
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return fmt.Errorf("the history has not copied event %d of %s yet: %w", sequence, streams.Executions, ctx.Err())
		}
	}
}

// purgeMarkers takes away what deleted keys have left: a function's name is in its key.
func (f Forget) purgeMarkers(ctx context.Context, name string) error {
	var all error
	for bucket, keys := range map[string][]string{
		streams.BucketFunctions:  {"*." + name + ".>"},
		streams.BucketExecutions: {"*." + name + ".>", "*." + name},
		streams.BucketUsers:      {"*." + name},
	} {
		for _, key := range keys {
			all = errors.Join(all, f.purge(ctx, streams.BucketStream(bucket), streams.BucketSubject(bucket, key), 0))
		}
	}
	return all
}

// purge removes what the stream has below the subject before the sequence; 0: all.
func (f Forget) purge(ctx context.Context, name, subject string, before uint64) error {
	ctx, cancel := context.WithTimeout(ctx, forgetWithin)
	defer cancel()
	stream, err := f.JS.Stream(ctx, name)
	if err != nil {
		return fmt.Errorf("look at stream %s: %w", name, err)
	}
	if stream.CachedInfo().Config.DenyPurge {
		return deniesError(name)
	}
	options := []jetstream.StreamPurgeOpt{jetstream.WithPurgeSubject(subject)}
	if before > 0 {
		options = append(options, jetstream.WithPurgeSequence(before))
	}
	if err := stream.Purge(ctx, options...); err != nil {
		return fmt.Errorf("purge %s of %s: %w", subject, name, err)
	}
	return nil
}

func deniesError(stream string) error {
	return fmt.Errorf("stream %s was made by an earlier version and denies for good that anything is removed: `hermesd backup` and `hermesd restore` make an instance of which it can be", stream)
}

// archiveMessage is one that is true from the log's sequence on.
func archiveMessage(subject string, at uint64, raw []byte) *nats.Msg {
	m := &nats.Msg{Subject: subject, Data: raw, Header: nats.Header{}}
	m.Header.Set(projections.HeaderLogSequence, strconv.FormatUint(at, 10))
	return m
}
