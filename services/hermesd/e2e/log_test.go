package e2e

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/events/log/jslog"
	"github.com/hermes-serverless/hermes/events/streams"
	"github.com/hermes-serverless/hermes/projections/executions"
	"github.com/hermes-serverless/hermes/services/api"
)

// operator reads the streams themselves.
func operator(t *testing.T, url, seed string) jetstream.JetStream {
	t.Helper()
	sign, err := nats.NkeyOptionFromSeed(seed)
	must(t, err)
	nc, err := nats.Connect(url, sign)
	must(t, err)
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	must(t, err)
	return js
}

// checkLog folds the log of all executions, which have ended, and returns how each is. Every event
// must fit, every execution end once, and every attempt start once.
func checkLog(t *testing.T, js jetstream.JetStream) map[string]executions.Execution {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	all := map[string]executions.Execution{}
	starts := map[api.AttemptRef]int{}
	requests, ends := map[string]int{}, map[string]int{}
	for record, err := range jslog.New(js, streams.Executions).Read(ctx, "hermes.execution.>", 0) {
		must(t, err)
		owner, id, err := events.ParseExecutionSubject(record.Subject)
		must(t, err)
		if all[id], err = executions.Fold(all[id], record); err != nil {
			t.Errorf("event %d of execution %s is not legal: %v", record.Sequence, id, err)
		}
		switch d := record.Data.(type) {
		case events.ExecutionRequested:
			requests[id]++
		case events.ExecutionStarted:
			starts[api.AttemptRef{Owner: owner, ID: id, Attempt: d.Attempt}]++
		case events.ExecutionCancelRequested, events.ExecutionRetried:
		default:
			ends[id]++
		}
	}
	for id, e := range all {
		if requests[id] != 1 || ends[id] != 1 || !e.Status.Final() {
			t.Errorf("execution %s was requested %d times and ended %d times; it is %s", id, requests[id], ends[id], e.Status)
		}
	}
	for attempt, n := range starts {
		if n != 1 {
			t.Errorf("attempt %+v was started %d times", attempt, n)
		}
	}
	return all
}

// checkQueueEmpty waits until the last run requests have been taken away.
func checkQueueEmpty(t *testing.T, js jetstream.JetStream) {
	t.Helper()
	eventually(t, "an empty "+streams.Runs, func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		runs, err := js.Stream(ctx, streams.Runs)
		must(t, err)
		return runs.CachedInfo().State.Msgs == 0
	})
}

// checkViews compares all views with folds of their streams, as the operator would.
func checkViews(t *testing.T, u *user) {
	t.Helper()
	if r := u.command(t, programs.hermesd, nil, "projection", "verify"); r.code != 0 {
		t.Errorf("projection verify: exit code %d\n%s%s", r.code, tail(r.stdout), tail(r.stderr))
	}
}

// checkSums compares stored output with what the end of its execution says was printed.
func checkSums(t *testing.T, e executions.Execution, o output) {
	t.Helper()
	sum := sha256.Sum256(o.all)
	if int64(len(o.stdout)) != e.Output.StdoutBytes || int64(len(o.stderr)) != e.Output.StderrBytes || hex.EncodeToString(sum[:]) != e.Output.SHA256 {
		t.Errorf("execution %s printed %d and %d bytes with the sum %s; stored are %d and %d with %x",
			e.ID, e.Output.StdoutBytes, e.Output.StderrBytes, e.Output.SHA256, len(o.stdout), len(o.stderr), sum)
	}
	if o.end == nil || o.end.SHA256 != e.Output.SHA256 || o.end.Chunks != e.Output.Chunks || o.end.Cut != e.Output.Cut {
		t.Errorf("execution %s: its output's end message %+v is not what its end says: %+v", e.ID, o.end, e.Output)
	}
}
