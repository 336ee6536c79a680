package main

import "fmt"

// budget is a promise of the project, and whether it is kept here.
type budget struct {
	Figure   string `json:"figure"`
	Measured string `json:"measured"`
	Budget   string `json:"budget"`
	Verdict  string `json:"verdict"` // met, missed, or not measured
}

const (
	warm, cold = ", warm", ", cold"
	mib        = 1 << 20
)

// The budgets. Those of time are over the floor of the same run.
const (
	handlerRatio     = 1.25
	apiOverMicros    = 6_000
	apiOverP99Micros = 20_000
	commandOver      = 25_000
	coldMicros       = 85_000
	runsPerSecond    = 20
	runsGoal         = 60
	reusesPerSecond  = 300
	reusesGoal       = 600
	bulkRatio        = 0.25
	lineMicros       = 1_000
	idleBytes        = 80 * mib
	warmBytes        = 300 * mib
	readyMillis      = 1_000
)

// judge compares what was measured with the budgets.
func (r *report) judge() {
	r.sum()
	r.judgeHandler()
	r.judgeOver("warm run through the API, p50", apiName+warm, apiOverMicros, func(q quantiles) int64 { return q.P50Micros })
	r.judgeOver("warm run through the API, p99", apiName+warm, apiOverP99Micros, func(q quantiles) int64 { return q.P99Micros })
	for _, other := range []string{sshKeptName, srunName, podmanName} {
		r.judgeFaster(other)
	}
	r.judgeOver("warm run by the command, p50", commandName+warm, commandOver, func(q quantiles) int64 { return q.P50Micros })
	r.judgeCold()
	r.judgeRate("single-use runs a second", apiName, runsPerSecond, runsGoal)
	r.judgeRate("runs a second with reuse", reuseName, reusesPerSecond, reusesGoal)
	r.judgeBulk()
	r.judgeLines()
	r.judgeMemory("idle instance before the first run", r.Fresh, idleBytes)
	r.judgeMemory("idle instance after the last run", r.Idle, idleBytes)
	r.judgeMemory(fmt.Sprintf("instance with %d warm sandboxes", warmSandboxes), r.Warm, warmBytes)
	r.verdict("hermesd up until ready", fmt.Sprintf("%d ms", r.ReadyMillis), fmt.Sprintf("< %d ms", readyMillis), r.ReadyMillis < readyMillis)
}

func (r *report) verdict(figure, measured, limit string, met bool) {
	verdict := "missed"
	if met {
		verdict = "met"
	}
	r.Budgets = append(r.Budgets, budget{figure, measured, limit, verdict})
}

func (r *report) notMeasured(figure, limit, missing string) {
	r.Budgets = append(r.Budgets, budget{figure, "-", limit, "not measured: no " + missing})
}

// judgeHandler compares how long the program runs: in a warm sandbox, by the watcher's clock, and
// as a child process.
func (r *report) judgeHandler() {
	figure, limit := "handler in a warm sandbox, start to end, p50", fmt.Sprintf("≤ %.2f × fork+exec", handlerRatio)
	w, floor := r.way(apiName+warm), r.way(forkExecName)
	if w == nil || w.Handler == nil || floor == nil {
		r.notMeasured(figure, limit, "warm run")
		return
	}
	ratio := float64(w.Handler.P50Micros) / float64(floor.Total.P50Micros)
	r.verdict(figure, fmt.Sprintf("%.2f × (%s)", ratio, ms(w.Handler.P50Micros)), limit, ratio <= handlerRatio)
}

// judgeOver: a way may take this much longer than fork+exec.
func (r *report) judgeOver(figure, way string, over int64, q func(quantiles) int64) {
	limit := fmt.Sprintf("≤ fork+exec + %d ms", over/1000)
	w, floor := r.way(way), r.way(forkExecName)
	if w == nil || floor == nil {
		r.notMeasured(figure, limit, way)
		return
	}
	more := q(w.Total) - q(floor.Total)
	r.verdict(figure, fmt.Sprintf("fork+exec + %s", ms(more)), limit, more <= over)
}

func (r *report) judgeFaster(other string) {
	figure, limit := "warm run through the API, against "+other, "faster, p50"
	w, o := r.way(apiName+warm), r.way(other)
	switch {
	case w == nil:
		r.notMeasured(figure, limit, apiName+warm)
	case o == nil:
		r.notMeasured(figure, limit, other)
	default:
		r.verdict(figure, fmt.Sprintf("%s against %s", ms(w.Total.P50Micros), ms(o.Total.P50Micros)), limit, w.Total.P50Micros < o.Total.P50Micros)
	}
}

func (r *report) judgeCold() {
	figure, limit := "cold run through the API, p50", fmt.Sprintf("≤ %d ms", coldMicros/1000)
	w := r.way(apiName + cold)
	if w == nil {
		r.notMeasured(figure, limit, "cold run")
		return
	}
	r.verdict(figure, ms(w.Total.P50Micros), limit, w.Total.P50Micros <= coldMicros)
}

func (r *report) judgeRate(figure, way string, least float64, goal int) {
	limit := fmt.Sprintf("≥ %.0f, goal ≥ %d", least, goal)
	var best rate
	for _, m := range r.Rates {
		if m.Way == way && m.PerSecond > best.PerSecond {
			best = m
		}
	}
	if best.Clients == 0 {
		r.notMeasured(figure, limit, "rate")
		return
	}
	r.verdict(figure, fmt.Sprintf("%.1f with %d clients", best.PerSecond, best.Clients), limit, best.PerSecond >= least)
}

func (r *report) judgeBulk() {
	speed := map[string]float64{}
	var size int64
	for _, m := range r.Bulk {
		speed[m.Way], size = float64(m.Bytes)/m.Seconds, m.Bytes
	}
	figure, limit := fmt.Sprintf("%d MiB of output to a file", size/mib), fmt.Sprintf("≥ %.2f × ssh cat", bulkRatio)
	own, other := speed[commandName], speed[sshKeptName]
	if own == 0 || other == 0 {
		r.notMeasured("output to a file", limit, "output")
		return
	}
	r.verdict(figure, fmt.Sprintf("%.2f × (%.0f against %.0f MiB/s)", own/other, own/mib, other/mib), limit, own >= bulkRatio*other)
}

func (r *report) judgeLines() {
	figure, limit := "a printed line at the client, p50", fmt.Sprintf("≤ %s", ms(lineMicros))
	for _, m := range r.Lines {
		if m.Way == commandName {
			r.verdict(figure, fmt.Sprintf("%s (p99 %s)", ms(m.P50Micros), ms(m.P99Micros)), limit, m.P50Micros <= lineMicros)
			return
		}
	}
	r.notMeasured(figure, limit, "line")
}

func (r *report) judgeMemory(what string, processes []process, most int64) {
	figure, limit := what+", PSS of all processes", fmt.Sprintf("< %d MiB", most/mib)
	var total int64
	for _, p := range processes {
		total += p.PSSBytes
	}
	if total == 0 {
		r.notMeasured(figure, limit, "process")
		return
	}
	r.verdict(figure, fmt.Sprintf("%.1f MiB in %d processes", float64(total)/mib, len(processes)), limit, total < most)
}
