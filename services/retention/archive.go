package retention

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/synadia-io/orbit.go/jetstreamext"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/events/streams"
	"github.com/hermes-serverless/hermes/events/streams/get"
	"github.com/hermes-serverless/hermes/projections/executions"
)

const (
	// archivePage is how many views are read at once.
	archivePage = 100
	// batchMessages and batchBytes bound what is appended to the archive at once.
	batchMessages, batchBytes = 500, 1 << 20
	// appendWithin bounds an append.
	appendWithin = 10 * time.Second
	// projectWithin bounds the wait for the projector to let go of what the archive has.
	projectWithin = time.Minute
)

// archive puts the final views of executions that ended long enough ago into the archive, those of an owner
// in the order of their numbers, and returns how many that were.
func (e Executions) archive(ctx context.Context, before time.Time) (n int, err error) {
	copied, err := e.History.Copied(ctx)
	if err != nil {
		return 0, err
	}
	owners, err := e.Views.Owners(ctx)
	if err != nil {
		return 0, err
	}
	w, err := openArchive(ctx, e.JS)
	if err != nil {
		return 0, err
	}
	for _, owner := range slices.Sorted(maps.Keys(owners)) {
		last := owners[owner].Last
		if owners[owner].LetGo >= last {
			continue
		}
		if err := e.archiveOf(ctx, w, owner, last, before, copied); err != nil {
			return w.appended, fmt.Errorf("archive the executions of %s: %w", owner, err)
		}
	}
	return w.appended, w.flush(ctx)
}

// archiveOf goes from the first execution that the archive does not have to the first that lives, or is too
// young, or is not in the history.
func (e Executions) archiveOf(ctx context.Context, w *archiveWriter, owner string, last int64, before time.Time, copied uint64) error {
	has, forgotten, err := archivedLast(ctx, e.JS, owner)
	if err != nil || forgotten {
		return err
	}
	for next := has + 1; next <= last; next += archivePage {
		numbers := make([]int64, min(archivePage, last-next+1))
		for i := range numbers {
			numbers[i] = next + int64(i)
		}
		some, err := e.Views.Executions(ctx, owner, numbers)
		if err != nil {
			return err
		}
		slices.SortFunc(some, func(a, b executions.Execution) int { return cmp.Compare(a.Number, b.Number) })
		for i, number := range numbers {
			if i >= len(some) || some[i].Number != number {
				return fmt.Errorf("execution %d has no view: run `hermesd projection rebuild`", number)
			}
			if one := some[i]; !one.Status.Final() || one.EndedAt.After(before) || one.Sequence > copied {
				return nil
			}
			if err := w.add(ctx, events.ArchiveSubject(owner, some[i].RequestedAt), some[i].Sequence, some[i]); err != nil {
				return err
			}
		}
	}
	return nil
}

// archivedLast is the number of the owner's last execution that the archive has, or had. An owner who is
// forgotten has none.
func archivedLast(ctx context.Context, js jetstream.JetStream, owner string) (number int64, forgotten bool, err error) {
	m, err := get.LeaderLast(ctx, js, streams.Archive, events.ArchiveSubjects(owner))
	if errors.Is(err, get.ErrNone) {
		return 0, false, nil
	}
	if err != nil {
		return 0, false, err
	}
	if m.Subject == events.ArchiveGoneSubject(owner) {
		var all executions.Gone
		err = json.Unmarshal(m.Data, &all)
		number, forgotten = all.Last, all.Forgotten
	} else {
		var one executions.Execution
		err = json.Unmarshal(m.Data, &one)
		number = one.Number
	}
	if err != nil {
		return 0, false, fmt.Errorf("message %d of %s: %w", m.Sequence, streams.Archive, err)
	}
	return number, forgotten, nil
}

// archiveWriter appends to the archive. Each batch is appended whole or not at all, and only if nobody else
// has appended: what was decided on is all that is there.
type archiveWriter struct {
	js jetstream.JetStream
	// last is the archive's last sequence.
	last     uint64
	batch    []*nats.Msg
	bytes    int
	appended int
}

func openArchive(ctx context.Context, js jetstream.JetStream) (*archiveWriter, error) {
	stream, err := js.Stream(ctx, streams.Archive)
	if err != nil {
		return nil, fmt.Errorf("look at stream %s: %w", streams.Archive, err)
	}
	return &archiveWriter{js: js, last: stream.CachedInfo().State.LastSeq}, nil
}

// add adds a message that is true from the log's sequence on.
func (w *archiveWriter) add(ctx context.Context, subject string, at uint64, value any) error {
	raw, err := json.Marshal(value)
	if err != nil {
		return err
	}
	m := archiveMessage(subject, at, raw)
	if len(w.batch) == batchMessages || len(w.batch) > 0 && w.bytes+len(raw) > batchBytes {
		if err := w.flush(ctx); err != nil {
			return err
		}
	}
	w.batch, w.bytes = append(w.batch, m), w.bytes+len(raw)
	return nil
}

func (w *archiveWriter) flush(ctx context.Context) error {
	if len(w.batch) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, appendWithin)
	defer cancel()
	w.batch[0].Header.Set(jetstream.ExpectedLastSeqHeader, strconv.FormatUint(w.last, 10))
	last, err := w.publish(ctx)
	if err != nil {
		return fmt.Errorf("append %d messages behind %d of %s: %w", len(w.batch), w.last, streams.Archive, err)
	}
	w.last, w.appended = last, w.appended+len(w.batch)
	w.batch, w.bytes = nil, 0
	return nil
}

func (w *archiveWriter) publish(ctx context.Context) (uint64, error) {
	if len(w.batch) == 1 {
		ack, err := w.js.PublishMsg(ctx, w.batch[0])
		if err != nil {
			return 0, err
		}
		return ack.Sequence, nil
	}
	ack, err := jetstreamext.PublishMsgBatch(ctx, w.js, w.batch)
	if err != nil {
		return 0, err
	}
	return ack.Sequence, nil
}

// projected waits until the views have let go of all that the archive has.
func (e Executions) projected(ctx context.Context) error {
	w, err := openArchive(ctx, e.JS)
	if err != nil || w.last == 0 {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, projectWithin)
	defer cancel()
	return e.Views.WaitForArchived(ctx, w.last)
}
