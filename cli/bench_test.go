package cli

import (
	"context"
	"encoding/json"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/hermes-serverless/hermes/cli/iostreams"
	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/projections/executions"
	"github.com/hermes-serverless/hermes/services/api"
)

func TestFlagsOfBench(t *testing.T) {
	var got *benchOptions
	parse(t, newBenchCmd(testApp(), func(o *benchOptions) error { got = o; return nil }),
		"ana/pi:1.0.0", "--clients", "8", "-n", "1000", "--warmup=0", "--async", "--input", "points.txt")
	want := events.FunctionRef{Owner: "ana", Name: "pi", Version: "1.0.0"}
	if got.ref != want || got.clients != 8 || got.runs != 1000 || got.warmup != 0 || !got.async || got.file != "points.txt" {
		t.Errorf("became %+v", got)
	}
}

func TestQuantile(t *testing.T) {
	hundred := make([]int, 100)
	for i := range hundred {
		hundred[i] = i + 1
	}
	for q, want := range map[float64]int{0: 1, 0.5: 50, 0.9: 90, 0.99: 99, 1: 100} {
		if got := quantile(hundred, q); got != want {
			t.Errorf("quantile %v of 1 to 100 is %d", q, got)
		}
	}
	if quantile([]int{7}, 0.5) != 7 || quantile([]int{7, 8}, 0.99) != 8 {
		t.Error("of one or two values it is another")
	}
}

// TestHistogramCountsEverything: each value is in the bucket that says so, and the rows stay few.
func TestHistogramCountsEverything(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		micros := rapid.SliceOfN(rapid.Int64Range(0, 1e9), 1, 300).Draw(t, "micros")
		slices.Sort(micros)
		durations := make([]time.Duration, len(micros))
		for i, m := range micros {
			durations[i] = time.Duration(m) * time.Microsecond
		}
		buckets := benchHistogram(durations)
		if len(buckets) > benchRows+2 {
			t.Fatalf("%d rows", len(buckets))
		}
		for i, b := range buckets {
			if last := i == len(buckets)-1; !last && b.ToMicros != buckets[i+1].FromMicros {
				t.Fatalf("between %+v and %+v there is a gap", b, buckets[i+1])
			}
			n := 0
			for _, m := range micros {
				if m >= b.FromMicros && (b.ToMicros == 0 || m < b.ToMicros) {
					n++
				}
			}
			if n != b.Runs {
				t.Fatalf("%+v, but it is %d of %v", b, n, micros)
			}
		}
		if buckets[0].FromMicros > micros[0] || buckets[len(buckets)-1].ToMicros != 0 && buckets[len(buckets)-1].ToMicros <= micros[len(micros)-1] {
			t.Fatalf("%v lie outside of %+v", micros, buckets)
		}
	})
}

func TestPhasesAddUp(t *testing.T) {
	begin := time.Date(2026, 11, 24, 16, 0, 0, 0, time.UTC)
	ended := func(sandbox string, sandboxMillis int) benchSample {
		e := state(executions.Success, func(e *api.Execution) {
			e.Sandbox, e.SandboxMicros = sandbox, int64(sandboxMillis)*1000
			e.RequestedAt = begin
			e.StartedAt = begin.Add(time.Duration(5+sandboxMillis) * time.Millisecond)
			e.EndedAt = e.StartedAt.Add(20 * time.Millisecond)
		})
		return benchSample{exec: e, total: 200 * time.Millisecond}
	}
	unstarted := benchSample{exec: state(executions.Cancelled, func(e *api.Execution) { e.RequestedAt, e.EndedAt = begin, begin.Add(time.Second) })}
	samples := []benchSample{ended("cold", 80), ended("warm", 1), ended("warm", 2), unstarted}
	got, totals := benchPhases(samples, false)
	want := []phase{
		{"queue", "", 3, 5000, 5000, 5000, 5000},
		{"start", "cold", 1, 80000, 80000, 80000, 80000}, {"start", "warm", 2, 1000, 2000, 2000, 2000},
		{"run", "", 3, 20000, 20000, 20000, 20000},
		{"total", "", 4, 200000, 200000, 200000, 200000},
	}
	if !slices.Equal(got, want) || len(totals) != 4 {
		t.Errorf("sync: %+v", got)
	}
	got, _ = benchPhases(samples, true)
	if last := got[len(got)-1]; got[0].Phase != "accept" || last != (phase{"total", "", 4, 27000, 1000000, 1000000, 1000000}) {
		t.Errorf("async: %+v", got)
	}
}

