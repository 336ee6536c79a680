package orchestrator

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/synadia-io/orbit.go/jetstreamext"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/events/streams/get"
	"github.com/hermes-serverless/hermes/projections/executions"
	"github.com/hermes-serverless/hermes/services/api"
)

const (
	// pageBytes bounds the output in one answer; with the headers it stays below the 1 MiB that a
	// NATS message may have. A chunk is at most 256 KiB.
	pageBytes = 640 << 10
	// pagePieces bounds the pieces, and so the header that lists them.
	pagePieces = 1000
	batchSize  = 256
	// placeChunks is how many chunks are looked at to find where a moment's output begins.
	placeChunks = 16
	// batchWithin bounds one read. An answer that a dying server took along never comes; it is over
	// well before the client's patience is, so that the client hears that it may ask again.
	batchWithin = 3 * time.Second
	// disturbance is how long a chunk may be stored behind the one after it, or behind the end: what is
	// missing for longer the store has let go of.
	disturbance = time.Minute
)

// output answers OpExecutionOutput: a page of stored output from an offset.
func (s *Service) output(ctx context.Context, user string, raw []byte) (nats.Header, []byte, error) {
	var ask api.ExecutionOutput
	if err := json.Unmarshal(raw, &ask); err != nil {
		return nil, nil, api.Errorf(api.Invalid, api.InvalidArguments, "the request cannot be read: %v", err)
	}
	if ask.From < 0 {
		return nil, nil, api.Errorf(api.Invalid, api.InvalidArguments, "offset %d: must not be negative", ask.From)
	}
	if (ask.From > 0 || ask.Cursor > 0) && (ask.Latest || !ask.Since.IsZero()) || ask.Latest && !ask.Since.IsZero() {
		return nil, nil, api.Errorf(api.Invalid, api.InvalidArguments, "output is asked for from one place: an offset, a time or its end")
	}
	e, err := s.find(ctx, user, ask.ExecutionRef)
	if err != nil {
		return nil, nil, err
	}
	if !e.Status.Final() {
		// The view may be a moment behind; which watcher to trust must be certain.
		if e, err = s.fold(ctx, user, e.ID); err != nil {
			return nil, nil, err
		}
	}
	page, body, err := s.readPage(ctx, e, ask)
	if err != nil {
		return nil, nil, fmt.Errorf("read the output of execution %s: %w", e.ID, err)
	}
	header, err := json.Marshal(page)
	if err != nil {
		return nil, nil, err
	}
	return nats.Header{api.HeaderPage: {string(header)}}, body, nil
}

// readPage reads from the subject of the watcher that the log names, and no other's.
func (s *Service) readPage(ctx context.Context, e executions.Execution, ask api.ExecutionOutput) (api.OutputPage, []byte, error) {
	p := pager{page: api.OutputPage{Attempt: e.Attempt, Begin: ask.From, Next: ask.From, Cursor: ask.Cursor, Live: !e.Status.Final()}}
	if e.Attempt == 0 {
		p.page.End = summary(e)
		return p.page, nil, nil
	}
	subject := events.OutputSubject(e.Watcher, e.Owner, e.ID)
	if ask.Latest || !ask.Since.IsZero() {
		begin, cursor, err := s.beginning(ctx, subject, e.Attempt, ask.Since)
		if err != nil {
			return p.page, nil, err
		}
		p.page.Begin, p.page.Next, p.page.Cursor = begin, begin, cursor
	}
	if err := s.readFrom(ctx, subject, &p); err != nil {
		return p.page, nil, err
	}
	if p.stopped() && s.now().Sub(p.ahead.stored) > disturbance {
		gone, err := s.gone(ctx, e, p.page.Next, p.ahead.offset)
		if err != nil {
			return p.page, nil, err
		}
		p.page.Gone, p.page.Begin, p.page.Next, p.page.Cursor = &gone, p.ahead.offset, p.ahead.offset, p.ahead.sequence-1
		if err := s.readFrom(ctx, subject, &p); err != nil {
			return p.page, nil, err
		}
	}
	if p.page.End == nil && !p.full {
		var err error
		if p.page.End, p.page.Gone, err = s.endOf(ctx, e, p.page.Next, p.page.Gone); err != nil {
			return p.page, nil, err
		}
	}
	return p.page, p.body, nil
}

// readFrom fills the page from where it stands.
func (s *Service) readFrom(ctx context.Context, subject string, p *pager) (err error) {
	// The cursor stays before what a later page must see again; the reading itself always goes on.
	for seen, more := p.page.Cursor, true; more && !p.full; {
		if seen, more, err = s.readBatch(ctx, subject, seen, p.add); err != nil {
			return err
		}
	}
	return nil
}

