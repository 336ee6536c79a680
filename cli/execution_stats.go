package cli

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/hermes-serverless/hermes/projections/executions"
	"github.com/hermes-serverless/hermes/services/api"
)

type executionStatsOptions struct {
	app    *app
	ctx    context.Context
	pick   pickOptions
	filter api.ExecutionFilter
	all    bool
}

func newExecutionStatsCmd(a *app, run func(*executionStatsOptions) error) *cobra.Command {
	if run == nil {
		run = runExecutionStats
	}
	o := &executionStatsOptions{app: a}
	cmd := &cobra.Command{
		Use:   "stats",
		Short: "Sum up your executions: how they ended, how long their phases took, what they used",
		Long: `Counts executions by status, says how long they were in the queue, waited for their sandbox and ran (half
of them no longer than p50, 99 of 100 no longer than p99), what CPU time each function took, and for how
long it held GPUs, summed over them.

It looks through the newest 100,000 and says so when it stops there; --all goes on to the end.`,
		Example: "  hermes execution stats --since 24h\n  hermes execution stats --function pi\n  hermes execution:stats -j",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if o.filter, err = o.pick.filter(a); err != nil {
				return usageOf(cmd, err)
			}
			o.ctx = cmd.Context()
			return run(o)
		},
	}
	o.pick.functionFlag(cmd, a)
	a.batchFlag(cmd, &o.pick.batch, "only those of this `batch` of \"hermes function map\"")
	o.pick.sinceFlag(cmd)
	cmd.Flags().BoolVar(&o.all, "all", false, "sum up all of them, however many there are")
	return cmd
}

// statsReport is what `hermes execution stats` prints.
type statsReport struct {
	Executions int            `json:"executions"`
	Statuses   map[string]int `json:"statuses"`
	// From and To are when the first and the last of them were requested.
	From time.Time `json:"from,omitzero"`
	To   time.Time `json:"to,omitzero"`
	// Before is where it stopped, if it did not come to the end.
	Before    int64           `json:"before,omitempty"`
	Phases    []phase         `json:"phases"`
	Functions []functionStats `json:"functions"`
}

// functionStats are of one version, its builds apart.
type functionStats struct {
	Function   string  `json:"function"`
	Executions int     `json:"executions"`
	Failed     int     `json:"failed"`
	RunSeconds float64 `json:"runSeconds"`
	CPUSeconds float64 `json:"cpuSeconds"`
	// GPUSeconds is for how long GPUs were held, summed over them.
	GPUSeconds float64 `json:"gpuSeconds"`
}

// stats gathers what a report is made of.
type stats struct {
	report            statsReport
	functions         map[string]*functionStats
	queue, start, run []time.Duration
}

func newStats() *stats {
	return &stats{report: statsReport{Statuses: map[string]int{}}, functions: map[string]*functionStats{}}
}

// add counts an execution; they come newest first.
func (s *stats) add(e api.Execution) error {
	r := &s.report
	r.Executions++
	r.Statuses[string(e.Status)]++
	if r.To.IsZero() {
		r.To = e.RequestedAt
	}
	r.From = e.RequestedAt
	f := s.functions[functionOf(e)]
	if f == nil {
		f = &functionStats{Function: functionOf(e)}
		s.functions[f.Function] = f
	}
	f.Executions++
	if e.Status.Final() && e.Status != executions.Success {
		f.Failed++
	}
	f.RunSeconds += float64(e.Usage.RunMicros) / 1e6
	f.CPUSeconds += float64(e.Usage.CPUMicros) / 1e6
	if gpu := e.Usage.GPU; gpu != nil {
		f.GPUSeconds += float64(gpu.Micros) / 1e6
	}
	if e.StartedAt.IsZero() {
		return nil
	}
	queued, prepared, ran := eventPhases(e)
	s.queue, s.start = append(s.queue, queued), append(s.start, prepared)
	if e.Status.Final() {
		s.run = append(s.run, ran)
	}
	return nil
}

func (s *stats) sum() statsReport {
	r := s.report
	r.Phases, r.Functions = []phase{}, []functionStats{}
	for i, durations := range [][]time.Duration{s.queue, s.start, s.run} {
		if len(durations) > 0 {
			r.Phases = append(r.Phases, newPhase([]string{"queue", "start", "run"}[i], "", durations))
		}
	}
	for _, f := range s.functions {
		r.Functions = append(r.Functions, *f)
	}
	slices.SortFunc(r.Functions, func(a, b functionStats) int {
		return cmp.Or(cmp.Compare(b.CPUSeconds, a.CPUSeconds), strings.Compare(a.Function, b.Function))
	})
	return r
}

func runExecutionStats(o *executionStatsOptions) error {
	client, done, err := o.app.connect()
	if err != nil {
		return err
	}
	defer done()
	w := &walk{client: client, filter: o.filter, bound: personsSearch}
	if o.all {
		w.bound = 0
	}
	s := newStats()
	if err := w.each(o.ctx, s.add); err != nil {
		return err
	}
	r := s.sum()
	if w.more {
		r.Before = w.before
	}
	if !o.app.human() {
		return o.app.printJSON(r)
	}
	if err := o.print(r); err != nil {
		return err
	}
	if w.more {
		fmt.Fprintf(o.app.streams.Err, "Stopped after %d executions; --all goes on.\n", w.searched)
	}
	return nil
}

func (o *executionStatsOptions) print(r statsReport) error {
	out := o.app.streams.Out
	var statuses []string
	for _, status := range executions.Statuses() {
		if n := r.Statuses[string(status)]; n > 0 {
			statuses = append(statuses, fmt.Sprintf("%d %s", n, o.app.executionStatus(status)))
		}
	}
	err := o.app.printFields(out, [][2]string{
		{"executions", fmt.Sprint(r.Executions)}, {"from", clockTime(r.From)}, {"to", clockTime(r.To)}, {"status", strings.Join(statuses, ", ")},
	})
	if err != nil || r.Executions == 0 {
		return err
	}
	if len(r.Phases) > 0 {
		rows := make([][]string, len(r.Phases))
		for i, p := range r.Phases {
			rows[i] = []string{p.Phase, short(p.P50Micros), short(p.P90Micros), short(p.P99Micros), short(p.MaxMicros)}
		}
		fmt.Fprintln(out)
		if err := o.app.printTable(out, []string{"Phase", "p50", "p90", "p99", "max"}, rows); err != nil {
			return err
		}
	}
	fmt.Fprintln(out)
	return o.printFunctions(r.Functions)
}

// printFunctions has a column of GPUs only where some were held.
func (o *executionStatsOptions) printFunctions(functions []functionStats) error {
	header := []string{"Function", "Executions", "Failed", "Run seconds", "CPU seconds"}
	held := slices.ContainsFunc(functions, func(f functionStats) bool { return f.GPUSeconds > 0 })
	if held {
		header = append(header, "GPU seconds")
	}
	rows := make([][]string, len(functions))
	for i, f := range functions {
		rows[i] = []string{f.Function, fmt.Sprint(f.Executions), fmt.Sprint(f.Failed), fmt.Sprintf("%.2f", f.RunSeconds), fmt.Sprintf("%.2f", f.CPUSeconds)}
		if held {
			rows[i] = append(rows[i], fmt.Sprintf("%.2f", f.GPUSeconds))
		}
	}
	return o.app.printTable(o.app.streams.Out, header, rows)
}
