package orchestrator

import (
	"context"
	"slices"

	"github.com/hermes-serverless/hermes/projections/executions"
)

// firstBlocks is how many blocks a seek reads at first, for most filters find a page in few, and
// maxBlocks how many at once later.
const firstBlocks, maxBlocks = 4, 400

// seek fills a page with what a filter picks: it reads blocks from the newest number down, and the views
// of what they do not rule out. A view decides: it may be newer than its block.
type seek struct {
	*search
	views Views
	user  string
	// maybe are the numbers that the blocks did not rule out and that have not been looked at, the
	// highest first.
	maybe []int64
}

func (s *seek) run(ctx context.Context) error {
	if s.page.Next == 0 {
		last, err := s.views.LastNumber(ctx, s.user)
		if err != nil {
			return err
		}
		s.page.Next = last + 1
	}
	s.first = max(s.first, 1)
	for most := firstBlocks; !s.over && s.page.Next > s.first; most = min(4*most, maxBlocks) {
		if err := s.step(ctx, most); err != nil {
			return err
		}
		s.over = s.over || s.page.Searched >= s.bound
	}
	if s.page.More = s.page.Next > s.first; !s.page.More {
		s.page.Next = 0
	}
	return nil
}

// step looks through so many blocks.
func (s *seek) step(ctx context.Context, most int) error {
	blocks, err := s.views.Blocks(ctx, s.user, s.page.Next, most)
	if err != nil {
		return err
	}
	to := s.page.Next
	for _, b := range blocks {
		from := max(s.first, executions.BlockFirst(to-1))
		some := s.candidates(b, from, to)
		s.maybe, to = append(s.maybe, some...), from
		missing := len(b.Rows) == 0
		if !missing && len(s.maybe) < s.most {
			continue
		}
		seen, err := s.look(ctx)
		if err != nil || s.over {
			return err
		}
		if s.pass(to); missing && seen == 0 {
			// Views are let go oldest first.
			s.pass(s.first)
			return nil
		}
		if to <= s.first {
			return nil
		}
	}
	if _, err := s.look(ctx); err != nil || s.over {
		return err
	}
	s.pass(to)
	return nil
}

// candidates are the numbers of [from, to) that the block does not rule out, the highest first.
func (s *seek) candidates(b executions.Block, from, to int64) (numbers []int64) {
	first := executions.BlockFirst(from)
	for n := to - 1; n >= from; n-- {
		if brief, known := b.Brief(int(n - first)); !known || s.filter.picksBrief(brief) {
			numbers = append(numbers, n)
		}
	}
	return numbers
}

// look reads the views of the candidates until the page is full, and returns how many there were.
func (s *seek) look(ctx context.Context) (seen int, err error) {
	for len(s.maybe) > 0 {
		some := s.maybe[:min(len(s.maybe), s.most-len(s.page.Executions))]
		found, err := s.views.Executions(ctx, s.user, some)
		if err != nil {
			return seen, err
		}
		seen += len(found)
		for _, e := range found {
			if !s.filter.picks(e) {
				continue
			}
			s.pass(e.Number)
			if err := s.add(e); err != nil || s.over {
				return seen, err
			}
		}
		s.pass(some[len(some)-1])
		s.maybe = s.maybe[len(some):]
	}
	return seen, nil
}

// pass says that everything from the number on has been looked at.
func (s *seek) pass(to int64) {
	s.page.Searched += int(s.page.Next - to)
	s.page.Next = to
}

// picksBrief is false for what the filter does not pick, whatever its view says.
func (f filter) picksBrief(b executions.Brief) bool {
	return f.picksFunction(b.Function) && (len(f.Status) == 0 || slices.Contains(f.Status, b.Status)) && (f.Watcher == "" || b.Watcher == f.Watcher)
}
