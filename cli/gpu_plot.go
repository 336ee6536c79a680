package cli

import (
	"fmt"
	"io"
	"math"
	"slices"
	"time"

	"github.com/guptarohit/asciigraph"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/services/api"
)

const (
	// plotRows is how high a plot is, and plotColumns how wide: with its scale it fits a narrow terminal.
	plotRows, plotColumns = 6, 60
)

// plotGPUs draws what each GPU of an execution did.
func (a *app) plotGPUs(w io.Writer, p api.GPUPlot) error {
	if len(p.Devices) == 0 {
		a.note("this execution was given no GPU")
		return nil
	}
	took := time.Duration(p.StepMillis*int64(len(p.Devices[0].MemoryBytes))) * time.Millisecond
	for _, d := range p.Devices {
		if err := a.plotDevice(w, d, took); err != nil {
			return err
		}
	}
	if p.Partial != "" {
		a.note("%s", p.Partial)
	}
	return nil
}

func (a *app) plotDevice(w io.Writer, d api.GPUTrace, took time.Duration) error {
	if _, err := fmt.Fprintln(w, a.streams.Bold(d.UUID)); err != nil {
		return err
	}
	if !slices.ContainsFunc(d.MemoryBytes, func(bytes int64) bool { return bytes >= 0 }) {
		_, err := fmt.Fprintln(w, "no reading: they are taken once a second")
		return err
	}
	plots := []struct {
		what   string
		values []float64
		top    float64
		format func(float64) string
	}{
		{"utilisation", known(d.UtilisationPercent, -1), 100, func(v float64) string { return fmt.Sprintf("%.0f %%", v) }},
		{"memory", known(d.MemoryBytes, -1), 0, func(v float64) string { return size(int64(v)) }},
		{"power", known(d.PowerMilliwatts, 0), 0, func(v float64) string { return fmt.Sprintf("%.0f W", v/1000) }},
	}
	for _, p := range plots {
		if !slices.ContainsFunc(p.values, func(v float64) bool { return !math.IsNaN(v) }) {
			if _, err := fmt.Fprintf(w, "%s: the GPU does not tell\n", p.what); err != nil {
				return err
			}
			continue
		}
		if len(p.values) == 1 {
			p.values = append(p.values, p.values[0]) // a line has two ends
		}
		text := asciigraph.Plot(p.values, asciigraph.Height(plotRows), asciigraph.Width(plotColumns), asciigraph.LowerBound(0),
			asciigraph.UpperBound(max(p.top, 1)), asciigraph.YAxisValueFormatter(p.format),
			asciigraph.Caption(fmt.Sprintf("%s, %s", p.what, took.Round(time.Second))))
		if _, err := fmt.Fprintln(w, text); err != nil {
			return err
		}
	}
	return nil
}

// known are the values as a plot takes them: what is not known is a gap.
func known[T int | int64](values []T, none T) []float64 {
	all := make([]float64, len(values))
	for i, v := range values {
		if all[i] = float64(v); v == none {
			all[i] = math.NaN()
		}
	}
	return all
}

// gpuFields say what an execution took of its GPUs.
func gpuFields(u *events.GPUUsage) [][2]string {
	if u == nil {
		return nil
	}
	energy := ""
	if u.EnergyMillijoules > 0 {
		energy = fmt.Sprintf("%.1f kJ", float64(u.EnergyMillijoules)/1e6)
		if u.EnergyMillijoules < 10e6 {
			energy = fmt.Sprintf("%.1f J", float64(u.EnergyMillijoules)/1e3)
		}
	}
	used := "" // of who was gone before the first reading nothing is known
	if u.MeanUtilisationPercent > 0 || u.PeakMemoryBytes > 0 {
		used = fmt.Sprintf("%d %%", u.MeanUtilisationPercent)
	}
	return [][2]string{
		{"gpuTime", micros(u.Micros)}, {"gpuPeakMemory", bytesOf(u.PeakMemoryBytes)}, {"gpuUtilisation", used}, {"gpuEnergy", energy},
	}
}
