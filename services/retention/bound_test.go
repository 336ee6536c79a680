package retention

import (
	"testing"

	"pgregory.net/rapid"
)

func TestBound(t *testing.T) {
	all := standing{first: 1, last: 100, aged: 50, projected: 100, copied: 100}
	with := func(change func(*standing)) standing {
		s := all
		change(&s)
		return s
	}
	for name, c := range map[string]struct {
		s     standing
		spare uint64
		want  uint64
	}{
		"by age":                  {all, 0, 50},
		"what is spared":          {all, 10, 40},
		"more is spared":          {all, 60, 0},
		"a live one":              {with(func(s *standing) { s.live = []uint64{70, 20} }), 0, 19},
		"the first is live":       {with(func(s *standing) { s.live = []uint64{1} }), 0, 0},
		"the views are behind":    {with(func(s *standing) { s.projected = 30 }), 0, 30},
		"the history is behind":   {with(func(s *standing) { s.copied = 10 }), 0, 10},
		"it has gone before":      {with(func(s *standing) { s.first = 51 }), 0, 0},
		"the last event":          {with(func(s *standing) { s.aged = 100 }), 0, 99},
		"an empty log":            {standing{first: 1}, 0, 0},
		"nothing is old":          {with(func(s *standing) { s.aged = 0 }), 0, 0},
		"the history has nothing": {with(func(s *standing) { s.copied = 0 }), 0, 0},
	} {
		if got := bound(c.s, c.spare); got != c.want {
			t.Errorf("%s: %d, want %d", name, got, c.want)
		}
	}
}

// TestBoundNeverTakesWhatIsNeeded states the promises one by one.
func TestBoundNeverTakesWhatIsNeeded(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		sequence := rapid.Uint64Range(0, 60)
		s := standing{
			first: sequence.Draw(t, "first"), last: sequence.Draw(t, "last"), aged: sequence.Draw(t, "aged"),
			projected: sequence.Draw(t, "projected"), copied: sequence.Draw(t, "copied"),
			live: rapid.SliceOf(rapid.Uint64Range(1, 60)).Draw(t, "live"),
		}
		spare := sequence.Draw(t, "spare")
		to := bound(s, spare)
		if to == 0 {
			return
		}
		if to < s.first || to >= s.last || to+spare > min(s.aged, s.projected, s.copied, s.last) {
			t.Fatalf("%+v, %d spared: %d may go", s, spare, to)
		}
		for _, first := range s.live {
			if to+spare >= first {
				t.Fatalf("%d may go, and %d is live", to, first)
			}
		}
	})
}
