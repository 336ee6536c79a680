package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math"
	"os"
	"slices"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
)

// The names of the ways that budgets speak of.
const (
	forkExecName = "fork+exec"
	sshKeptName  = "ssh, kept connection"
	podmanName   = "podman run"
	srunName     = "srun"
	apiName      = "hermes, API"
	commandName  = "hermes, command"
	reuseName    = "hermes, API, reuse"
)

// report is everything that was measured.
type report struct {
	Started time.Time `json:"started"`
	Machine string    `json:"machine"`
	// LoadAverage is of the last minute before the start: the benchmark wants an idle machine.
	LoadAverage float64 `json:"loadAverage"`
	ReadyMillis int64   `json:"readyMillis"`

	Ways  []measuredWay `json:"ways"`
	Rates []rate        `json:"rates"`
	Lines []lines       `json:"lines"`
	Bulk  []bulk        `json:"bulk"`
	// Fresh is the memory of the idle instance before the first run, Idle after the last, Warm that of
	// one in which warmSandboxes wait.
	Fresh   []process `json:"fresh"`
	Idle    []process `json:"idle"`
	Warm    []process `json:"warm"`
	Budgets []budget  `json:"budgets"`
	// Floods are what one user did to another's runs.
	Floods []floodedKind `json:"floods,omitempty"`
	// Costs are what a run takes of the machine.
	Costs   []cost    `json:"costs,omitempty"`
	Skipped []skipped `json:"skipped"`

	samples map[string][]sample
}

// measuredWay sums up the runs of one way; the runs of Hermes are told apart by their sandboxes.
type measuredWay struct {
	Way   string    `json:"way"`
	First quantiles `json:"firstByte"`
	Total quantiles `json:"total"`
	// Ratio is the median total over that of fork+exec.
	Ratio float64 `json:"ratio"`
	// Handler is how long the program ran in its sandbox, of Hermes alone.
	Handler *quantiles `json:"handler,omitempty"`
}

// skipped is what could not be measured.
type skipped struct {
	What string `json:"what"`
	Why  string `json:"why"`
}

// quantiles of all samples, exactly.
type quantiles struct {
	Count     int   `json:"count"`
	P50Micros int64 `json:"p50Micros"`
	P90Micros int64 `json:"p90Micros"`
	P99Micros int64 `json:"p99Micros"`
	MaxMicros int64 `json:"maxMicros"`
}

func newQuantiles(durations []time.Duration) quantiles {
	s := sorted(durations)
	at := func(q float64) int64 { return quantile(s, q).Microseconds() }
	return quantiles{len(s), at(0.5), at(0.9), at(0.99), at(1)}
}

// quantile returns the smallest value that at least the share q of the sorted values do not exceed.
func quantile(sorted []time.Duration, q float64) time.Duration {
	rank := int(math.Ceil(q * float64(len(sorted))))
	return sorted[min(max(rank, 1), len(sorted))-1]
}

func sorted(durations []time.Duration) []time.Duration {
	s := slices.Clone(durations)
	slices.Sort(s)
	return s
}

func (r *report) begin() {
	r.Started, r.Machine, r.samples = time.Now().UTC(), machine(), map[string][]sample{}
	_, _ = fmt.Sscan(text("/proc/loadavg"), &r.LoadAverage)
}

func (r *report) add(way string, s sample) {
	if s.sandbox != "" {
		way += ", " + s.sandbox
	}
	r.samples[way] = append(r.samples[way], s)
}

func (r *report) skip(what string, err error) {
	say("skip %s: %v", what, err)
	r.Skipped = append(r.Skipped, skipped{what, err.Error()})
}

// sum makes the ways of the samples, the fastest first.
func (r *report) sum() {
	for name, samples := range r.samples {
		w := measuredWay{Way: name, First: of(samples, func(s sample) time.Duration { return s.first })}
		w.Total = of(samples, func(s sample) time.Duration { return s.total })
		if samples[0].handler > 0 {
			h := of(samples, func(s sample) time.Duration { return s.handler })
			w.Handler = &h
		}
		r.Ways = append(r.Ways, w)
	}
	slices.SortFunc(r.Ways, func(a, b measuredWay) int { return cmp.Compare(a.Total.P50Micros, b.Total.P50Micros) })
	if floor := r.way(forkExecName); floor != nil {
		for i := range r.Ways {
			r.Ways[i].Ratio = float64(r.Ways[i].Total.P50Micros) / float64(floor.Total.P50Micros)
		}
	}
}

