package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/hermes-serverless/hermes/projections/executions"
	"github.com/hermes-serverless/hermes/services/api"
)

// pickOptions are the flags that pick executions.
type pickOptions struct {
	function, watcher, batch, since, until string
	status                                 []string
}

func (p *pickOptions) flags(cmd *cobra.Command, a *app) {
	p.functionFlag(cmd, a)
	p.sinceFlag(cmd)
	cmd.Flags().StringSliceVar(&p.status, "status", nil, "only those with one of these `statuses`: queued,running,error")
	cmd.Flags().StringVar(&p.watcher, "watcher", "", "only those that run or ran on this `machine`")
	a.batchFlag(cmd, &p.batch, "only those of this `batch` of \"hermes function map\"")
	cmd.Flags().StringVar(&p.until, "until", "", "only those requested before this `time`")
	_ = cmd.RegisterFlagCompletionFunc("watcher", a.completeMachines)
	_ = cmd.RegisterFlagCompletionFunc("until", cobra.NoFileCompletions)
	_ = cmd.RegisterFlagCompletionFunc("status", cobra.FixedCompletions(statusNames(), cobra.ShellCompDirectiveNoFileComp))
}

func (p *pickOptions) functionFlag(cmd *cobra.Command, a *app) {
	cmd.Flags().StringVar(&p.function, "function", "", "only those of this `function`: pi, pi:1.0.0 or ana/pi")
	_ = cmd.RegisterFlagCompletionFunc("function", func(cmd *cobra.Command, _ []string, word string) ([]string, cobra.ShellCompDirective) {
		return a.completeFunctions(false)(cmd, nil, word)
	})
}

func (p *pickOptions) sinceFlag(cmd *cobra.Command) {
	cmd.Flags().StringVar(&p.since, "since", "", "only those requested at this `time` or later: 12:03:05, RFC 3339, 2h for two hours ago")
	_ = cmd.RegisterFlagCompletionFunc("since", cobra.NoFileCompletions)
}

// given says that something is picked.
func (p *pickOptions) given() bool {
	return p.function+p.watcher+p.batch+p.since+p.until != "" || len(p.status) > 0
}

func statusNames() []string {
	names := make([]string, 0, len(executions.Statuses()))
	for _, status := range executions.Statuses() {
		names = append(names, string(status))
	}
	return names
}

// filter reads the flags.
func (p *pickOptions) filter(a *app) (f api.ExecutionFilter, err error) {
	if p.function != "" {
		if f.Function, err = parseRef(p.function); err != nil {
			return f, err
		}
	}
	for _, word := range p.status {
		if !slices.Contains(statusNames(), word) {
			return f, usage("--status %q: must be one of %s", word, strings.Join(statusNames(), ", "))
		}
		f.Status = append(f.Status, executions.Status(word))
	}
	if p.batch != "" {
		if f.Batch, err = parseBatch("batch", p.batch); err != nil {
			return f, err
		}
	}
	f.Watcher = p.watcher
	if f.Since, err = a.momentFlag("since", p.since); err != nil {
		return f, err
	}
	f.Until, err = a.momentFlag("until", p.until)
	return f, err
}

// personsSearch is how many executions are looked at for a person before they are told that there
// may be more. Programs get everything that they asked for.
const personsSearch = 100_000

// walk is a way through a user's executions, newest first.
type walk struct {
	client *api.Client
	filter api.ExecutionFilter
	// before is where it begins, 0 with the newest; where it ended when there are more.
	before int64
	// limit bounds what is found, bound what is looked at; 0 is no bound.
	limit, bound int
	// more: there are older ones, or may be.
	more            bool
	found, searched int
}

// each hands over what the filter picks, page by page.
func (w *walk) each(ctx context.Context, take func(api.Execution) error) error {
	for {
		n := maxPage
		if w.limit > 0 {
			n = min(n, w.limit-w.found)
		}
		page, err := api.Call[api.Executions](ctx, w.client, api.OpExecutionList, api.ExecutionList{
			ExecutionFilter: w.filter, Before: w.before, Limit: n,
		})
		if err != nil {
			return err
		}
		w.searched += page.Searched
		w.found += len(page.Executions)
		w.more, w.before = page.More, page.Next
		if n := len(page.Executions); w.before == 0 && n > 0 && w.more {
			w.before = page.Executions[n-1].Number // an older server leaves that to the client
		}
		for _, e := range page.Executions {
			if err := take(e); err != nil {
				return err
			}
		}
		if !w.more || w.limit > 0 && w.found >= w.limit || w.bounded() {
			return nil
		}
	}
}

// bounded says that the walk was ended by its bound.
func (w *walk) bounded() bool { return w.more && w.bound > 0 && w.searched >= w.bound }

// tellMore says where to go on.
func (w *walk) tellMore(a *app) {
	switch {
	case w.bounded() && (w.limit == 0 || w.found < w.limit):
		fmt.Fprintf(a.streams.Err, "Stopped after %d executions. There may be older ones: --before %d\n", w.searched, w.before)
	case w.more:
		fmt.Fprintf(a.streams.Err, "There are older ones: --before %d\n", w.before)
	}
}
