package main

import (
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/projections/quotas"
	"github.com/hermes-serverless/hermes/services/api"
)

// parseQuota reads one figure: a number, a size, "unlimited".
func parseQuota(f quotas.Figure, text string) (int64, error) {
	switch text {
	case "unlimited":
		return events.QuotaUnbounded, nil
	case "0":
		return events.QuotaNothing, nil
	}
	switch {
	case isSize(f):
		n, err := humanize.ParseBytes(text)
		if err != nil || n == 0 || n > 1<<60 {
			return 0, fmt.Errorf(`%s: %q must be a size, like "64GiB", or unlimited`, f, text)
		}
		return int64(n), nil
	case f == quotas.CPU:
		n, err := strconv.ParseFloat(text, 64)
		if err != nil || !(n >= 0.001 && n <= 1e6) { // nor what is no number
			return 0, fmt.Errorf("%s: %q must be a number of cores, like 16 or 0.5, or unlimited", f, text)
		}
		return int64(math.Round(n * 1000)), nil
	}
	n, err := strconv.ParseInt(text, 10, 32)
	if err != nil || n < 0 {
		return 0, fmt.Errorf("%s: %q must be a whole number, or unlimited", f, text)
	}
	if n == 0 { // however it is written
		return events.QuotaNothing, nil
	}
	return n, nil
}

func quotaNames() string {
	var names []string
	for _, f := range quotas.All() {
		names = append(names, f.String())
	}
	return strings.Join(names, ", ")
}

func findQuota(name string) (quotas.Figure, error) {
	f, ok := quotas.Find(name)
	if !ok {
		return 0, fmt.Errorf("%q is no quota; the quotas are %s", name, quotaNames())
	}
	return f, nil
}

// quotaFlag is a flag that sets some of the default quotas.
type quotaFlag struct{ to *events.UserQuotaSet }

var _ pflag.Value = quotaFlag{}

// Set implements pflag.Value.
func (q quotaFlag) Set(text string) error {
	for assignment := range strings.SplitSeq(text, ",") {
		key, value, ok := strings.Cut(assignment, "=")
		if !ok {
			return fmt.Errorf("%q must be KEY=VALUE, like concurrent=8", assignment)
		}
		f, err := findQuota(key)
		if err != nil {
			return err
		}
		n, err := parseQuota(f, value)
		if err != nil {
			return err
		}
		*q.to = quotas.With(*q.to, f, n)
	}
	return nil
}

// String implements pflag.Value. It is empty, as no quota is set by default.
func (q quotaFlag) String() string { return "" }

// Type implements pflag.Value.
func (q quotaFlag) Type() string { return "quotas" }

// oneQuota is a flag that sets a figure of a user's quota.
type oneQuota struct {
	figure quotas.Figure
	to     map[string]int64
}

// Set implements pflag.Value.
func (q oneQuota) Set(text string) error {
	n, err := parseQuota(q.figure, text)
	q.to[q.figure.String()] = n
	return err
}

// String implements pflag.Value.
func (q oneQuota) String() string { return "" }

// Type implements pflag.Value.
func (q oneQuota) Type() string {
	return map[bool]string{true: "size", false: "number"}[isSize(q.figure)]
}

func isSize(f quotas.Figure) bool {
	return f == quotas.Memory || f == quotas.Stored || f == quotas.Output
}

// quotaUsage says what each flag bounds.
var quotaUsage = [quotas.Figures]string{
	quotas.Concurrent: "executions at once; more wait", quotas.Queued: "executions that wait", quotas.CPU: "cores in use; more wait",
	quotas.Memory: "memory in use; more waits", quotas.GPUs: "GPUs in use; more wait", quotas.GPUTime: "GPUs times seconds, each day in UTC",
	quotas.Stored: "bundles, artifacts and inputs of live executions", quotas.Output: "output that is kept, each day in UTC",
	quotas.Rate: "requests a second",
}

func newUserQuotaCommand(o *operatorOptions) *cobra.Command {
	ask := api.UserQuota{Set: map[string]int64{}}
	var unlimited, byDefault []string
	cmd := &cobra.Command{
		Use: "quota NAME", Short: "Show what a user uses and may, or bound it", Args: cobra.ExactArgs(1), ValidArgsFunction: o.completeUsers,
		Long: `Shows what a user uses and what bounds it. With flags it bounds it first: what is not named stays as it is.
0 allows nothing of it. What runs goes on when a bound is lowered below it.`,
		Example: "  hermesd user quota ana\n  hermesd user quota ana --concurrent 4 --gpus 1 --memory 64GiB --gpu-seconds 36000\n  hermesd user quota ana --unlimited queued --default gpus,memory",
		RunE: func(cmd *cobra.Command, args []string) error {
			ask.User = args[0]
			for _, some := range []struct {
				names []string
				n     int64
			}{{unlimited, events.QuotaUnbounded}, {byDefault, 0}} {
				for _, name := range some.names {
					if _, err := findQuota(name); err != nil {
						return err
					}
					if _, twice := ask.Set[name]; twice {
						return fmt.Errorf("%s is set twice", name)
					}
					ask.Set[name] = some.n
				}
			}
			all, err := askOperator[api.Quotas](cmd, o, api.OpUserQuota, ask)
			if err != nil {
				return err
			}
			if !o.format.human() {
				return o.format.print(cmd.OutOrStdout(), all)
			}
			return printQuotas(cmd.OutOrStdout(), all)
		},
	}
	// What others call --output is a quota here.
	cmd.Flags().VarP(&o.format, "format", "o", "`format` of results: table, json or jsonl")
	for _, f := range quotas.All() {
		cmd.Flags().Var(oneQuota{f, ask.Set}, f.String(), quotaUsage[f])
	}
	cmd.Flags().StringSliceVar(&unlimited, "unlimited", nil, "`names` of quotas that are not to bound the user")
	cmd.Flags().StringSliceVar(&byDefault, "default", nil, "`names` of quotas that are to be everybody's again")
	return cmd
}

func printQuotas(out io.Writer, all api.Quotas) error {
	w := tabwriter.NewWriter(out, 0, 0, 3, ' ', 0)
	fmt.Fprintln(w, "Quota\tUsed\tLimit\tSet\tUnit")
	for _, q := range all.Quotas {
		used, limit, set := "-", "-", "for the user"
		if q.Used != nil {
			used = api.QuotaText(q.Unit, *q.Used)
		}
		if q.Limit != nil {
			limit = api.QuotaText(q.Unit, *q.Limit)
		}
		if q.IsDefault {
			set = "by default"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", q.Name, used, limit, set, q.Unit)
	}
	return w.Flush()
}
