package quotas_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/projections/quotas"
)

func TestFiguresHaveNames(t *testing.T) {
	seen := map[string]bool{}
	for _, f := range quotas.All() {
		if found, ok := quotas.Find(f.String()); f.String() == "" || seen[f.String()] || !ok || found != f {
			t.Errorf("figure %d is called %q", f, f)
		}
		seen[f.String()] = true
	}
	if _, ok := quotas.Find("disk"); ok || len(seen) != int(quotas.Figures) {
		t.Errorf("%d figures", len(seen))
	}
}

func TestResolve(t *testing.T) {
	defaults := quotas.Limits{quotas.Queued: 10, quotas.GPUs: 2, quotas.Memory: 5, quotas.GPUTime: 7_000_000}
	var set events.UserQuotaSet
	for _, f := range quotas.All() {
		if quotas.IsSet(set, f) || !quotas.IsSet(quotas.With(set, f, 3), f) || quotas.With(quotas.With(set, f, 3), f, 0) != set {
			t.Errorf("%s is not set as it should be", f)
		}
	}
	set = quotas.With(set, quotas.Queued, events.QuotaUnbounded)
	set = quotas.With(set, quotas.GPUs, events.QuotaNothing)
	set = quotas.With(set, quotas.GPUTime, 60)
	set = quotas.With(set, quotas.Rate, 5)
	got := quotas.Resolve(set, defaults)
	want := quotas.Limits{quotas.GPUs: quotas.Nothing, quotas.Memory: 5, quotas.GPUTime: 60_000_000, quotas.Rate: 5}
	if got != want {
		t.Error(cmp.Diff(want, got))
	}
	if most, bounded := got.Most(quotas.GPUs); most != 0 || !bounded {
		t.Errorf("nothing is %d, %v", most, bounded)
	}
	if _, bounded := got.Most(quotas.Queued); bounded {
		t.Error("no bound is one")
	}
}

