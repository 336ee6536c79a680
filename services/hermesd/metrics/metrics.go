// Package metrics shows Prometheus what the parts of an instance do. It asks them when it is asked:
// they keep plain counters and know nothing of it. No user, function or execution is a label: there
// are too many, and they are nobody else's business.
package metrics

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
)

// Set is what one process shows. Methods that add a part are called once for it, before it is shown.
type Set struct {
	registry *prometheus.Registry
	create   *prometheus.HistogramVec
	remove   *prometheus.HistogramVec
}

// New returns a set that shows the process itself.
func New(version string) *Set {
	s := &Set{
		registry: prometheus.NewRegistry(),
		create:   durations("hermes_sandbox_create_seconds", "How long it took to make a sandbox."),
		remove:   durations("hermes_sandbox_remove_seconds", "How long it took to remove a sandbox."),
	}
	info := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "hermes_build_info", Help: "1, with the version of this hermesd.", ConstLabels: prometheus.Labels{"version": version},
	})
	info.Set(1)
	s.registry.MustRegister(info, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return s
}

// durations counts from milliseconds, which a busy machine's kernel takes, to the deadline of a creation.
func durations(name, help string) *prometheus.HistogramVec {
	return prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: name, Help: help, Buckets: []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 20, 40},
	}, []string{"result"})
}

// figures turns what a part says of itself into metrics, whenever it is asked.
type figures struct {
	all     []*prometheus.Desc
	collect func(chan<- prometheus.Metric)
}

// Describe implements prometheus.Collector.
func (f figures) Describe(to chan<- *prometheus.Desc) {
	for _, d := range f.all {
		to <- d
	}
}

// Collect implements prometheus.Collector.
func (f figures) Collect(to chan<- prometheus.Metric) { f.collect(to) }

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(name, help, labels, nil)
}

func gauge(d *prometheus.Desc, value int, labels ...string) prometheus.Metric {
	return prometheus.MustNewConstMetric(d, prometheus.GaugeValue, float64(value), labels...)
}

func counter(d *prometheus.Desc, value uint64, labels ...string) prometheus.Metric {
	return prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(value), labels...)
}
