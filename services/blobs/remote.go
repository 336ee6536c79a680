package blobs

import (
	"context"
	"fmt"
	"io"
	"sync"

	"github.com/hermes-serverless/hermes/events"
)

const (
	// partWindow is how many parts of one blob are asked for at once: 2 MiB, which a slow link brings in
	// time.
	partWindow = 4
	// mostParts bounds those of all blobs together.
	mostParts = 8
)

// PartFunc returns the piece of the content behind a cursor as Store.Part does, which it may ask of
// somebody else. Its error ends a Get.
type PartFunc func(ctx context.Context, digest string, after uint64) (data []byte, cursor uint64, err error)

// Remote is the content of a store that is asked for part by part. All methods may be called from
// many goroutines.
type Remote struct {
	part   PartFunc
	places chan struct{}
}

// NewRemote returns what part reads from.
func NewRemote(part PartFunc) *Remote {
	return &Remote{part: part, places: make(chan struct{}, mostParts)}
}

// Get writes the blob's content to w. Only when it returns without an error is what was written
// known to be that content.
//
// Errors: a *MismatchError, w's own, the context's, those of the PartFunc.
func (r *Remote) Get(ctx context.Context, blob events.Blob, w io.Writer) error {
	if err := events.CheckDigest(blob.Digest); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	p := &remoteParts{Remote: r, ctx: ctx, digest: blob.Digest, left: blob.SizeBytes}
	defer p.work.Wait()
	defer cancel()
	return copyBlob(w, p, blob)
}

// remoteParts reads the parts of one blob, one behind the other. A part's cursor is known only when it is
// there, but most often it is the one before and one more, as the chunks of an upload are stored
// together: so the next ones are asked for on that guess. A part behind a guess that is wrong was
// asked for in vain, and nothing else.
type remoteParts struct {
	*Remote
	ctx    context.Context
	digest string
	work   sync.WaitGroup
	// asked are the questions under way, in the order of their cursors. Only the first of them can be
	// that of the part which comes next, and is if its cursor is last.
	asked []question
	// last is the cursor of the last part that came.
	last uint64
	// left is how many bytes are still to come, partBytes how many the last part had.
	left, partBytes int64
	come            []byte
}

type question struct {
	after  uint64
	answer chan answer
}

type answer struct {
	data   []byte
	cursor uint64
	err    error
}

func (p *remoteParts) Read(into []byte) (int, error) {
	if len(p.come) == 0 {
		if p.left <= 0 {
			return 0, io.EOF
		}
		if err := p.next(); err != nil {
			return 0, err
		}
	}
	n := copy(into, p.come)
	p.come = p.come[n:]
	return n, nil
}

// next waits for the part behind the last one.
func (p *remoteParts) next() error {
	p.ask()
	first := p.asked[0]
	select {
	case got := <-first.answer:
		if got.err != nil {
			return got.err
		}
		if len(got.data) > 0 && got.cursor <= p.last {
			return fmt.Errorf("the part behind %d has the cursor %d", p.last, got.cursor)
		}
		if len(got.data) == 0 {
			return fmt.Errorf("%d bytes are missing in the store: were they deleted?", p.left)
		}
		p.come, p.last, p.partBytes = got.data, got.cursor, int64(len(got.data))
		p.left -= p.partBytes
	case <-p.ctx.Done():
		return p.ctx.Err()
	}
	for len(p.asked) > 0 && p.asked[0].after < p.last {
		p.asked = p.asked[1:] // answered, or a wrong guess
	}
	return nil
}

// ask asks for the next part, and for as many behind it as are likely to be left. Nothing is known to
// guess from before the first one.
func (p *remoteParts) ask() {
	most := int64(1)
	if p.partBytes > 0 {
		most = min(partWindow, (p.left+p.partBytes-1)/p.partBytes)
	}
	for int64(len(p.asked)) < most {
		q := question{after: p.last, answer: make(chan answer, 1)}
		if n := len(p.asked); n > 0 {
			q.after = p.asked[n-1].after + 1
		}
		p.asked = append(p.asked, q)
		p.work.Go(func() { q.answer <- p.fetch(q.after) })
	}
}

func (p *remoteParts) fetch(after uint64) answer {
	select {
	case p.places <- struct{}{}:
		defer func() { <-p.places }()
	case <-p.ctx.Done():
		return answer{err: p.ctx.Err()}
	}
	data, cursor, err := p.part(p.ctx, p.digest, after)
	return answer{data: data, cursor: cursor, err: err}
}
