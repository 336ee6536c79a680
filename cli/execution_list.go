package cli

import (
	"context"
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/hermes-serverless/hermes/services/api"
)

// maxPage is the most that the server gives at once.
const maxPage = 500

type executionListOptions struct {
	app    *app
	ctx    context.Context
	limit  int
	before int64
}

func newExecutionListCmd(a *app, run func(*executionListOptions) error) *cobra.Command {
	if run == nil {
		run = runExecutionList
	}
	o := &executionListOptions{app: a}
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "List your executions, the newest first",
		Example: "  hermes execution list\n  hermes execution list --limit 500 -o jsonl\n  hermes execution list --before 120",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if o.limit < 1 {
				return usageOf(cmd, usage("--limit %d: must be at least 1", o.limit))
			}
			if o.before < 0 {
				return usageOf(cmd, usage("--before %d: must be a number of an execution", o.before))
			}
			o.ctx = cmd.Context()
			return run(o)
		},
	}
	cmd.Flags().IntVar(&o.limit, "limit", 50, "how many to list at most")
	cmd.Flags().Int64Var(&o.before, "before", 0, "list only those with a smaller `number`")
	return cmd
}

func runExecutionList(o *executionListOptions) error {
	client, done, err := o.app.connect()
	if err != nil {
		return err
	}
	defer done()
	found, more, err := o.fetch(client)
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
		fmt.Fprintln(o.app.streams.Err, "No executions. `hermes function run` makes one.")
		return nil
	}
	if err := o.print(found); err != nil {
		return err
	}
	if more {
		fmt.Fprintf(o.app.streams.Err, "There are older ones: --before %d\n", found[len(found)-1].Number)
	}
	return nil
}

// fetch gets pages until the limit is reached or nothing older is there.
func (o *executionListOptions) fetch(client *api.Client) ([]api.Execution, bool, error) {
	var found []api.Execution
	for before := o.before; ; {
		page, err := api.Call[api.Executions](o.ctx, client, api.OpExecutionList, api.ExecutionList{
			Before: before, Limit: min(o.limit-len(found), maxPage),
		})
		if err != nil {
			return nil, false, err
		}
		found = append(found, page.Executions...)
		if !page.More || len(page.Executions) == 0 || len(found) >= o.limit {
			return found, page.More, nil
		}
		before = found[len(found)-1].Number
	}
}

func (o *executionListOptions) print(found []api.Execution) error {
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
	}
	return o.app.printTable(o.app.streams.Out, []string{"RunID", "Status", "Start", "End", "Elapsed", "Function"}, rows)
}
