package cli

import (
	"context"
	"fmt"
	"io"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/hermes-serverless/hermes/services/api"
)

// maxPage is the most that the server gives at once.
const maxPage = 500

type executionListOptions struct {
	app    *app
	ctx    context.Context
	pick   pickOptions
	filter api.ExecutionFilter
	limit  int
	all    bool
	before int64
	watch  bool
}

func newExecutionListCmd(a *app, run func(*executionListOptions) error) *cobra.Command {
	if run == nil {
		run = runExecutionList
	}
	o := &executionListOptions{app: a}
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List your executions, the newest first",
		Long: `Lists executions, the newest first. It looks through the newest 100,000 and says so when it stops there;
--all, and the formats for programs, go on to the end.

With --watch it stays: a terminal shows the list as it is, drawn anew whenever something happens;
elsewhere each execution is printed as a line of JSON, and again whenever it changes.`,
		Example: `  hermes execution list
  hermes execution list --status queued,running --watch
  hermes execution list --function pi:1.0.0 --since 2h --status error
  hermes execution list --all --since 2026-11-01 --until 2026-12-01 -o jsonl
  hermes execution list --batch 01JDY3M8WZ0000000000000000 --status error
  hermes execution list --before 120`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if err := o.check(cmd); err != nil {
				return usageOf(cmd, err)
			}
			o.ctx = cmd.Context()
			return run(o)
		},
	}
	o.pick.flags(cmd, a)
	cmd.Flags().IntVar(&o.limit, "limit", 50, "how many to list at most")
	cmd.Flags().BoolVar(&o.all, "all", false, "list all of them")
	cmd.Flags().Int64Var(&o.before, "before", 0, "list only those with a smaller `number`")
	cmd.Flags().BoolVarP(&o.watch, "watch", "w", false, "stay, and show what changes")
	return cmd
}

func (o *executionListOptions) check(cmd *cobra.Command) (err error) {
	switch {
	case o.limit < 1:
		return usage("--limit %d: must be at least 1", o.limit)
	case o.before < 0:
		return usage("--before %d: must be a number of an execution", o.before)
	case o.all && cmd.Flags().Changed("limit"):
		return usage("--all and --limit exclude each other")
	case o.watch && (o.all || o.before > 0):
		return usage("--watch shows the newest: neither --all nor --before goes with it")
	}
	o.filter, err = o.pick.filter(o.app)
	return err
}

func (o *executionListOptions) walk(client *api.Client) *walk {
	w := &walk{client: client, filter: o.filter, before: o.before, limit: o.limit}
	if o.all {
		w.limit = 0
	} else if o.app.human() {
		w.bound = personsSearch
	}
	return w
}

func runExecutionList(o *executionListOptions) error {
	client, done, err := o.app.connect()
	if err != nil {
		return err
	}
	defer done()
	switch {
	case o.watch && o.app.streams.OutTerminal && o.app.human():
		return o.draw(client)
	case o.watch:
		return o.report(client)
	}
	w := o.walk(client)
	if o.app.format == formatJSONLines {
		return w.each(o.ctx, func(e api.Execution) error { return o.app.printJSON(o.app.executionJSON(e)) })
	}
	var found []api.Execution
	err = w.each(o.ctx, func(e api.Execution) error { found = append(found, e); return nil })
	if err != nil {
		return err
	}
	if !o.app.human() {
		list := make([]executionJSON, len(found))
		for i, e := range found {
			list[i] = o.app.executionJSON(e)
		}
		return printList(o.app, list)
	}
	if len(found) == 0 {
		o.tellNone(w)
		return nil
	}
	if err := o.print(o.app.streams.Out, found); err != nil {
		return err
	}
	w.tellMore(o.app)
	return nil
}

func (o *executionListOptions) tellNone(w *walk) {
	if !o.pick.given() && o.before == 0 {
		fmt.Fprintln(o.app.streams.Err, "No executions. `hermes function run` makes one.")
		return
	}
	fmt.Fprintln(o.app.streams.Err, "None of your executions is so.")
	w.tellMore(o.app)
}

func (o *executionListOptions) print(w io.Writer, found []api.Execution) error {
	header := []string{"RunID", "Status", "Start", "End", "Elapsed", "Function"}
	if o.filter.Batch != "" {
		header = append(header, "Input")
	}
	rows := make([][]string, len(found))
	for i, e := range found {
		running := ""
		if !e.StartedAt.IsZero() {
			running = elapsed(o.app.runningTime(e))
		}
		rows[i] = []string{
			strconv.FormatInt(e.Number, 10), o.app.executionStatus(e.Status),
			clockTime(e.StartedAt), clockTime(e.EndedAt), running, functionOf(e),
		}
		if o.filter.Batch != "" && e.Request.Batch != nil {
			rows[i] = append(rows[i], strconv.FormatInt(e.Request.Batch.Index, 10))
		}
	}
	return o.app.printTable(w, header, rows)
}
