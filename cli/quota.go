package cli

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/hermes-serverless/hermes/services/api"
)

type quotaOptions struct {
	app *app
	ctx context.Context
}

func newQuotaCmd(a *app, run func(*quotaOptions) error) *cobra.Command {
	if run == nil {
		run = runQuota
	}
	return &cobra.Command{
		Use:   "quota",
		Short: "Show what you use, and what you may",
		Long: `Shows what you use and what bounds it. Executions that are more than you may have at once wait for their
turn; what is over another bound is refused. What counts a day begins anew at 00:00 UTC.`,
		Example: "  hermes quota\n  hermes quota --json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return run(&quotaOptions{app: a, ctx: cmd.Context()})
		},
	}
}

func runQuota(o *quotaOptions) error {
	client, done, err := o.app.connect()
	if err != nil {
		return err
	}
	defer done()
	all, err := api.Call[api.Quotas](o.ctx, client, api.OpQuota, api.QuotaRequest{})
	if err != nil {
		return err
	}
	if !o.app.human() {
		return o.app.printJSON(all)
	}
	rows := make([][]string, 0, len(all.Quotas))
	for _, q := range all.Quotas {
		rows = append(rows, []string{q.Name, quotaNumber(q.Unit, q.Used), quotaNumber(q.Unit, q.Limit), q.Unit, o.frees(q)})
	}
	return o.app.printTable(o.app.streams.Out, []string{"Quota", "Used", "Limit", "Unit", "Frees up"}, rows)
}

func quotaNumber(unit string, n *float64) string {
	if n == nil {
		return "-"
	}
	return api.QuotaText(unit, *n)
}

// frees says when what is used of a bound becomes free; nothing where nothing bounds.
func (o *quotaOptions) frees(q api.Quota) string {
	if q.Limit == nil {
		return ""
	}
	return q.FreesIn(o.app.now())
}
