package watcher

import (
	"encoding/json"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/services/api"
	"github.com/hermes-serverless/hermes/services/watcher/gpu"
)

const (
	// sideAtOnce is how long each sample is a message of its own: who looks on at first sees the start.
	sideAtOnce = time.Minute
	// sideTogether is how many come in one later, so that a day of them is a few megabytes.
	sideTogether = 5
)

// side publishes what the GPUs of an attempt do beside its output, on a subject of its own: the output's
// readers do not meet it, and its sums are of the output alone. A message that is lost is a gap in a
// plot, and is not sent again.
type side struct {
	conn    *nats.Conn
	subject string
	attempt int

	mu    sync.Mutex
	first time.Time
	batch api.GPUSamples
}

func newSide(conn *nats.Conn, watcher string, a *attempt) *side {
	return &side{conn: conn, subject: events.GPUSubject(watcher, a.Owner, a.ID), attempt: a.Attempt}
}

// add takes the samples of a moment.
func (s *side) add(now gpu.Samples) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.first.IsZero() {
		s.first = now.At
	}
	if len(s.batch.At) == 0 {
		s.batch = api.GPUSamples{Attempt: s.attempt, Devices: make([]api.GPUSeries, len(now.Devices))}
	}
	s.batch.At = append(s.batch.At, now.At.UTC().Truncate(time.Millisecond))
	for i, d := range now.Devices {
		series := &s.batch.Devices[i]
		series.UUID = d.UUID
		series.UtilisationPercent = append(series.UtilisationPercent, d.UtilisationPercent)
		series.MemoryBytes = append(series.MemoryBytes, d.MemoryBytes)
		series.PowerMilliwatts = append(series.PowerMilliwatts, d.PowerMilliwatts)
	}
	if now.At.Sub(s.first) < sideAtOnce || len(s.batch.At) >= sideTogether {
		s.publish()
	}
}

// flush publishes what waits for more.
func (s *side) flush() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.publish()
}

func (s *side) publish() {
	if len(s.batch.At) == 0 {
		return
	}
	raw, err := json.Marshal(s.batch)
	s.batch = api.GPUSamples{}
	if err == nil {
		_ = s.conn.Publish(s.subject, raw) // kept by the client while there is no connection
	}
}
