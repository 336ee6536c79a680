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
	picks executions.Picks
	// spared is what blocks in memory cost less than others, in executions.
	spared int
}

// inMemory is how many executions in blocks in memory cost what one does in a block that is read.
const inMemory = 16

func (s *seek) run(ctx context.Context) error {
	if s.page.Next == 0 {
		last, err := s.views.LastNumber(ctx, s.user)
		if err != nil {
			return err
		}
		s.page.Next = last + 1
	}
	s.first = max(s.first, 1)
	s.picks = s.filter.picksOfBlocks()
	for most := firstBlocks; !s.over && s.page.Next > s.first; most = min(4*most, maxBlocks) {
		if err := s.step(ctx, most); err != nil {
			return err
		}
		s.over = s.over || s.page.Searched-s.spared >= s.bound
	}
	if s.page.More = s.page.Next > s.first; !s.page.More {
		s.page.Next = 0
	}
	return nil
}

// step looks through so many blocks.
func (s *seek) step(ctx context.Context, most int) error {
	blocks, read, err := s.views.Blocks(ctx, s.user, s.page.Next, most)
	if err != nil {
		return err
	}
	s.spared += (len(blocks) - read) * executions.BlockSize / inMemory * (inMemory - 1)
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
	for _, n := range s.picks.Places(b, int(from-first), int(to-first)) {
		numbers = append(numbers, first+int64(n))
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

// picksOfBlocks does not pick what the filter does not, whatever its view says.
func (f filter) picksOfBlocks() executions.Picks {
	p := executions.Picks{Function: f.picksFunction}
	if len(f.Status) > 0 {
		p.Status = func(s executions.Status) bool { return slices.Contains(f.Status, s) }
	}
	if f.Watcher != "" {
		p.Watcher = func(name string) bool { return name == f.Watcher }
	}
	return p
}