func TestWithin(t *testing.T) {
	limits := events.Limits{CPUMillis: 4000, MemoryBytes: 100, PIDs: 9}
	for name, c := range map[string]struct {
		quota quotas.Limits
		want  events.Limits
	}{
		"no bound": {quotas.Limits{}, limits},
		"lower":    {quotas.Limits{quotas.CPU: 1000, quotas.Memory: 60}, events.Limits{CPUMillis: 1000, MemoryBytes: 60, PIDs: 9}},
		"higher":   {quotas.Limits{quotas.CPU: 9000, quotas.Memory: 600}, limits},
		// It can never fit, and that is said with what it needs.
		"nothing": {quotas.Limits{quotas.CPU: quotas.Nothing}, limits},
	} {
		if got := quotas.Within(c.quota, limits); got != c.want {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

// one asks for a run of one core, 10 bytes of memory and so many GPUs.
func one(gpus int64) quotas.Amounts {
	return quotas.Amounts{quotas.Concurrent: 1, quotas.Queued: 1, quotas.CPU: 1000, quotas.Memory: 10, quotas.GPUs: gpus}
}

func TestDecisions(t *testing.T) {
	upload := quotas.Amounts{quotas.Stored: 30}
	for name, c := range map[string]struct {
		limits      quotas.Limits
		used, asked quotas.Amounts
		// refused and waits are what is in the way; empty if nothing is.
		refused, waits string
	}{
		"no bounds":                     {quotas.Limits{}, quotas.Amounts{1e9, 1e9, 1e9, 1e9, 1e9, 1e9, 1e9, 1e9, 1e9}, one(9), "", ""},
		"the last place":                {quotas.Limits{quotas.Concurrent: 2}, quotas.Amounts{quotas.Concurrent: 1}, one(0), "", ""},
		"at once waits":                 {quotas.Limits{quotas.Concurrent: 2}, quotas.Amounts{quotas.Concurrent: 2}, one(0), "", "concurrent holds"},
		"cores wait":                    {quotas.Limits{quotas.CPU: 1500}, quotas.Amounts{quotas.CPU: 1000}, one(0), "", "cpus holds"},
		"memory waits":                  {quotas.Limits{quotas.Memory: 10}, quotas.Amounts{quotas.Memory: 1}, one(0), "", "memory holds"},
		"GPUs wait":                     {quotas.Limits{quotas.GPUs: 1}, quotas.Amounts{quotas.GPUs: 1}, one(1), "", "gpus holds"},
		"no GPU is asked for":           {quotas.Limits{quotas.GPUs: quotas.Nothing, quotas.GPUTime: quotas.Nothing}, quotas.Amounts{}, one(0), "", ""},
		"too many cores for ever":       {quotas.Limits{quotas.CPU: 999}, quotas.Amounts{}, one(0), "cpus never", "cpus never"},
		"no GPUs at all":                {quotas.Limits{quotas.GPUs: quotas.Nothing}, quotas.Amounts{}, one(1), "gpus never", "gpus never"},
		"no GPU time at all":            {quotas.Limits{quotas.GPUTime: quotas.Nothing}, quotas.Amounts{}, one(1), "gpu-seconds never", "gpu-seconds never"},
		"the queue is full":             {quotas.Limits{quotas.Queued: 2}, quotas.Amounts{quotas.Queued: 2}, one(0), "queued", ""},
		"the day's GPU time is spent":   {quotas.Limits{quotas.GPUTime: 5}, quotas.Amounts{quotas.GPUTime: 5}, one(1), "gpu-seconds", "gpu-seconds"},
		"nearly":                        {quotas.Limits{quotas.GPUTime: 5}, quotas.Amounts{quotas.GPUTime: 4}, one(1), "", ""},
		"GPU time is not CPU time":      {quotas.Limits{quotas.GPUTime: 5}, quotas.Amounts{quotas.GPUTime: 9}, one(0), "", ""},
		"the day's output is spent":     {quotas.Limits{quotas.Output: 5}, quotas.Amounts{quotas.Output: 7}, one(0), "output", "output"},
		"an upload prints nothing":      {quotas.Limits{quotas.Output: 5, quotas.Queued: quotas.Nothing}, quotas.Amounts{quotas.Output: 7}, upload, "", ""},
		"an upload that fits":           {quotas.Limits{quotas.Stored: 50}, quotas.Amounts{quotas.Stored: 20}, upload, "", ""},
		"an upload that does not":       {quotas.Limits{quotas.Stored: 50}, quotas.Amounts{quotas.Stored: 21}, upload, "stored", ""},
		"an upload that can never":      {quotas.Limits{quotas.Stored: 29}, quotas.Amounts{}, upload, "stored never", ""},
		"nothing new is stored":         {quotas.Limits{quotas.Stored: 50}, quotas.Amounts{quotas.Stored: 90}, one(0), "", ""},
		"for ever comes before for now": {quotas.Limits{quotas.Concurrent: 1, quotas.Queued: 1, quotas.Memory: 5}, quotas.Amounts{1, 1}, one(0), "memory never", "concurrent holds"},
	} {
		if got := said(quotas.Refuse(c.limits, c.used, c.asked), false); got != c.refused {
			t.Errorf("%s: refused by %q, want %q", name, got, c.refused)
		}
		if got := said(quotas.Wait(c.limits, c.used, c.asked), true); got != c.waits {
			t.Errorf("%s: waits for %q, want %q", name, got, c.waits)
		}
	}
}

func said(o *quotas.Over, placing bool) string {
	switch {
	case o == nil:
		return ""
	case o.Never:
		return o.Figure.String() + " never"
	case placing && o.Holds():
		return o.Figure.String() + " holds"
	}
	return o.Figure.String()
}

// diary makes records of one user's executions.
type diary struct {
	t        *testing.T
	book     *quotas.Book
	sequence uint64
	now      time.Time
}

func newDiary(t *testing.T, at string) *diary {
	t.Helper()
	now, err := time.Parse(time.DateTime, at)
	if err != nil {
		t.Fatal(err)
	}
	return &diary{t: t, book: quotas.NewBook(), now: now}
}

func (d *diary) add(id int, data events.Data) events.Record {
	d.t.Helper()
	d.sequence++
	r := events.Record{
		Event:   events.Event{ID: fmt.Sprint(d.sequence), Source: "test", Time: d.now, Data: data},
		Subject: events.ExecutionSubject("ana", fmt.Sprintf("%026d", id)), Sequence: d.sequence,
	}
	if err := d.book.Execution(r); err != nil {
		d.t.Fatal(err)
	}
	return r
}

func (d *diary) pass(much time.Duration) { d.now = d.now.Add(much) }

func (d *diary) want(f quotas.Figure, want int64) {
	d.t.Helper()
	if got := d.book.Use("ana", d.now)[f]; got != want {
		d.t.Errorf("at %s %s is %d, want %d", d.now.Format(time.DateTime), f, got, want)
	}
}

func gpuRun(gpus, retries int) events.ExecutionRequested {
	return events.ExecutionRequested{Kind: events.KindRun, GPUs: gpus, Retries: retries, Limits: events.Limits{CPUMillis: 500, MemoryBytes: 7}}
}

// TestGPUTimeIsOfItsDay: an attempt over midnight counts for each day with its part, one that was lost
// as any other, and the figure grows while one runs.
func TestGPUTimeIsOfItsDay(t *testing.T) {
	d := newDiary(t, "2026-03-01 23:00:00")
	d.add(1, gpuRun(2, 1))
	d.want(quotas.Queued, 1)
	d.pass(30 * time.Minute)
	d.want(quotas.GPUTime, 0)
	d.add(1, events.ExecutionStarted{Attempt: 1, Watcher: "w"})
	d.pass(10 * time.Minute)
	d.want(quotas.GPUTime, 2*600e6)
	d.want(quotas.GPUs, 2)
	d.add(1, events.ExecutionRetried{Attempt: 1, Watcher: "w"})
	d.want(quotas.GPUs, 0)
	d.want(quotas.Queued, 1)
	d.pass(10 * time.Minute)
	d.want(quotas.GPUTime, 2*600e6)
	d.add(1, events.ExecutionStarted{Attempt: 2, Watcher: "w"})
	d.pass(5 * time.Minute)
	d.want(quotas.GPUTime, 2*900e6)
	d.pass(5 * time.Minute)
	d.want(quotas.GPUTime, 0) // midnight, and nothing has happened yet
	d.pass(time.Minute)
	d.want(quotas.GPUTime, 2*60e6)
	d.add(1, events.ExecutionSucceeded{Attempt: 2, Output: events.Output{StdoutBytes: 5, StderrBytes: 6}})
	d.want(quotas.GPUTime, 2*60e6)
	d.want(quotas.Output, 11)
	d.pass(24 * time.Hour)
	d.want(quotas.Output, 0)
	d.want(quotas.GPUTime, 0)
}

// TestAnEventOfTheDayBefore: a clock that is a little behind takes nothing from today and adds nothing.
func TestAnEventOfTheDayBefore(t *testing.T) {
	d := newDiary(t, "2026-03-01 23:59:00")
	for id := 1; id <= 2; id++ {
		d.add(id, gpuRun(1, 0))
		d.add(id, events.ExecutionStarted{Attempt: 1, Watcher: "w"})
	}
	d.pass(2 * time.Minute)
	d.add(1, events.ExecutionSucceeded{Attempt: 1, Output: events.Output{StdoutBytes: 5}})
	d.want(quotas.GPUTime, 2*60e6)
	d.now = d.now.Add(-90 * time.Second)
	d.add(2, events.ExecutionSucceeded{Attempt: 1, Output: events.Output{StdoutBytes: 7}})
	d.pass(90 * time.Second)
	d.want(quotas.GPUTime, 60e6)
	d.want(quotas.Output, 5)
	d.want(quotas.Concurrent, 0)
}

func TestWhatIsStored(t *testing.T) {
	d := newDiary(t, "2026-03-01 12:00:00")
	a, b, c := events.Blob{Digest: "sha256:a", SizeBytes: 1}, events.Blob{Digest: "sha256:b", SizeBytes: 10}, events.Blob{Digest: "sha256:c", SizeBytes: 100}
	sequence := uint64(0)
	function := func(data events.Data) {
		t.Helper()
		sequence++
		r := events.Record{Event: events.Event{ID: "x", Time: d.now, Data: data}, Subject: events.FunctionSubject("ana", "pi"), Sequence: sequence}
		for range 2 { // the second time it is known
			if err := d.book.Function(r); err != nil {
				t.Fatal(err)
			}
		}
	}
	function(events.FunctionRegistered{Version: "1.0.0", Bundle: a, Build: "B"})
	d.add(1, events.ExecutionRequested{Kind: events.KindBuild, Source: a})
	d.want(quotas.Stored, 1)
	if n := d.book.New("ana", []events.Blob{a, b, b}); n != 10 {
		t.Errorf("%d bytes are new", n)
	}
	function(events.FunctionBuilt{Version: "1.0.0", Build: "B", Artifact: b, BuiltBy: "B"})
	d.want(quotas.Stored, 11)
	d.add(2, events.ExecutionRequested{Kind: events.KindRun, Source: b, Input: events.Input{Blob: &c}})
	d.want(quotas.Stored, 111)
	// The artifact of a run is its function's, and an input is counted while the run lives.
	d.add(2, events.ExecutionFailed{Reason: events.ReasonInput})
	d.want(quotas.Stored, 11)
	function(events.FunctionDeleted{Versions: []string{"1.0.0"}})
	d.want(quotas.Stored, 1) // the build has not ended
	d.add(1, events.ExecutionFailed{Reason: events.ReasonMake})
	d.want(quotas.Stored, 0)
	if n := d.book.New("nobody", []events.Blob{a}); n != 1 {
		t.Errorf("%d bytes are new to somebody who has nothing", n)
	}
}

// TestImpossibleEventsChangeNothing: they are passed over, as in the views.
func TestImpossibleEventsChangeNothing(t *testing.T) {
	d := newDiary(t, "2026-03-01 12:00:00")
	d.add(1, gpuRun(1, 0))
	before := d.book.Use("ana", d.now)
	for _, data := range []events.Data{gpuRun(1, 0), events.ExecutionSucceeded{Attempt: 1}, events.ExecutionRetried{Attempt: 1, Watcher: "w"}, events.UserDisabled{}} {
		d.sequence++
		r := events.Record{Event: events.Event{ID: "x", Time: d.now.Add(48 * time.Hour), Data: data}, Subject: events.ExecutionSubject("ana", fmt.Sprintf("%026d", 1)), Sequence: d.sequence}
		if err := d.book.Execution(r); err == nil {
			t.Errorf("%s is taken", data.Type())
		}
	}
	if after := d.book.Use("ana", d.now); after != before {
		t.Error(cmp.Diff(before, after))
	}
	if !d.book.Knows("ana", fmt.Sprintf("%026d", 1)) || d.book.Knows("bob", fmt.Sprintf("%026d", 1)) {
		t.Error("the book knows somebody else's")
	}
}

// TestWhoLeftUsesNothing: what was not seen to end, or to be deleted, is dropped with its user.
func TestWhoLeftUsesNothing(t *testing.T) {
	d := newDiary(t, "2026-11-24 12:00:00")
	d.add(1, gpuRun(1, 0))
	d.add(1, events.ExecutionStarted{Attempt: 1, Watcher: "w"})
	bundle := events.Blob{Digest: "sha256:b", SizeBytes: 5}
	registered := events.Record{Event: events.Event{ID: "f", Source: "test", Time: d.now, Data: events.FunctionRegistered{Version: "1.0.0", Build: "b", Bundle: bundle}}, Subject: events.FunctionSubject("ana", "pi"), Sequence: 1}
	if err := d.book.Function(registered); err != nil {
		t.Fatal(err)
	}
	d.want(quotas.GPUs, 1)
	d.want(quotas.Stored, 5)
	forgotten := events.Record{Event: events.Event{ID: "g", Source: "test", Time: d.now, Data: events.FunctionsForgotten{}}, Subject: events.FunctionsForgottenSubject("ana"), Sequence: 2}
	if err := d.book.Function(forgotten); err != nil {
		t.Fatal(err)
	}
	d.want(quotas.Stored, 0)
	forgotten.Data, forgotten.Subject, forgotten.Sequence = events.ExecutionsForgotten{}, events.ExecutionsForgottenSubject("ana"), 100
	if err := d.book.Execution(forgotten); err != nil {
		t.Fatal(err)
	}
	d.want(quotas.GPUs, 0)
	if d.book.Executions() != 100 || d.book.Knows("ana", fmt.Sprintf("%026d", 1)) {
		t.Errorf("the book is at %d", d.book.Executions())
	}
}
