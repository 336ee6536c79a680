package orchestrator

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"sort"
	"time"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/projections/executions"
	"github.com/hermes-serverless/hermes/services/api"
)

const (
	defaultPage = 50
	maxPage     = 500
	// searchBound is how many executions one request looks at before it answers with what it has.
	searchBound = 100_000
	// listBytes bounds the executions in one answer; a NATS message has at most 1 MiB.
	listBytes = 768 << 10
	// skew is how far the clocks of two machines that accept executions may be apart: numbers are in
	// the order of the log, times are what those clocks said.
	skew = time.Minute
)

// list answers with a page of the user's executions, newest first. It reads views from the newest
// number down, so that a page costs the same however many there are; with a filter it reads first what
// blocks of them know in a few bytes each.
func (s *Service) list(ctx context.Context, user string, ask api.ExecutionList) (api.Executions, error) {
	if ask.Limit == 0 {
		ask.Limit = defaultPage
	}
	if ask.Limit < 0 || ask.Limit > maxPage || ask.Before < 0 {
		return api.Executions{}, api.Errorf(api.Invalid, api.InvalidArguments, "limit %d: must be from 1 to %d", ask.Limit, maxPage)
	}
	f, err := newFilter(user, ask.ExecutionFilter)
	if err != nil {
		return api.Executions{}, err
	}
	if err := s.caughtUp(ctx, ask.MinSequence); err != nil {
		return api.Executions{}, err
	}
	s.fresh(ctx, user)
	search := &search{filter: f, most: ask.Limit, bound: searchBound, page: api.Executions{Executions: []api.Execution{}, Next: ask.Before}}
	if f.Batch != "" {
		batch, err := s.Views.Batch(ctx, user, f.Batch)
		if err != nil {
			return api.Executions{}, fmt.Errorf("find the batch %s of %s: %w", f.Batch, user, err)
		}
		if search.within(batch); search.over {
			return search.page, nil
		}
	}
	if !f.Until.IsZero() {
		if search.page.Next, err = s.numberAt(ctx, user, search.page.Next, f.Until.Add(skew)); err != nil {
			return api.Executions{}, fmt.Errorf("find the executions of %s before %s: %w", user, f.Until, err)
		}
	}
	if !f.Since.IsZero() {
		first, err := s.numberAt(ctx, user, search.page.Next, f.Since.Add(-skew))
		if err != nil {
			return api.Executions{}, fmt.Errorf("find the executions of %s since %s: %w", user, f.Since, err)
		}
		search.first = max(search.first, first)
	}
	if f.all() {
		err = s.unfiltered(ctx, user, search)
	} else {
		err = (&seek{search: search, views: s.Views, user: user}).run(ctx)
	}
	if err != nil {
		return api.Executions{}, fmt.Errorf("list the executions of %s: %w", user, err)
	}
	return search.page, nil
}

// unfiltered fills a page with everything that there is.
func (s *Service) unfiltered(ctx context.Context, user string, search *search) error {
	for more := true; more && !search.over; {
		var found []executions.Execution
		var err error
		if found, more, err = s.Views.ListExecutions(ctx, user, search.page.Next, search.most-len(search.page.Executions)); err != nil {
			return err
		}
		if err := search.take(found, more); err != nil {
			return err
		}
	}
	return nil
}

// numberAt returns the number of the user's first execution that was requested at the moment or
// later, and is below before (0: whatever it is); before, if none was. What has no view any more
// is older than what has one.
func (s *Service) numberAt(ctx context.Context, user string, before int64, moment time.Time) (int64, error) {
	if before == 0 {
		newest, _, err := s.Views.ListExecutions(ctx, user, 0, 1)
		if err != nil || len(newest) == 0 {
			return 0, err
		}
		before = newest[0].Number + 1
	}
	var failed error
	n := sort.Search(int(before-1), func(i int) bool {
		e, err := s.Views.Execution(ctx, user, int64(i)+1)
		if err != nil {
			failed = err
		}
		return err != nil || !e.RequestedAt.IsZero() && !e.RequestedAt.Before(moment)
	})
	return int64(n) + 1, failed
}

