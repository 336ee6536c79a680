package cli

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

func (a *app) printBench(r benchReport) error {
	if !a.human() {
		return a.printJSON(r)
	}
	if err := a.printFields(a.streams.Out, r.fields()); err != nil {
		return err
	}
	fmt.Fprintln(a.streams.Out)
	rows := make([][]string, len(r.Phases))
	for i, p := range r.Phases {
		name := p.Phase
		if p.Sandbox != "" {
			name += ", " + p.Sandbox
		}
		rows[i] = []string{name, short(p.P50Micros), short(p.P90Micros), short(p.P99Micros), short(p.MaxMicros)}
	}
	if err := a.printTable(a.streams.Out, []string{"Phase", "p50", "p90", "p99", "max"}, rows); err != nil {
		return err
	}
	if err := a.printHistogram(r.Histogram); err != nil || len(r.Failures) == 0 {
		return err
	}
	fmt.Fprintln(a.streams.Out)
	rows = nil
	for _, f := range r.Failures {
		status := f.Status
		if f.Reason != "" {
			status += " (" + f.Reason + ")"
		}
		rows = append(rows, []string{a.streams.Red(status), fmt.Sprint(f.Runs), f.Example})
	}
	return a.printTable(a.streams.Out, []string{"Failed with", "Runs", "For example"}, rows)
}

func (r benchReport) fields() [][2]string {
	runs := fmt.Sprintf("%d", r.Runs)
	if r.Runs < r.Requested {
		runs = fmt.Sprintf("%d of %d", r.Runs, r.Requested)
	}
	var sandboxes []string
	for _, kind := range slices.Sorted(maps.Keys(r.Sandboxes)) {
		sandboxes = append(sandboxes, fmt.Sprintf("%d %s", r.Sandboxes[kind], kind))
	}
	return [][2]string{
		{"function", r.Function}, {"clients", fmt.Sprintf("%d, %s", r.Clients, r.Mode)}, {"runs", runs},
		{"failed", fmt.Sprint(r.Failed)}, {"sandboxes", strings.Join(sandboxes, ", ")},
		{"time", short(int64(r.Seconds * 1e6))}, {"rate", fmt.Sprintf("%.1f runs/s", r.RunsPerSecond)},
	}
}

// benchBar is how long the longest bar of a histogram is.
const benchBar = 40

func (a *app) printHistogram(buckets []benchBucket) error {
	if len(buckets) == 0 {
		return nil
	}
	fmt.Fprintln(a.streams.Out)
	most := slices.MaxFunc(buckets, func(a, b benchBucket) int { return cmp.Compare(a.Runs, b.Runs) }).Runs
	rows := make([][]string, len(buckets))
	for i, b := range buckets {
		until := "and more"
		if b.ToMicros > 0 {
			until = "to " + short(b.ToMicros)
		}
		bar := strings.Repeat("█", (b.Runs*benchBar+most-1)/most)
		rows[i] = []string{short(b.FromMicros) + " " + until, fmt.Sprint(b.Runs), bar}
	}
	return a.printTable(a.streams.Out, []string{"Total", "Runs", ""}, rows)
}

// short says microseconds with three digits that count.
func short(micros int64) string {
	d := time.Duration(micros) * time.Microsecond
	unit := time.Nanosecond
	for d/unit >= 1000 {
		unit *= 10
	}
	return d.Round(unit).String()
}
