package projector

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"math"
	"strconv"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/events/log"
	"github.com/hermes-serverless/hermes/projections"
)

// letsGo reports whether there is an archive, and keys that it lets go of.
func (o Options) letsGo() bool { return o.Archive != nil && o.Projection.Letting != nil }

// archived reads what a log of an archive yields: its messages are no events, and come as what cannot be
// decoded.
func archived(messages iter.Seq2[events.Record, error]) iter.Seq2[projections.Archived, error] {
	return func(yield func(projections.Archived, error) bool) {
		for r, err := range messages {
			a := projections.Archived{Subject: r.Subject, Sequence: r.Sequence}
			var undecodable *log.UndecodableError
			switch {
			case errors.As(err, &undecodable):
				a.Data = undecodable.Message.Data
				// Without the header it is true from the beginning, and will not be what the log says.
				a.At, _ = strconv.ParseUint(undecodable.Message.Header[projections.HeaderLogSequence], 10, 64)
			case err != nil:
				yield(a, err)
				return
			}
			if !yield(a, nil) {
				return
			}
		}
	}
}

// letting is what a session knows of the archive.
type letting struct {
	// messages yields what is behind the mark; nil where there is no archive.
	messages <-chan archivedItem
	// next waits until the log has come to it.
	next *projections.Archived
}

type archivedItem struct {
	archived projections.Archived
	err      error
}

// followArchive begins behind the bucket's mark. The channel ends with the context.
func (p *Projector) followArchive(ctx context.Context, t *tx) (*letting, error) {
	if !p.o.letsGo() {
		return &letting{}, nil
	}
	mark, err := p.mark(ctx, t)
	if err != nil {
		return nil, err
	}
	messages := make(chan archivedItem, letGoTogether)
	go func() {
		defer close(messages)
		for a, err := range archived(p.o.Archive.Follow(ctx, allSubjects, mark.Sequence+1)) {
			select {
			case messages <- archivedItem{a, err}:
			case <-ctx.Done():
				return
			}
		}
	}()
	return &letting{messages: messages}, nil
}

// mark is how far the bucket has come in the archive. What is behind the archive's end is ErrAhead.
func (p *Projector) mark(ctx context.Context, t *tx) (projections.ArchivedMark, error) {
	mark, _, err := projections.Get[projections.ArchivedMark](t, projections.KeyArchived)
	if err != nil {
		return mark, err
	}
	head, err := p.o.Archive.Head(ctx, allSubjects)
	if err == nil && mark.Sequence > head {
		err = fmt.Errorf("%w: %s %d, archive %d", ErrAhead, projections.KeyArchived, mark.Sequence, head)
	}
	return mark, err
}

// more is the channel to take from: none while a message waits for the log.
func (l *letting) more() <-chan archivedItem {
	if l.next != nil {
		return nil
	}
	return l.messages
}

// came takes what came from the channel.
func (l *letting) came(i archivedItem, open bool) error {
	if !open {
		return errEnded
	}
	if i.err == nil {
		l.next = &i.archived
	}
	return i.err
}

// due reports whether the bucket has come to the message that waits.
func (l *letting) due(t *tx) bool { return l.next != nil && l.next.At <= t.checkpoint }

// end returns when nobody follows the archive any more.
func (l *letting) end() {
	if l.messages == nil {
		return
	}
	for range l.messages {
	}
}

// letGo applies the messages that are there and due, as many as one commit holds, and commits. It changes
// no checkpoint.
func (p *Projector) letGo(t *tx, l *letting) error {
	some, err := l.take(t)
	if err != nil || len(some) == 0 {
		return err
	}
	if err := t.land(); err != nil {
		return err
	}
	keys := []string{projections.KeyArchived}
	for _, a := range some {
		keys = append(keys, p.o.Projection.Letting.Reads(a)...)
	}
	if _, err := t.prefetch(keys); err != nil {
		return err
	}
	for _, a := range some {
		for more := true; more; {
			if len(t.writes)+projections.MaxLetGo > maxKeys {
				if err := t.commit(t.checkpoint); err != nil {
					return err
				}
			}
			more, err = p.o.Projection.StepArchived(t, a)
			if projections.IsMismatch(err) {
				p.o.Logger.Error("the archive is not what the log says; the views stay", "bucket", p.Bucket(), "err", err)
			} else if err != nil {
				return err
			}
		}
	}
	return t.commit(t.checkpoint)
}

// take takes the messages that are there and due.
func (l *letting) take(t *tx) (some []projections.Archived, err error) {
	for len(some) < letGoTogether {
		if l.next == nil {
			select {
			case i, open := <-l.messages: // never, where there is no archive
				if err := l.came(i, open); err != nil {
					return nil, err
				}
			default:
			}
		}
		if !l.due(t) {
			break
		}
		some, l.next = append(some, *l.next), nil
	}
	return some, nil
}

// letGoTogether is how many messages of the archive are applied in one commit: each changes a few keys.
const letGoTogether = 150

// deleteLetGo deletes again what was let go of and a crash of the server has brought back: once, and after each
// reconnect. Such keys are old: the bucket is looked through from the oldest value on, up to those that were
// written behind all that was let go of.
func (p *Projector) deleteLetGo(t *tx) error {
	on := p.connections()
	if !p.o.letsGo() || p.sweptOn == on {
		return nil
	}
	mark, _, err := projections.Get[projections.ArchivedMark](t, projections.KeyArchived)
	if err == nil && mark.Sequence > 0 {
		err = p.sweep(t, mark)
	}
	if err == nil {
		p.sweptOn = on
	}
	return err
}

// connections counts them. The last was made at the reconnect before, of which nobody else may have heard: between
// two sessions nobody listens.
func (p *Projector) connections() uint64 {
	if p.o.JS == nil {
		return 1
	}
	return 1 + p.o.JS.Conn().Stats().Reconnects
}

func (p *Projector) sweep(t *tx, mark projections.ArchivedMark) error {
	// A commit writes its keys in any order.
	const most = 2 * mostKeys
	var end uint64
	all := 0
	for i, prefix := range p.o.Projection.Letting.Prefixes {
		young := 0
		err := p.store.oldest(t.ctx, prefix, func(sequence uint64, key string, raw []byte) (bool, error) {
			value, err := p.o.Projection.Decode(key, raw)
			if err != nil {
				return false, err
			}
			gone, err := p.o.Projection.Letting.Gone(t, key, value)
			if err != nil {
				return false, err
			}
			if gone {
				t.Delete(key)
				all++
			}
			if len(t.writes) == maxKeys {
				if err := t.commit(t.checkpoint); err != nil {
					return false, err
				}
			}
			if i > 0 {
				return sequence <= end, nil
			}
			if end = sequence; p.o.Projection.Letting.Sequence(value) > mark.Until {
				young++
			}
			return young < most, nil
		})
		if err != nil {
			return err
		}
		if young < most { // there are no more
			end = math.MaxUint64
		}
	}
	if all == 0 {
		return nil
	}
	p.o.Logger.Info("deleting views again that a crash of the server brought back", "bucket", p.Bucket(), "keys", all)
	return t.commit(t.checkpoint)
}

// markOf is the mark in a snapshot.
func markOf(s snapshot) (mark projections.ArchivedMark, err error) {
	if raw, is := s.values[projections.KeyArchived]; is {
		if err = json.Unmarshal(raw, &mark); err != nil {
			err = fmt.Errorf("%w: %s %q", ErrAhead, projections.KeyArchived, raw)
		}
	}
	return mark, err
}
