package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"math"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
)

// The budgets.
const (
	listWithin    = 50 * time.Millisecond
	inspectWithin = 10 * time.Millisecond
	startWithin   = 5 * time.Second
	rebuildRate   = 100_000 // events a second
	// lagWithin is how many seconds of events the view may be behind when it keeps up.
	lagWithin = 1.0
	// paceShare of the asked rate counts as that rate.
	paceShare = 0.95
)

const (
	met, missed = "met", "missed"
	rateRebuild = "all views anew, by the projector, while it serves"
)

// row is a figure, and what is asked of it.
type row struct {
	Figure   string `json:"figure"`
	Measured string `json:"measured"`
	Budget   string `json:"budget,omitempty"`
	Verdict  string `json:"verdict,omitempty"`
}

// report gathers the rows.
type report struct {
	Started    time.Time `json:"started"`
	CPUs       int       `json:"cpus"`
	Load       string    `json:"loadAverage"`
	Executions int       `json:"executions"`
	Users      int       `json:"users"`
	Rows       []row     `json:"rows"`

	rateAsked int
	names     []string // of looks, in the order of the first
	times     map[string][]time.Duration
	// emptyHeap is the live heap before the load.
	emptyHeap uint64
}

func newReport(o options) report {
	load, _ := os.ReadFile("/proc/loadavg")
	return report{
		Started: time.Now().UTC(), CPUs: runtime.NumCPU(), Load: strings.Join(strings.Fields(string(load))[:1], ""),
		Executions: o.executions, Users: o.users, rateAsked: o.rate, times: map[string][]time.Duration{},
	}
}

func (r *report) add(figure, measured, limit string, is bool) {
	verdict := ""
	if limit != "" {
		verdict = missed
		if is {
			verdict = met
		}
	}
	r.Rows = append(r.Rows, row{figure, measured, limit, verdict})
}

// memory notes what the instance has in memory.
func (r *report) memory(ctx context.Context, when string, in *running) error {
	rss, err := rssOf(in.pid)
	if err != nil {
		return err
	}
	h, err := heapOf(ctx, in.heapURL)
	if err != nil {
		return err
	}
	if r.emptyHeap == 0 {
		r.emptyHeap = h.Live
	}
	grown := ""
	if more := int64(h.Live) - int64(r.emptyHeap); more > 0 {
		grown = fmt.Sprintf(": %.0f B an execution", float64(more)/float64(r.Executions))
	}
	r.add("memory, "+when, fmt.Sprintf("RSS %s, heap in use %s%s", mib(rss), mib(int64(h.Live)), grown), "", false)
	return nil
}

func mib(bytes int64) string { return fmt.Sprintf("%.0f MiB", float64(bytes)/(1<<20)) }

func rssOf(pid int) (int64, error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(status)) {
		if fields := strings.Fields(line); len(fields) == 3 && fields[0] == "VmRSS:" {
			kib, err := strconv.ParseInt(fields[1], 10, 64)
			return kib << 10, err
		}
	}
	return 0, fmt.Errorf("/proc/%d/status has no VmRSS", pid)
}

func heapOf(ctx context.Context, url string) (h heap, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return h, err
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return h, err
	}
	defer answer.Body.Close()
	return h, json.NewDecoder(answer.Body).Decode(&h)
}

// stored notes what the data folder has on disk.
func (r *report) stored(dir string) {
	for _, stream := range []string{"HERMES_EXECUTIONS", "HERMES_HISTORY", "KV_hermes_executions"} {
		var bytes int64
		_ = filepath.WalkDir(filepath.Join(dir, "jetstream"), func(path string, d fs.DirEntry, err error) error {
			if err == nil && !d.IsDir() && strings.Contains(path, "/"+stream+"/") {
				if info, err := d.Info(); err == nil {
					bytes += info.Size()
				}
			}
			return nil
		})
		r.add("on disk, "+stream, fmt.Sprintf("%s: %d B an execution", mib(bytes), bytes/int64(r.Executions)), "", false)
	}
}

func (r *report) loaded(events uint64, appended, projected time.Duration) {
	r.add("the load", fmt.Sprintf("%d events appended at %.0f/s, seen in the views at %.0f/s",
		events, float64(events)/appended.Seconds(), float64(events)/projected.Seconds()), "", false)
}

func (r *report) started(ready, answered time.Duration) {
	r.add("start, until the user has a page", fmt.Sprintf("%.2f s (ready after %.2f s)", answered.Seconds(), ready.Seconds()),
		fmt.Sprintf("≤ %.0f s", startWithin.Seconds()), answered <= startWithin)
}

