package instance

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/events/log/jslog"
	"github.com/hermes-serverless/hermes/events/streams"
	"github.com/hermes-serverless/hermes/events/streams/get"
	"github.com/hermes-serverless/hermes/projections/executions"
	"github.com/hermes-serverless/hermes/projections/projector/views"
	"github.com/hermes-serverless/hermes/services/usage"
)

func newUsage(js jetstream.JetStream, o serviceOptions, logs Logs, v *views.Views) *usage.Service {
	past := past{js, logs, v}
	return usage.New(usage.Options{
		Conn: o.conn, Executions: logs.Executions, Functions: logs.Functions, Users: logs.Users, Views: v,
		Since: past.since, History: past.before, Defaults: o.quota, Build: o.policy.Build,
		Version: o.version, Log: o.log.With("part", "usage"),
	})
}

// past reads what the log of executions has, and what it has let go.
type past struct {
	js    jetstream.JetStream
	logs  Logs
	views *views.Views
}

// since is the first event that was stored at the moment or later, 0 if there is none.
func (p past) since(ctx context.Context, moment time.Time) (uint64, error) {
	found, _, err := get.Since(ctx, p.js, streams.Executions, "", moment, 1)
	if errors.Is(err, get.ErrNone) || err == nil && len(found) == 0 {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	return found[0].Sequence, nil
}

// before is an execution as it was right before the sequence. One whose events are nowhere to be found
// is none.
func (p past) before(ctx context.Context, owner, id string, sequence uint64) (executions.Execution, error) {
	subject := events.ExecutionSubject(owner, id)
	e, whole, err := foldUntil(p.logs.Executions.Read(ctx, subject, 0), sequence)
	if err != nil || whole {
		return e, err
	}
	seen, err := p.views.ExecutionByID(ctx, owner, id)
	if err != nil || seen.Status == "" {
		return executions.Execution{}, err
	}
	archive := fmt.Sprint(streams.HistorySubjectPrefix, events.ExecutionPartition(id))
	e, _, err = foldUntil(jslog.NewWhole(p.js, streams.History, streams.Executions).ReadOne(ctx, subject, archive, seen.RequestedAt, seen.Sequence), sequence)
	return e, err
}

// foldUntil folds what is before the sequence; whole is whether that begins with the request.
func foldUntil(records iter.Seq2[events.Record, error], sequence uint64) (e executions.Execution, whole bool, err error) {
	for r, err := range records {
		if err != nil {
			return e, whole, fmt.Errorf("read an execution's events: %w", err)
		}
		if r.Sequence >= sequence {
			break
		}
		if _, first := r.Data.(events.ExecutionRequested); first {
			whole = true
		}
		if next, err := executions.Fold(e, r); err == nil {
			e = next
		}
	}
	return e, whole, nil
}
