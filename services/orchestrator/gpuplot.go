package orchestrator

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/projections/executions"
	"github.com/hermes-serverless/hermes/services/api"
)

const (
	// plotPoints and mostPoints are how many points a plot has by default and at the most.
	plotPoints, mostPoints = 60, 600
	// mostPower is more than any device takes, in mW.
	mostPower = 1e9
	// plotWithin bounds the reading of samples; what is not read by then is left out, and said.
	plotWithin = 5 * time.Second
)

// gpuPlot answers OpExecutionGPU: what the GPUs of an execution did, while it runs too.
func (s *Service) gpuPlot(ctx context.Context, user string, ask api.ExecutionGPU) (api.GPUPlot, error) {
	if ask.Points < 0 || ask.Points > mostPoints {
		return api.GPUPlot{}, api.Errorf(api.Invalid, api.InvalidArguments, "%d points: must be from 1 to %d", ask.Points, mostPoints)
	}
	e, err := s.find(ctx, user, ask.ExecutionRef)
	if err != nil {
		return api.GPUPlot{}, err
	}
	if !e.Status.Final() {
		// The view may be a moment behind; which watcher to trust must be certain.
		if e, err = s.fold(ctx, user, e.ID); err != nil {
			return api.GPUPlot{}, err
		}
	}
	end := e.EndedAt
	if end.IsZero() {
		end = time.Now()
	}
	if ask.Points == 0 {
		ask.Points = plotPoints
	}
	p := newPlotter(e.Attempt, e.Devices, e.StartedAt, end, ask.Points)
	if len(e.Devices) == 0 {
		return p.plot, nil
	}
	if err := s.readSamples(ctx, e, p); err != nil {
		return api.GPUPlot{}, fmt.Errorf("read what the GPUs of execution %s did: %w", e.ID, err)
	}
	return p.finish(), nil
}

// readSamples reads from the subject of the watcher that the log names, and no other's.
func (s *Service) readSamples(ctx context.Context, e executions.Execution, p *plotter) error {
	subject := events.GPUSubject(e.Watcher, e.Owner, e.ID)
	add := func(m *jetstream.RawStreamMsg) error {
		var samples api.GPUSamples
		if json.Unmarshal(m.Data, &samples) == nil {
			p.add(samples)
		}
		return nil
	}
	until := time.Now().Add(plotWithin)
	for seen, more := uint64(0), true; more; {
		if time.Now().After(until) {
			p.plot.Partial = "there is more than could be read in time"
			return nil
		}
		var err error
		if seen, more, err = s.readBatch(ctx, subject, seen, add); err != nil {
			return err
		}
	}
	return nil
}

// plotter gathers samples into points at equal distance.
type plotter struct {
	plot api.GPUPlot
	// sums are by device and point.
	sums [][]pointSum
}

type pointSum struct {
	used, usedCount, power, powerCount, memory int64
	there                                      bool
}

// newPlotter makes a plot of a time, of at most so many points, and of none shorter than a sample.
func newPlotter(attempt int, devices []string, from, until time.Time, points int) *plotter {
	p := &plotter{plot: api.GPUPlot{Attempt: attempt, From: from}}
	if len(devices) == 0 {
		return p
	}
	took := max(until.Sub(from), 0)
	step := max(took/time.Duration(points), time.Second)
	p.plot.StepMillis = step.Milliseconds()
	n := min(int(took/step)+1, points)
	for _, uuid := range devices {
		p.plot.Devices = append(p.plot.Devices, api.GPUTrace{UUID: uuid})
		p.sums = append(p.sums, make([]pointSum, n))
	}
	return p
}

// add takes a message of the watcher. What is not of the attempt, its devices and its time is no part of
// it, and one that does not hold together is nothing.
func (p *plotter) add(s api.GPUSamples) {
	if s.Attempt != p.plot.Attempt {
		return
	}
	for _, series := range s.Devices {
		d := slices.IndexFunc(p.plot.Devices, func(t api.GPUTrace) bool { return t.UUID == series.UUID })
		n := len(s.At)
		if d < 0 || len(series.UtilisationPercent) != n || len(series.MemoryBytes) != n || len(series.PowerMilliwatts) != n {
			continue
		}
		for i, at := range s.At {
			after := at.Sub(p.plot.From).Milliseconds()
			point := min(after/p.plot.StepMillis, int64(len(p.sums[d])-1))
			if after < 0 {
				point = 0 // the watcher's clock, and ours
			}
			p.sums[d][point].add(series.UtilisationPercent[i], series.MemoryBytes[i], series.PowerMilliwatts[i])
		}
	}
}

func (s *pointSum) add(percent int, memory, power int64) {
	s.there = true
	s.memory = max(s.memory, memory)
	if percent >= 0 {
		s.used, s.usedCount = s.used+int64(min(percent, 100)), s.usedCount+1
	}
	if power = min(power, mostPower); power > 0 {
		s.power, s.powerCount = s.power+power, s.powerCount+1
	}
}

// finish turns the sums into points.
func (p *plotter) finish() api.GPUPlot {
	for d, sums := range p.sums {
		trace := &p.plot.Devices[d]
		for _, s := range sums {
			percent, power := -1, int64(0)
			if s.usedCount > 0 {
				percent = int(s.used / s.usedCount)
			}
			if s.powerCount > 0 {
				power = s.power / s.powerCount
			}
			memory := s.memory
			if !s.there {
				memory = -1
			}
			trace.UtilisationPercent = append(trace.UtilisationPercent, percent)
			trace.MemoryBytes = append(trace.MemoryBytes, memory)
			trace.PowerMilliwatts = append(trace.PowerMilliwatts, power)
		}
	}
	return p.plot
}