func (r *report) look(name string, took time.Duration) {
	if r.times[name] == nil {
		r.names = append(r.names, name)
	}
	r.times[name] = append(r.times[name], took)
}

// spent is how long a look has taken in all.
func (r *report) spent(name string) (all time.Duration) {
	for _, took := range r.times[name] {
		all += took
	}
	return all
}

// limitOf is what is asked of a look; 0 is nothing.
func limitOf(look string) time.Duration {
	kind, _, _ := strings.Cut(look, ",")
	switch kind {
	case "list":
		return listWithin
	case "inspect":
		return inspectWithin
	}
	return 0
}

// addLook judges what was timed under a name.
func (r *report) addLook(name, when string, times []time.Duration) {
	limit, asked := limitOf(name), ""
	if limit > 0 {
		asked = fmt.Sprintf("p50 ≤ %d ms", limit.Milliseconds())
	}
	p50 := quantile(times, 0.5)
	r.add(name+when, fmt.Sprintf("p50 %s, p99 %s", ms(p50), ms(quantile(times, 0.99))), asked, p50 <= limit)
}

func (r *report) addLooks() {
	order := []string{
		lookList, lookMiddle, lookStatus, lookName, lookBoth, lookRare, lookNone, lookRawPage, lookNumber, lookID, lookRawKey,
	}
	slices.SortFunc(r.names, func(a, b string) int { return cmp.Compare(slices.Index(order, a), slices.Index(order, b)) })
	for _, name := range r.names {
		r.addLook(name, "", r.times[name])
	}
}

// live judges how the view followed: its lags while so many events came in that time.
func (r *report) live(sync string, events uint64, took time.Duration, lags []uint64, list, inspect []time.Duration) {
	rate := float64(events) / took.Seconds()
	slices.Sort(lags)
	half, most := lags[len(lags)/2], lags[len(lags)-1]
	behind := func(lag uint64) string { return fmt.Sprintf("%.0f ms", 1000*float64(lag)/rate) }
	r.add(fmt.Sprintf("the projector at %d events/s, while it serves, --sync %s", r.rateAsked, sync),
		fmt.Sprintf("%.0f events/s; behind by %s p50, %s at most", rate, behind(half), behind(most)),
		fmt.Sprintf("keeps up (p50 ≤ %.0f s behind)", lagWithin),
		rate >= paceShare*float64(r.rateAsked) && float64(half) <= lagWithin*rate)
	r.addLook(lookList, ", meanwhile, --sync "+sync, list)
	r.addLook(lookNumber, ", meanwhile, --sync "+sync, inspect)
}

// rate notes how fast events were read; peak is the memory of who read them, 0 for nobody's.
func (r *report) rate(what string, events uint64, took time.Duration, peak int64) {
	perSecond := float64(events) / took.Seconds()
	measured := fmt.Sprintf("%.0f events/s (%.1f s)", perSecond, took.Seconds())
	if peak > 0 {
		measured += ", RSS at most " + mib(peak)
	}
	limit := ""
	if !strings.HasPrefix(what, "the store alone") {
		limit = fmt.Sprintf("≥ %d events/s", rebuildRate)
	}
	r.add(what, measured, limit, perSecond >= rebuildRate)
}

// quantile returns the smallest value that at least the share q of the values do not exceed.
func quantile(times []time.Duration, q float64) time.Duration {
	if len(times) == 0 {
		return 0
	}
	s := slices.Sorted(slices.Values(times))
	rank := int(math.Ceil(q * float64(len(s))))
	return s[min(max(rank, 1), len(s))-1]
}

func ms(d time.Duration) string { return fmt.Sprintf("%.1f ms", float64(d.Microseconds())/1000) }

func (r *report) write(file string) error {
	raw, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(file, append(raw, '\n'), 0o644)
}

func (r *report) print(w io.Writer) {
	fmt.Fprintf(w, "%d executions of %d users; %d CPUs, load average %s before\n\n", r.Executions, r.Users, r.CPUs, r.Load)
	t := table.NewWriter()
	t.SetOutputMirror(w)
	t.SetStyle(table.StyleLight)
	t.AppendHeader(table.Row{"figure", "measured", "budget", "verdict"})
	for _, row := range r.Rows {
		t.AppendRow(table.Row{row.Figure, row.Measured, row.Budget, row.Verdict})
	}
	t.Render()
}
