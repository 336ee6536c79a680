package projector

import (
	"context"
	"errors"

	"github.com/hermes-serverless/hermes/events"
)

// item is what a Follow yields.
type item struct {
	record events.Record
	err    error
}

// feed is what waits to be applied, in the order of the log.
type feed struct {
	// left are those that were taken and did not fit into the last commit. They come before items.
	left  []item
	items <-chan item
	// plenty says that a commit's worth waits, or did a moment ago.
	plenty <-chan struct{}
}

// feed reads the log ahead from the sequence on, until the context ends or stop is called.
func (p *Projector) feed(ctx context.Context, from uint64) (f *feed, stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	items, plenty := make(chan item, 4*together), make(chan struct{}, 1)
	go func() {
		defer close(items)
		for record, err := range p.follow(ctx, from) {
			select {
			case items <- item{record, err}:
			case <-ctx.Done():
				return
			}
			if len(items) >= chunk {
				select {
				case plenty <- struct{}{}:
				default:
				}
			}
		}
	}()
	return &feed{items: items, plenty: plenty}, func() {
		cancel()
		for range items { // until the follower is gone
		}
	}
}

// errEnded: nobody reads the log any more.
var errEnded = errors.New("the log is read no further")

// next waits for something to apply; nothing is that a message of the archive is due. A commit that ends
// meanwhile is settled.
func (f *feed) next(t *tx, l *letting) ([]item, error) {
	if items := f.left; len(items) > 0 {
		f.left = nil
		return items, nil
	}
	for !l.due(t) {
		select {
		case i, ok := <-f.items:
			if !ok {
				return nil, errEnded
			}
			return one(i, ok), nil
		case i, ok := <-l.more():
			if err := l.came(i, ok); err != nil {
				return nil, err
			}
		case l := <-t.landing():
			if err := t.settle(l); err != nil {
				return nil, err
			}
		}
	}
	return nil, nil
}

// more returns something that waits already. While a commit is under way it waits for that, too.
func (f *feed) more(t *tx) ([]item, error) {
	for {
		select {
		case i, ok := <-f.items:
			return one(i, ok), nil
		default:
		}
		if t.flight == nil {
			return nil, nil
		}
		select {
		case i, ok := <-f.items:
			return one(i, ok), nil
		case l := <-t.landing():
			if err := t.settle(l); err != nil {
				return nil, err
			}
		}
	}
}

func one(i item, ok bool) []item {
	if !ok {
		return nil
	}
	return []item{i}
}

// gather adds what waits already, up to as many as are looked at together.
func (f *feed) gather(into []item) []item {
	for len(into) < together {
		select {
		case i, ok := <-f.items:
			if !ok {
				return into
			}
			into = append(into, i)
		default:
			return into
		}
	}
	return into
}
