package orchestrator

import (
	"encoding/json"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/services/api"
)

var plotFrom = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

func sampleOf(attempt int, uuid string, after time.Duration, percent int, memory, power int64) api.GPUSamples {
	return api.GPUSamples{Attempt: attempt, At: []time.Time{plotFrom.Add(after)}, Devices: []api.GPUSeries{
		{UUID: uuid, UtilisationPercent: []int{percent}, MemoryBytes: []int64{memory}, PowerMilliwatts: []int64{power}},
	}}
}

// TestPlotIsOfTheWatcherThatRanIt, all that it sent, and shown to the owner alone.
func TestPlotIsOfTheWatcherThatRanIt(t *testing.T) {
	w := newWorld(t)
	w.orchestrate()
	w.registerGPU("pi", nil)
	watch := w.gpuWatcher("gpu1", gpus(1, "a", "NVIDIA L4", 24)...).hello()
	id := w.runGPU("ana", "pi", nil)
	ref := watch.start()
	send := func(watcher string, memory int64) {
		s := sampleOf(1, "GPU-a-0", 0, 50, memory, 7)
		s.At[0] = time.Now()
		raw, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.js.Publish(t.Context(), events.GPUSubject(watcher, ref.Owner, ref.ID), raw); err != nil {
			t.Fatal(err)
		}
	}
	for n := range int64(batchSize + 1) {
		send("gpu1", n)
	}
	send("gpu2", 1<<40)
	watch.report(ref, api.Succeeded)
	of := api.ExecutionGPU{ExecutionRef: api.ExecutionRef{ID: id}}
	plot, err := ask[api.GPUPlot](w, api.OpExecutionGPU, of)
	if err != nil || len(plot.Devices) != 1 || slices.Max(plot.Devices[0].MemoryBytes) != batchSize || plot.Partial != "" {
		t.Errorf("%+v, %v", plot, err)
	}
	if plot, err := askAs[api.GPUPlot](w, "bob", api.OpExecutionGPU, of); !api.IsKind(err, api.NotFound) {
		t.Errorf("somebody else sees %+v, %v", plot, err)
	}
}

func TestPlot(t *testing.T) {
	p := newPlotter(2, []string{"a", "b"}, plotFrom, plotFrom.Add(40*time.Second), 10)
	p.add(sampleOf(2, "a", 1*time.Second, 20, 5, 100))
	p.add(sampleOf(2, "a", 2*time.Second, 40, 3, 300))
	p.add(sampleOf(2, "a", 9*time.Second, -1, 7, 0))
	p.add(sampleOf(2, "b", -time.Second, 10, 1, 1))       // a clock that is behind
	p.add(sampleOf(2, "b", 60*time.Second, 30, 1, 1))     // and one that is ahead
	p.add(sampleOf(1, "a", 1*time.Second, 100, 100, 100)) // of the attempt before
	p.add(sampleOf(2, "c", 1*time.Second, 100, 100, 100)) // of no device of it
	broken := sampleOf(2, "a", 1*time.Second, 100, 100, 100)
	broken.Devices[0].MemoryBytes = nil
	p.add(broken)
	plot := p.finish()
	if plot.StepMillis != 4000 || len(plot.Devices) != 2 || len(plot.Devices[0].MemoryBytes) != 10 {
		t.Fatalf("%+v", plot)
	}
	a, b := plot.Devices[0], plot.Devices[1]
	if !slices.Equal(a.UtilisationPercent[:4], []int{30, -1, -1, -1}) || !slices.Equal(a.MemoryBytes[:4], []int64{5, -1, 7, -1}) ||
		!slices.Equal(a.PowerMilliwatts[:4], []int64{200, 0, 0, 0}) {
		t.Errorf("%+v", a)
	}
	if b.UtilisationPercent[0] != 10 || b.UtilisationPercent[9] != 30 {
		t.Errorf("%+v", b)
	}
}

// TestPlotIsOfItsSize: whatever a watcher says and however long a run took.
func TestPlotIsOfItsSize(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		points := rapid.IntRange(1, mostPoints).Draw(t, "points")
		took := time.Duration(rapid.Int64Range(-1000, 1e9).Draw(t, "millis")) * time.Millisecond
		p := newPlotter(1, []string{"a"}, plotFrom, plotFrom.Add(took), points)
		for range rapid.IntRange(0, 20).Draw(t, "samples") {
			after := time.Duration(rapid.Int64Range(-1e6, 2e9).Draw(t, "after")) * time.Millisecond
			p.add(sampleOf(1, "a", after, rapid.IntRange(-5, 500).Draw(t, "percent"), rapid.Int64().Draw(t, "memory"), rapid.Int64().Draw(t, "power")))
		}
		plot := p.finish()
		d := plot.Devices[0]
		n := len(d.MemoryBytes)
		if n < 1 || n > points || len(d.UtilisationPercent) != n || len(d.PowerMilliwatts) != n || plot.StepMillis < 1000 {
			t.Fatalf("%d points of %d, each %d ms", n, points, plot.StepMillis)
		}
		if most := slices.Max(d.UtilisationPercent); most > 100 {
			t.Fatalf("used %d %%", most)
		}
	})
}
