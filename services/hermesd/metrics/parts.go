package metrics

import (
	"context"
	"log/slog"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/hermes-serverless/hermes/projections/projector"
	"github.com/hermes-serverless/hermes/services/orchestrator"
	"github.com/hermes-serverless/hermes/services/watcher"
)

// askTimeout bounds asking a part that has to ask the server.
const askTimeout = 2 * time.Second

// Watcher shows the process's watcher.
func (s *Set) Watcher(stats func() watcher.Stats) {
	slots := desc("hermes_slots", "Executions that may run at once on this machine.")
	busy := desc("hermes_slots_used", "Executions that are prepared, run or wound up on this machine.")
	output := desc("hermes_output_bytes_total", "Bytes that executions which have ended here have printed, and that are stored.")
	taken := desc("hermes_sandboxes_taken_total",
		"Runs by how they came by their sandbox: warm (made ahead), reused, adopted (it was being made) or cold.", "how")
	made := desc("hermes_sandboxes_prepared_total", "Sandboxes made ahead, and those that could not be.", "result")
	thrown := desc("hermes_sandboxes_discarded_total",
		"Sandboxes of the pool thrown away: unused, or worn, which earlier runs had been in.", "state")
	gpus := gpuFigures()
	pool := desc("hermes_sandboxes", "Sandboxes that wait for runs, and that are being made ahead.", "state")
	s.registry.MustRegister(figures{append(gpus.all(), slots, busy, output, taken, made, thrown, pool), func(to chan<- prometheus.Metric) {
		now := stats()
		boxes := now.Sandboxes
		for _, m := range []prometheus.Metric{
			gauge(slots, now.Slots), gauge(busy, now.Busy), counter(output, now.OutputBytes),
			counter(taken, boxes.Warm, "warm"), counter(taken, boxes.Reused, "reused"),
			counter(taken, boxes.Adopted, "adopted"), counter(taken, boxes.Cold, "cold"),
			counter(made, boxes.Made, "made"), counter(made, boxes.Failed, "failed"),
			counter(thrown, boxes.Unused, "unused"), counter(thrown, boxes.Worn, "worn"),
			gauge(pool, boxes.Waiting, "waiting"), gauge(pool, boxes.Making, "making"),
		} {
			to <- m
		}
		gpus.collect(now.GPUs, to)
	}})
}

// Orchestrator shows the process's orchestrator. What only a leader knows, only a leader shows.
func (s *Set) Orchestrator(stats func() orchestrator.Stats) {
	leads := desc("hermes_leader", "1 if this process places executions and grants attempts.")
	live := desc("hermes_executions", "Executions that have not ended, as the leader knows them.", "state")
	queue := desc("hermes_queue_length", "Executions that wait for a place on a machine, as the leader knows them.")
	ended := desc("hermes_executions_ended_total", "Executions whose end this process noted, by state and reason.", "state", "reason")
	s.registry.MustRegister(figures{[]*prometheus.Desc{leads, live, queue, ended}, func(to chan<- prometheus.Metric) {
		now := stats()
		for end, n := range now.Ended {
			to <- counter(ended, n, string(end.Status), end.Reason)
		}
		if !now.Leads {
			to <- gauge(leads, 0)
			return
		}
		to <- gauge(leads, 1)
		to <- gauge(live, now.Queued, "queued")
		to <- gauge(live, now.Running, "running")
		to <- gauge(queue, now.Waiting)
	}})
}

// Projectors shows how far the views are behind.
func (s *Set) Projectors(projectors []*projector.Projector, log *slog.Logger) {
	lag := desc("hermes_projector_lag_events", "Events of the log that this process does not know to be in the view.", "view")
	s.registry.MustRegister(figures{[]*prometheus.Desc{lag}, func(to chan<- prometheus.Metric) {
		ctx, cancel := context.WithTimeout(context.Background(), askTimeout)
		defer cancel()
		for _, p := range projectors {
			view := strings.TrimPrefix(p.Bucket(), "hermes_")
			n, err := p.Lag(ctx)
			if err != nil {
				log.Warn("cannot ask how far a view is behind", "view", view, "err", err)
				continue
			}
			to <- gauge(lag, int(n), view)
		}
	}})
}
