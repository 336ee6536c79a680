package cli

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hermes-serverless/hermes/projections/executions"
)

const (
	// keptFailures is how many failures a report has, shownFailures how many a person is shown. The
	// list of executions has all.
	keptFailures  = 1000
	shownFailures = 20
)

// mapReport is what `hermes function map` ends with.
type mapReport struct {
	Batch    string `json:"batch"`
	Function string `json:"function"`
	// Inputs is how many there are, of those that were read.
	Inputs int64 `json:"inputs"`
	// Statuses count the executions whose ends were seen.
	Statuses map[string]int64 `json:"statuses"`
	// TookMillis is from the start of the command to its end; the others are of the runs themselves.
	TookMillis      int64   `json:"tookMillis"`
	TotalRunMillis  int64   `json:"totalRunMillis"`
	MedianRunMillis float64 `json:"medianRunMillis"`
	// FailedCount is how many did not succeed, Failed the first thousand of them.
	FailedCount int64        `json:"failedCount"`
	Failed      []mapFailure `json:"failed"`
	// IncompleteCount is how many outputs could not be written whole, Incomplete the first thousand.
	IncompleteCount int64        `json:"incompleteCount,omitempty"`
	Incomplete      []mapFailure `json:"incomplete,omitempty"`

	start time.Time
	runs  []int64 // in microseconds
}

// mapFailure is an input whose execution did not succeed, or whose output is not whole.
type mapFailure struct {
	Index  int64  `json:"index"`
	Name   string `json:"name,omitempty"`
	RunID  int64  `json:"runID,omitempty"`
	ID     string `json:"id"`
	Status string `json:"status"`
	Error  string `json:"error"`
}

func newMapReport(m *mapper) *mapReport {
	return &mapReport{Batch: m.batch, Statuses: map[string]int64{}, Failed: []mapFailure{}, start: m.app.now()}
}

// add counts an end and says whether it is a failure.
func (r *mapReport) add(end mapEnd) (failed bool) {
	e := end.exec
	r.Statuses[string(e.Status)]++
	if e.Attempt > 0 {
		r.runs = append(r.runs, e.Usage.RunMicros)
	}
	f := mapFailure{Index: end.index, Name: end.name, RunID: e.Number, ID: e.ID, Status: string(e.Status), Error: executionError(e)}
	if failed = e.Status != executions.Success; failed {
		if r.FailedCount++; len(r.Failed) < keptFailures {
			r.Failed = append(r.Failed, f)
		}
	}
	if f.Error = end.lost; end.lost != "" {
		if r.IncompleteCount++; len(r.Incomplete) < keptFailures {
			r.Incomplete = append(r.Incomplete, f)
		}
	}
	return failed
}

// sum completes the report.
func (r *mapReport) sum(m *mapper) {
	r.Function, r.TookMillis = m.ref.String(), m.app.now().Sub(r.start).Milliseconds()
	byIndex := func(a, b mapFailure) int { return int(a.Index - b.Index) }
	slices.SortFunc(r.Failed, byIndex)
	slices.SortFunc(r.Incomplete, byIndex)
	slices.Sort(r.runs)
	total := int64(0)
	for _, us := range r.runs {
		total += us
	}
	r.TotalRunMillis, r.MedianRunMillis = total/1000, medianOf(r.runs)/1000
}

// medianOf is of sorted numbers, 0 of none.
func medianOf(sorted []int64) float64 {
	if len(sorted) == 0 {
		return 0
	}
	middle := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return float64(sorted[middle])
	}
	return float64(sorted[middle-1]+sorted[middle]) / 2
}

// print says it to a person.
func (r *mapReport) print(a *app) error {
	var statuses []string
	for _, status := range executions.Statuses() {
		if n := r.Statuses[string(status)]; n > 0 {
			statuses = append(statuses, fmt.Sprintf("%d %s", n, a.executionStatus(status)))
		}
	}
	out := a.streams.Out
	median := time.Duration(r.MedianRunMillis * float64(time.Millisecond)).Round(100 * time.Microsecond)
	err := a.printFields(out, [][2]string{
		{"batch", r.Batch}, {"function", r.Function}, {"inputs", strconv.FormatInt(r.Inputs, 10)},
		{"ended", strings.Join(statuses, ", ")}, {"took", millis(r.TookMillis)},
		{"run time", fmt.Sprintf("%s in all, median %s", millisText(r.TotalRunMillis), median)},
	})
	if err != nil {
		return err
	}
	if err := r.table(a, "Failed", r.Failed, r.FailedCount); err != nil {
		return err
	}
	if r.FailedCount > 0 {
		one := r.Failed[0].ID // known also where the number is not yet
		if number := r.Failed[0].RunID; number > 0 {
			one = strconv.FormatInt(number, 10)
		}
		fmt.Fprintf(a.streams.Err, "→ `hermes execution inspect %s` shows one with what it printed, `hermes execution list --batch %s --status error,timeout,lost,cancelled` all\n", one, r.Batch)
	}
	return r.table(a, "Not whole", r.Incomplete, r.IncompleteCount)
}

func millisText(ms int64) string {
	return (time.Duration(ms) * time.Millisecond).String()
}

// table prints the first of some failures.
func (r *mapReport) table(a *app, what string, failures []mapFailure, count int64) error {
	if count == 0 {
		return nil
	}
	fmt.Fprintln(a.streams.Out)
	var rows [][]string
	for _, f := range failures[:min(len(failures), shownFailures)] {
		input := strconv.FormatInt(f.Index, 10)
		if f.Name != "" {
			input += " " + printable(f.Name)
		}
		rows = append(rows, []string{input, strconv.FormatInt(f.RunID, 10), f.ID, a.executionStatus(executions.Status(f.Status)), printable(f.Error)})
	}
	if err := a.printTable(a.streams.Out, []string{what, "RunID", "ID", "Status", "Why"}, rows); err != nil {
		return err
	}
	if more := count - int64(len(rows)); more > 0 {
		fmt.Fprintf(a.streams.Out, "and %d more\n", more)
	}
	return nil
}