func of(samples []sample, what func(sample) time.Duration) quantiles {
	durations := make([]time.Duration, len(samples))
	for i, s := range samples {
		durations[i] = what(s)
	}
	return newQuantiles(durations)
}

// way is nil where it was not measured.
func (r *report) way(name string) *measuredWay {
	for i, w := range r.Ways {
		if w.Way == name {
			return &r.Ways[i]
		}
	}
	return nil
}

func (r *report) write(file string) error {
	raw, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(file, append(raw, '\n'), 0o644)
}

func (r *report) print(w io.Writer) {
	fmt.Fprintf(w, "%s, load average %.1f\n", r.Machine, r.LoadAverage)
	if r.LoadAverage > 1 {
		fmt.Fprintln(w, "The machine had something else to do: these figures say little. Run it again when it is idle.")
	}
	t := newTable(w, "one run", "runs", "first byte p50", "p99", "total p50", "p99", "x fork+exec")
	for _, m := range r.Ways {
		t.AppendRow(table.Row{m.Way, m.Total.Count, ms(m.First.P50Micros), ms(m.First.P99Micros), ms(m.Total.P50Micros), ms(m.Total.P99Micros), fmt.Sprintf("%.1f", m.Ratio)})
	}
	for _, s := range r.Skipped {
		t.AppendRow(table.Row{s.What, "skipped"})
	}
	t.Render()
	for _, s := range r.Skipped {
		fmt.Fprintf(w, "skipped: %s: %s\n", s.What, s.Why)
	}
	r.printRates(w)
	t = newTable(w, "budget", "measured", "budget", "verdict")
	for _, b := range r.Budgets {
		t.AppendRow(table.Row{b.Figure, b.Measured, b.Budget, b.Verdict})
	}
	t.Render()
}

func (r *report) printRates(w io.Writer) {
	t := newTable(w, "runs a second", "clients", "runs/s", "sandboxes")
	for _, m := range r.Rates {
		kinds := ""
		for _, kind := range []string{"reused", "warm", "cold"} {
			if n := m.Sandboxes[kind]; n > 0 {
				kinds += fmt.Sprintf("%d %s ", n, kind)
			}
		}
		t.AppendRow(table.Row{m.Way, m.Clients, fmt.Sprintf("%.1f", m.PerSecond), kinds})
	}
	t.Render()
}

func newTable(w io.Writer, header ...any) table.Writer {
	fmt.Fprintln(w)
	t := table.NewWriter()
	t.SetOutputMirror(w)
	t.SetStyle(table.StyleLight)
	t.AppendHeader(header)
	return t
}

// ms says microseconds as milliseconds.
func ms(micros int64) string { return fmt.Sprintf("%.2f ms", float64(micros)/1000) }

// printFloods shows what one user can do to another's runs.
func (r *report) printFloods(w io.Writer) {
	fmt.Fprintf(w, "%s, load average %.1f\n", r.Machine, r.LoadAverage)
	t := newTable(w, "flood of", "runs", "quiet p50", "p99", "flooded p50", "p99", "x p50", "x p99", "warm", "failed")
	for _, f := range r.Floods {
		t.AppendRow(table.Row{f.Kind, f.Flooded.Count, ms(f.Quiet.P50Micros), ms(f.Quiet.P99Micros), ms(f.Flooded.P50Micros), ms(f.Flooded.P99Micros),
			fmt.Sprintf("%.1f", f.P50), fmt.Sprintf("%.1f", f.P99), f.Warm, f.Failed})
	}
	t.Render()
	for _, f := range r.Floods {
		for _, what := range slices.Sorted(maps.Keys(f.Flood)) {
			fmt.Fprintf(w, "%s: %d %s\n", f.Kind, f.Flood[what], what)
		}
	}
}
