package orchestrator

import (
	"time"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/projections/quotas"
)

// span is how long somebody held GPUs.
type span struct {
	gpus     int64
	from, to time.Time
}

// recounted is what a recount knows of a live execution.
type recounted struct {
	request events.ExecutionRequested
	running bool
	since   time.Time
}

// recount counts what a user uses from the whole log, with none of the fold's means.
func (h *quotaHistory) recount(user string) quotas.Amounts {
	var used quotas.Amounts
	today, live := h.now.Truncate(24*time.Hour), map[string]*recounted{}
	versions, pending, failed := map[string][]events.Blob{}, map[string]events.Blob{}, map[string]events.Blob{}
	var spans []span
	end := func(id string, r stored, o events.Output) {
		if e := live[id]; e.running {
			spans = append(spans, span{int64(e.request.GPUs), e.since, r.Time})
		}
		if r.Time.Truncate(24 * time.Hour).Equal(today) {
			used[quotas.Output] += o.StdoutBytes + o.StderrBytes
		}
		delete(live, id)
	}
	for _, r := range h.log {
		if r.owner != user {
			continue
		}
		if r.isFunction {
			recountFunction(r.Data, versions, pending, failed)
			continue
		}
		id := r.id
		switch d := r.Data.(type) {
		case events.ExecutionRequested:
			live[id] = &recounted{request: d}
		case events.ExecutionStarted:
			live[id].running, live[id].since = true, r.Time
		case events.ExecutionRetried:
			spans = append(spans, span{int64(live[id].request.GPUs), live[id].since, r.Time})
			live[id].running = false
		case events.ExecutionSucceeded:
			end(id, r, d.Output)
		case events.ExecutionFailed:
			end(id, r, d.Output)
		case events.ExecutionCancelled:
			end(id, r, d.Output)
		case events.ExecutionTimedOut:
			end(id, r, d.Output)
		case events.ExecutionLost:
			end(id, r, events.Output{})
		}
	}
	sizes := map[string]int64{}
	for _, e := range live {
		if e.running {
			used[quotas.Concurrent]++
			used[quotas.CPU] += e.request.Limits.CPUMillis
			used[quotas.Memory] += e.request.Limits.MemoryBytes
			used[quotas.GPUs] += int64(e.request.GPUs)
			spans = append(spans, span{int64(e.request.GPUs), e.since, h.now})
		} else {
			used[quotas.Queued]++
		}
		if e.request.Kind == events.KindBuild {
			sizes[e.request.Source.Digest] = e.request.Source.SizeBytes
		}
		if e.request.Input.Blob != nil {
			sizes[e.request.Input.Blob.Digest] = e.request.Input.Blob.SizeBytes
		}
	}
	for _, s := range spans {
		// Second by second of the day would be the naivest; the part of the span that is of today is that.
		if s.from.Before(today) {
			s.from = today
		}
		if s.to.After(s.from) {
			used[quotas.GPUTime] += s.gpus * s.to.Sub(s.from).Microseconds()
		}
	}
	for _, blobs := range versions {
		for _, b := range blobs {
			sizes[b.Digest] = b.SizeBytes
		}
	}
	for _, some := range []map[string]events.Blob{pending, failed} {
		for _, b := range some {
			sizes[b.Digest] = b.SizeBytes
		}
	}
	for _, bytes := range sizes {
		used[quotas.Stored] += bytes
	}
	return used
}

func recountFunction(data events.Data, versions map[string][]events.Blob, pending, failed map[string]events.Blob) {
	switch d := data.(type) {
	case events.FunctionRegistered:
		pending[d.Version] = d.Bundle
	case events.FunctionBuilt:
		versions[d.Version] = []events.Blob{pending[d.Version], d.Artifact}
		delete(pending, d.Version)
		delete(failed, d.Version)
	case events.FunctionBuildFailed:
		failed[d.Version] = pending[d.Version]
		delete(pending, d.Version)
	case events.FunctionDeleted:
		for _, v := range d.Versions {
			delete(versions, v)
			delete(pending, v)
			delete(failed, v)
		}
	}
}