// filter is an api.ExecutionFilter that has been checked, with its defaults filled in.
type filter struct{ api.ExecutionFilter }

func newFilter(user string, ask api.ExecutionFilter) (filter, error) {
	if ask.Function.Name != "" {
		ask.Function.Owner = api.OwnerOf(ask.Function.Owner, user)
		if err := checkRef(ask.Function); err != nil {
			return filter{}, err
		}
	}
	if ask.Batch != "" {
		if err := (events.BatchRef{ID: ask.Batch, Index: 1}).Check(); err != nil {
			return filter{}, api.Errorf(api.Invalid, api.InvalidArguments, "%v", err)
		}
	}
	for _, status := range ask.Status {
		if !slices.Contains(executions.Statuses(), status) {
			return filter{}, api.Errorf(api.Invalid, api.InvalidArguments, "status %q: must be one of %s", status, joinStatuses())
		}
	}
	return filter{ask}, nil
}

func joinStatuses() string {
	var words []string
	for _, status := range executions.Statuses() {
		words = append(words, string(status))
	}
	return joinWords(words)
}

// all says that everything is picked.
func (f filter) all() bool {
	return f.Function.Name == "" && len(f.Status) == 0 && f.Watcher == "" && f.Batch == "" && f.Since.IsZero() && f.Until.IsZero()
}

func (f filter) picks(e executions.Execution) bool {
	switch {
	case !f.picksFunction(e.Request.Function),
		len(f.Status) > 0 && !slices.Contains(f.Status, e.Status),
		f.Watcher != "" && e.Watcher != f.Watcher,
		f.Batch != "" && (e.Request.Batch == nil || e.Request.Batch.ID != f.Batch),
		e.RequestedAt.Before(f.Since),
		!f.Until.IsZero() && !e.RequestedAt.Before(f.Until):
		return false
	}
	return true
}

func (f filter) picksFunction(ref events.FunctionRef) bool {
	want := f.Function
	return want.Name == "" || ref.Owner == want.Owner && ref.Name == want.Name && (want.Version == "" || ref.Version == want.Version)
}

// search fills a page.
type search struct {
	filter filter
	// most bounds what is found, bound what is looked at.
	most, bound int
	// first is the oldest number to look at.
	first int64
	page  api.Executions
	bytes int
	// over: the page is full, the search has reached its bound, or nothing older is wanted.
	over bool
}

// within narrows a search to where a batch is.
func (s *search) within(batch executions.Batch) {
	s.first = batch.First
	if s.page.Next == 0 || s.page.Next > batch.Last+1 {
		s.page.Next = batch.Last + 1
	}
	if s.over = s.page.Next <= s.first || batch.Count == 0; s.over {
		s.page.Next = 0
	}
}

// take takes what comes next, newest first, and whether there is more behind it.
func (s *search) take(found []executions.Execution, more bool) error {
	s.page.More = more
	for i, e := range found {
		s.page.Searched, s.page.Next = s.page.Searched+1, e.Number
		if err := s.add(e); err != nil {
			return err
		}
		if s.over {
			s.page.More = more || i < len(found)-1
			break
		}
	}
	if !s.page.More {
		s.page.Next = 0
	}
	return nil
}

func (s *search) add(e executions.Execution) error {
	// Each may be large, and a page is one message: inspect has them.
	e.Request.Args, e.Request.Env, e.Request.Input.Inline = nil, nil, nil
	if e.Given != nil {
		given := *e.Given
		given.Input.Inline = nil
		e.Given = &given
	}
	shown := api.Execution{Execution: e}
	raw, err := json.Marshal(shown)
	s.bytes += len(raw)
	s.page.Executions = append(s.page.Executions, shown)
	s.over = len(s.page.Executions) == s.most || s.bytes > listBytes
	return err
}
