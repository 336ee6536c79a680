package orchestrator

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/projections/executions"
	"github.com/hermes-serverless/hermes/services/api"
)

func TestForecast(t *testing.T) {
	one, two := events.GPURequest{Count: 1}, events.GPURequest{Count: 2}
	likely := func(n Need, d time.Duration) Need { n.Likely = d; return n }
	node := gpuNode("n", gpus(2, "g", "NVIDIA L4", 24)...)
	node.UsedSlots = 2
	node.Holds = []Hold{
		{User: "eve", Devices: []string{"GPU-g-0"}, GPU: one, Ends: time.Hour, Likely: 10 * time.Minute},
		{User: "eve", Devices: []string{"GPU-g-1"}, GPU: one, Ends: 2 * time.Hour, Likely: 30 * time.Minute},
	}
	queues := queuesOf(
		likely(gpuNeed("01", "ana", two), 20*time.Minute), likely(gpuNeed("02", "ana", one), time.Minute),
		likely(gpuNeed("03", "bob", one), 5*time.Minute), gpuNeed("04", "cay", events.GPURequest{Count: 3}),
	)
	queues[1].Waiting[0].TimeoutMillis = (9 * time.Minute).Milliseconds() // it ends in time and passes
	want := map[key]time.Duration{{"bob", "03"}: 10 * time.Minute, {"ana", "01"}: 30 * time.Minute, {"ana", "02"}: 50 * time.Minute}
	if diff := cmp.Diff(want, forecast(Pack, queues, []Node{node}), cmp.AllowUnexported(key{})); diff != "" {
		t.Error(diff)
	}
	if len(node.Holds) != 2 || len(queues[0].Waiting) != 2 {
		t.Error("the forecast has changed what it was made of")
	}
}

func TestForecastIsBounded(t *testing.T) {
	node := gpuNode("n", gpus(1, "g", "NVIDIA L4", 24)...)
	var needs []Need
	for range 2 * forecastSteps {
		needs = append(needs, Need{ID: api.NewID(), User: "ana", Base: "host", GPUs: 1, TimeoutMillis: 1, Likely: time.Second})
	}
	if n := len(forecast(Pack, queuesOf(needs...), []Node{node})); n != forecastSteps {
		t.Errorf("it looked %d steps ahead, want %d", n, forecastSteps)
	}
}

func TestRunTimesAreTheLatest(t *testing.T) {
	times := runTimes{}
	pi := events.ExecutionRequested{Kind: events.KindRun, Function: events.FunctionRef{Owner: "ana", Name: "pi", Version: "1.0.0"}}
	if d := times.likely(jobOf(pi), time.Hour); d != time.Hour {
		t.Errorf("nothing is known: %s", d)
	}
	started := time.Unix(1000, 0)
	for i := range timesKept + 2 {
		d := 2 * time.Minute
		if i < 2 {
			d = time.Hour
		}
		times.add(executions.Execution{Request: pi, StartedAt: started, EndedAt: started.Add(d)})
	}
	times.add(executions.Execution{Request: pi, EndedAt: started}) // it never ran
	newer := pi
	newer.Function.Version = "1.1.0"
	if d := times.likely(jobOf(newer), time.Hour); d != 2*time.Minute {
		t.Errorf("the mean of the latest is %s", d)
	}
	if d := times.likely(jobOf(newer), time.Minute); d != time.Minute {
		t.Errorf("more than its timeout: %s", d)
	}
}

// Who waits is told for how long, from what the function took before.
func TestWaitingTimeIsEstimated(t *testing.T) {
	w := newWorld(t)
	w.orchestrate()
	w.registerGPU("pi", nil)
	gpu := w.gpuWatcher("gpu1", gpus(1, "a", "NVIDIA L4", 24)...).hello()
	w.runGPU("ana", "pi", nil)
	gpu.start()
	waiting := w.runGPU("bob", "pi", nil)
	var e api.Execution
	w.eventually("it is estimated", func() bool {
		var err error
		e, err = askAs[api.Execution](w, "bob", api.OpExecutionInspect, api.ExecutionRef{ID: waiting})
		return err == nil && e.StartsInMillis > 0
	})
	// Nothing is known but the timeout.
	if bound := policy.Defaults.TimeoutMillis + endsWithin.Milliseconds(); e.Position != 1 || e.StartsInMillis > bound {
		t.Errorf("position %d, starts in %d ms; the first ends within %d ms", e.Position, e.StartsInMillis, bound)
	}
}