// beginning finds the offset of what was stored at the moment or later (behind everything, if that is
// zero or nothing was), and a cursor for it. After a disturbance a chunk may be stored ahead of
// those before it: the first of a few is taken.
func (s *Service) beginning(ctx context.Context, subject string, attempt int, moment time.Time) (offset int64, cursor uint64, err error) {
	var found []*jetstream.RawStreamMsg
	stream := s.Output.CachedInfo().Config.Name
	if !moment.IsZero() {
		if found, _, err = get.Since(ctx, s.JS, stream, subject, moment, placeChunks); err != nil {
			return 0, 0, err
		}
	}
	behind := len(found) == 0
	if behind {
		last, err := get.LeaderLast(ctx, s.JS, stream, subject)
		if errors.Is(err, get.ErrNone) {
			return 0, 0, nil
		}
		if err != nil {
			return 0, 0, err
		}
		found = append(found, last)
	}
	offset = math.MaxInt64
	for _, m := range found {
		c, err := api.ParseChunk(&nats.Msg{Header: m.Header, Data: m.Data})
		if err != nil || c.Attempt != attempt {
			return 0, 0, err // another attempt's: this one had not printed anything then
		}
		if behind && c.Stream != api.End {
			c.Offset += int64(len(c.Data))
		}
		offset = min(offset, c.Offset)
	}
	return offset, found[0].Sequence - 1, nil
}

// readBatch has messages of a subject taken that stand in the stream of output behind the sequence seen,
// and returns the last of them and whether there was any.
func (s *Service) readBatch(ctx context.Context, subject string, seen uint64, take func(*jetstream.RawStreamMsg) error) (last uint64, more bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, batchWithin)
	defer cancel()
	batch, err := jetstreamext.GetBatch(ctx, s.JS, s.Output.CachedInfo().Config.Name, batchSize,
		jetstreamext.GetBatchSubject(subject), jetstreamext.GetBatchSeq(seen+1), jetstreamext.GetBatchMaxBytes(2*pageBytes))
	if err != nil {
		return seen, false, err
	}
	for m, err := range batch {
		if errors.Is(err, jetstreamext.ErrNoMessages) {
			return seen, false, nil
		}
		if err != nil {
			return seen, false, err
		}
		seen, more = m.Sequence, true
		if err := take(m); err != nil {
			return seen, false, err
		}
	}
	// The library ends its messages without an error when the time is over: they are not all then.
	return seen, more, ctx.Err()
}

// pager gathers stored chunks into a page. A chunk is taken when its
// offset is the one expected, so each once and in order, however often and where it is stored.
type pager struct {
	page api.OutputPage
	body []byte
	full bool
	// ahead is the first message behind a gap.
	ahead struct {
		offset   int64
		sequence uint64
		stored   time.Time
	}
}

// stopped: nothing is stored of what comes next, but something behind it is.
func (p *pager) stopped() bool {
	return len(p.page.Pieces) == 0 && p.page.End == nil && !p.full && p.ahead.sequence > 0
}

func (p *pager) behindGap(offset int64, m *jetstream.RawStreamMsg) {
	if p.ahead.sequence == 0 || offset < p.ahead.offset {
		p.ahead.offset, p.ahead.sequence, p.ahead.stored = offset, m.Sequence, m.Time
	}
}

func (p *pager) add(m *jetstream.RawStreamMsg) error {
	if p.full {
		return nil
	}
	c, err := api.ParseChunk(&nats.Msg{Header: m.Header, Data: m.Data})
	if err != nil {
		return err
	}
	if c.Attempt != p.page.Attempt {
		p.page.Cursor = m.Sequence
		return nil
	}
	if c.Stream == api.End {
		if c.Offset > p.page.Next {
			p.behindGap(c.Offset, m)
			return nil
		}
		end, err := c.End()
		if err != nil {
			return err
		}
		p.page.End, p.page.Cursor, p.full = &end, m.Sequence, true
		return nil
	}
	if len(p.body)+len(c.Data) > pageBytes && len(p.body) > 0 || len(p.page.Pieces) == pagePieces {
		p.full = true
		return nil
	}
	p.page.Cursor = m.Sequence
	skip := p.page.Next - c.Offset
	switch {
	case skip < 0:
		// After a disturbance a chunk may be stored ahead of the one before it, and again behind it.
		p.behindGap(c.Offset, m)
		return nil
	case skip >= int64(len(c.Data)):
		return nil
	}
	data := c.Data[skip:]
	p.body = append(p.body, data...)
	p.page.Pieces = append(p.page.Pieces, api.OutputPiece{Stream: c.Stream, Offset: p.page.Next, Bytes: len(data), Time: c.Time})
	p.page.Next += int64(len(data))
	return nil
}
