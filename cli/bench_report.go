package cli

import (
	"maps"
	"slices"
	"time"

	"github.com/hermes-serverless/hermes/projections/executions"
)

// benchReport is what `hermes bench` prints.
type benchReport struct {
	Function string `json:"function"`
	Mode     string `json:"mode"` // sync or async
	Clients  int    `json:"clients"`
	// Requested is how many runs were asked for, Runs how many of them have ended.
	Requested   int  `json:"requested"`
	Runs        int  `json:"runs"`
	Failed      int  `json:"failed"`
	Interrupted bool `json:"interrupted"`
	// Seconds is from the first request to the last end.
	Seconds       float64        `json:"seconds"`
	RunsPerSecond float64        `json:"runsPerSecond"`
	Sandboxes     map[string]int `json:"sandboxes"`
	Phases        []phase        `json:"phases"`
	Failures      []benchFailure `json:"failures"`
	Histogram     []benchBucket  `json:"histogram"`
}

// benchFailure is a way in which runs did not succeed.
type benchFailure struct {
	// Status is the execution's, or the name of the client's error.
	Status string `json:"status"`
	Reason string `json:"reason,omitempty"`
	Runs   int    `json:"runs"`
	// Example is what one of them said.
	Example string `json:"example"`
}

// benchBucket counts the totals from FromMicros up to below ToMicros; the last one has no end.
type benchBucket struct {
	FromMicros int64 `json:"fromMicros"`
	ToMicros   int64 `json:"toMicros,omitempty"`
	Runs       int   `json:"runs"`
}

func newBenchReport(o *benchOptions, m benchMeasured, interrupted bool) benchReport {
	r := benchReport{
		Function: o.ref.String(), Mode: "sync", Clients: o.clients, Requested: o.runs, Runs: len(m.samples),
		Interrupted: interrupted, Seconds: m.took.Seconds(), Sandboxes: map[string]int{}, Failures: []benchFailure{},
	}
	if o.async {
		r.Mode = "async"
	}
	if r.Seconds > 0 {
		r.RunsPerSecond = float64(r.Runs) / r.Seconds
	}
	for _, s := range m.samples {
		if s.exec.Request.Function.Name != "" {
			r.Function = s.exec.Request.Function.String()
		}
		if s.exec.Sandbox != "" {
			r.Sandboxes[s.exec.Sandbox]++
		}
		r.fail(s)
	}
	slices.SortStableFunc(r.Failures, func(a, b benchFailure) int { return b.Runs - a.Runs })
	var totals []time.Duration
	r.Phases, totals = benchPhases(m.samples, o.async)
	r.Histogram = benchHistogram(totals)
	return r
}

// fail counts a run that did not succeed, or whose output did not arrive as it was printed.
func (r *benchReport) fail(s benchSample) {
	f := benchFailure{Status: string(s.exec.Status), Reason: s.exec.Reason, Example: executionError(s.exec)}
	switch {
	case s.err != nil:
		e := describe(s.err)
		f = benchFailure{Status: e.Name, Example: e.Message}
	case s.exec.Status == executions.Success:
		return
	}
	r.Failed++
	for i, known := range r.Failures {
		if known.Status == f.Status && known.Reason == f.Reason {
			r.Failures[i].Runs++
			return
		}
	}
	f.Runs = 1
	r.Failures = append(r.Failures, f)
}

// benchPhases sums up the phases in the order in which they come, and returns the totals sorted.
func benchPhases(samples []benchSample, async bool) ([]phase, []time.Duration) {
	var accept, queue, run, total []time.Duration
	start := map[string][]time.Duration{}
	for _, s := range samples {
		if accept = append(accept, s.accept); !async {
			total = append(total, s.total)
		}
		if !s.exec.Status.Final() {
			continue
		}
		if async {
			total = append(total, s.exec.EndedAt.Sub(s.exec.RequestedAt))
		}
		if s.exec.StartedAt.IsZero() {
			continue
		}
		q, prepared, r := eventPhases(s.exec)
		queue, run = append(queue, q), append(run, r)
		start[s.exec.Sandbox] = append(start[s.exec.Sandbox], prepared)
	}
	var phases []phase
	add := func(name, sandbox string, durations []time.Duration) {
		if len(durations) > 0 {
			phases = append(phases, newPhase(name, sandbox, durations))
		}
	}
	if async {
		add("accept", "", accept)
	}
	add("queue", "", queue)
	for _, sandbox := range slices.Sorted(maps.Keys(start)) {
		add("start", sandbox, start[sandbox])
	}
	add("run", "", run)
	add("total", "", total)
	return phases, total
}

// benchRows is about how many rows a histogram has below the slowest hundredth, which is one.
const benchRows = 10

// benchHistogram counts sorted durations in rows of equal width, from the fastest to the 99th
// percentile; what is slower stands in a row of its own, so that one straggler squeezes nothing.
func benchHistogram(sorted []time.Duration) []benchBucket {
	if len(sorted) == 0 {
		return []benchBucket{}
	}
	low, high := sorted[0].Microseconds(), quantile(sorted, 0.99).Microseconds()
	width := roundWidth((high - low + benchRows - 1) / benchRows)
	var buckets []benchBucket
	for from := low / width * width; from <= high; from += width {
		buckets = append(buckets, benchBucket{FromMicros: from, ToMicros: from + width})
	}
	last := len(buckets) - 1
	end := buckets[last].ToMicros
	for _, d := range sorted {
		if at := d.Microseconds(); at < end {
			buckets[(at-buckets[0].FromMicros)/width].Runs++
		} else if len(buckets) == last+1 {
			buckets = append(buckets, benchBucket{FromMicros: end, Runs: 1})
		} else {
			buckets[last+1].Runs++
		}
	}
	return buckets
}

// roundWidth is the next of 1, 2, 5, 10, 20, 50 … that is not less.
func roundWidth(least int64) int64 {
	for unit := int64(1); ; unit *= 10 {
		for _, step := range []int64{1, 2, 5} {
			if step*unit >= least {
				return step * unit
			}
		}
	}
}
