package cli

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/projections/executions"
	"github.com/hermes-serverless/hermes/services/api"
)

var historyStart = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)

// historyOf is the history with one of these a second.
func historyOf(t *testing.T, all ...events.Data) api.History {
	t.Helper()
	h := api.History{Number: 15, ID: "01JDY3M8WZ0000000000000000"}
	for i, d := range all {
		raw, err := json.Marshal(d)
		if err != nil {
			t.Fatal(err)
		}
		h.Events = append(h.Events, api.Event{
			Sequence: uint64(i) + 1, ID: "event", Type: d.Type(), Source: "test", Data: raw,
			Time: historyStart.Add(time.Duration(i) * time.Second), Subject: events.ExecutionSubject("ana", h.ID),
		})
	}
	return h
}

func TestTimelineSaysWhy(t *testing.T) {
	request := events.ExecutionRequested{Kind: events.KindRun, Retries: 1, Function: events.FunctionRef{Owner: "ana", Name: "pi", Version: "1.0.0"}}
	usage, out := events.Usage{RunMicros: 3_100_000}, events.Output{StdoutBytes: 1024, StderrBytes: 1024}
	for name, c := range map[string]struct {
		history []events.Data
		want    []string
	}{
		"oom on the second attempt": {
			[]events.Data{
				request, events.ExecutionStarted{Attempt: 1, Watcher: "w1", Sandbox: "warm", SandboxMicros: 4000},
				events.ExecutionRetried{Attempt: 1, Watcher: "w1", Message: "it fell silent"},
				events.ExecutionStarted{Attempt: 2, Watcher: "w2", Sandbox: "cold", SandboxMicros: 100_000},
				events.ExecutionFailed{Attempt: 2, Reason: events.ReasonOOM, Message: "it needs more", ExitCode: 137, Usage: usage, Output: out},
			},
			[]string{
				"requested: run of ana/pi:1.0.0",
				"started: placed on watcher w1; queued 996ms, sandbox 4ms warm",
				"retried: attempt 1 is repeated because watcher w1 was lost: it fell silent",
				"started: placed on watcher w2, attempt 2; queued 900ms, sandbox 100ms cold",
				"failed: reason oom: it needs more; ran 3.1s, printed 2 KiB",
			},
		},
		"cancelled in the queue": {
			[]events.Data{request, events.ExecutionCancelRequested{By: "root"}, events.ExecutionCancelled{}},
			[]string{"requested: run of ana/pi:1.0.0", "cancel requested: by root", "cancelled: by root in the queue"},
		},
		"a timeout": {
			[]events.Data{request, events.ExecutionStarted{Attempt: 1, Watcher: "w", Sandbox: "cold"}, events.ExecutionTimedOut{Attempt: 1, TimeoutMillis: 3000, Signal: "SIGKILL", Usage: usage}},
			[]string{
				"requested: run of ana/pi:1.0.0", "started: placed on watcher w; queued 1s, sandbox 0s cold",
				"timed out: it ran longer than its timeout of 3s; SIGKILL; ran 3.1s, printed 0 B",
			},
		},
		"lost": {
			[]events.Data{request, events.ExecutionStarted{Attempt: 1, Watcher: "w", Sandbox: "cold"}, events.ExecutionLost{Attempt: 1, Watcher: "w", Message: "it fell silent"}},
			[]string{"requested: run of ana/pi:1.0.0", "started: placed on watcher w; queued 1s, sandbox 0s cold", "lost: watcher w was lost: it fell silent"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			for i, row := range timeline(historyOf(t, c.history...).Events) {
				if got := row[2] + ": " + row[3]; got != c.want[i] {
					t.Errorf("%q, want %q", got, c.want[i])
				}
				if i > 0 && row[1] != "1s" {
					t.Errorf("after %q, want 1s", row[1])
				}
			}
		})
	}
}

func TestTimelineOfAnEventThatIsNotKnown(t *testing.T) {
	h := historyOf(t, events.ExecutionRequested{Kind: events.KindRun})
	h.Events = append(h.Events, api.Event{Type: "io.hermes.execution.v9.paused", Data: []byte("{}")}, api.Event{Undecodable: "it is none"})
	rows := timeline(h.Events)
	if len(rows) != 3 || rows[1][2] != "paused" || !strings.Contains(rows[1][3], "does not know") || !strings.Contains(rows[2][3], "it is none") {
		t.Errorf("%q", rows)
	}
}

func TestInspectAtAMoment(t *testing.T) {
	h := historyOf(t, events.ExecutionRequested{Kind: events.KindRun}, events.ExecutionStarted{Attempt: 1, Watcher: "w"}, events.ExecutionSucceeded{Attempt: 1})
	for second, want := range []executions.Status{executions.Queued, executions.Running, executions.Success, executions.Success} {
		e, err := stateAt(h, historyStart.Add(time.Duration(second)*time.Second))
		if err != nil || e.Status != want || e.Number != 15 {
			t.Errorf("after %d s it is %+v, %v", second, e, err)
		}
	}
	if _, err := stateAt(h, historyStart.Add(-time.Nanosecond)); !api.IsKind(err, api.NotFound) {
		t.Errorf("before its request: %v", err)
	}
	// What cannot be read matters only when the moment is behind it.
	h.Events[2].Type = "io.hermes.execution.v9.paused"
	if e, err := stateAt(h, historyStart.Add(time.Second)); err != nil || e.Status != executions.Running {
		t.Errorf("before an unknown event it is %+v, %v", e, err)
	}
	if _, err := stateAt(h, historyStart.Add(time.Hour)); err == nil {
		t.Error("a history with an unknown event was folded")
	}
}