func TestShort(t *testing.T) {
	for micros, want := range map[int64]string{0: "0s", 7: "7µs", 999: "999µs", 1234: "1.23ms", 85349: "85.3ms", 1234567: "1.23s", 83_400_000: "1m23.4s"} {
		if got := short(micros); got != want {
			t.Errorf("%d µs: %s, want %s", micros, got, want)
		}
	}
}

func TestBenchCountsOutputThatIsNotWhatWasPrinted(t *testing.T) {
	s := newStub(t)
	(&scripted{output: "3.15", states: []api.Execution{state(executions.Success, printed("3.14"))}}).serve(s)
	got := s.run("", "bench", "pi", "-n", "2", "--warmup", "0", "-j")
	var r benchReport
	if err := json.Unmarshal([]byte(got.out), &r); err != nil || got.code != exitFailed {
		t.Fatalf("%+v, %v", got, err)
	}
	if r.Failed != 2 || len(r.Failures) != 1 || r.Failures[0].Status != "OutputCorrupt" || r.Failures[0].Runs != 2 {
		t.Errorf("%+v", r)
	}
}

// held is a server on which the second run ends when the test lets it.
type held struct {
	mu      sync.Mutex
	ids     []string
	started chan struct{}
	release chan struct{}
}

func (h *held) serve(s *stub) {
	answer(s, api.OpRun, func(r api.Run) (api.Accepted, error) {
		h.mu.Lock()
		defer h.mu.Unlock()
		if h.ids = append(h.ids, r.ID); len(h.ids) == 2 {
			close(h.started)
		}
		return api.Accepted{ID: r.ID, Sequence: 1}, nil
	})
	answer(s, api.OpExecutionWait, func(r api.ExecutionWait) (api.Execution, error) {
		h.mu.Lock()
		second := len(h.ids) == 2 && r.ID == h.ids[1]
		h.mu.Unlock()
		if second {
			<-h.release
		}
		return state(executions.Success, func(e *api.Execution) { e.ID = r.ID }), nil
	})
}

// interrupted runs a benchmark of 100 runs that is interrupted once, when the second one has
// started, and again if that is wanted; else the second run is let go when the first interrupt has
// been heeded. It returns what is printed.
func interrupted(t *testing.T, again bool) (string, error) {
	h := &held{started: make(chan struct{}), release: make(chan struct{})}
	s := newStub(t)
	h.serve(s)
	var out, errOut safeBuffer
	signals := make(chan os.Signal) // unbuffered: what was sent has been heard
	a := newApp(&iostreams.Streams{In: strings.NewReader(""), Out: &out, Err: &errOut})
	a.notify = func() (<-chan os.Signal, func()) { return signals, func() {} }
	ended := make(chan error, 1)
	go func() {
		ended <- runBench(&benchOptions{app: a, ctx: context.Background(), clients: 1, runs: 100, ref: events.FunctionRef{Name: "pi"}})
	}()
	<-h.started
	signals <- os.Interrupt
	if again {
		signals <- os.Interrupt
		defer close(h.release)
		err := <-ended
		return out.String(), err
	}
	for end := time.Now().Add(patience); !strings.Contains(errOut.String(), "no more runs are started"); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("the interrupt is not heeded: %q", errOut.String())
		}
	}
	close(h.release)
	err := <-ended
	return out.String(), err
}

func TestInterruptedBenchWaitsForWhatRuns(t *testing.T) {
	out, err := interrupted(t, false)
	if exitCode(err) != exitCancelled || !strings.Contains(out, "runs       2 of 100\nfailed     0\n") {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestInterruptedTwiceItDoesNotWait(t *testing.T) {
	out, err := interrupted(t, true)
	if exitCode(err) != exitCancelled || !strings.Contains(out, "runs       1 of 100\nfailed     0\n") {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestInterruptedBeforeTheFirstEnd(t *testing.T) {
	stop := &benchStop{}
	if err := stop.explain(context.Canceled); exitCode(err) != exitCancelled || !strings.Contains(err.Error(), "nothing was measured") {
		t.Errorf("%v", err)
	}
}
