package top

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/projections/executions"
)

// rows are the executions that the filter lets through: those that run, the latest first; those that
// wait, the first in the queue first; those that have ended, the last first.
func (m Model) rows() []executions.Execution {
	rows := make([]executions.Execution, 0, len(m.execs))
	for _, e := range m.execs {
		if m.passes(e) {
			rows = append(rows, e)
		}
	}
	slices.SortFunc(rows, func(a, b executions.Execution) int {
		if rank(a) == 1 && rank(b) == 1 {
			return cmp.Compare(a.Number, b.Number)
		}
		return cmp.Or(cmp.Compare(rank(a), rank(b)), cmp.Compare(b.Number, a.Number))
	})
	return rows
}

func rank(e executions.Execution) int {
	switch {
	case e.Status == executions.Running:
		return 0
	case e.Status == executions.Queued:
		return 1
	}
	return 2
}

// passes says whether the filter is part of what a row shows.
func (m Model) passes(e executions.Execution) bool {
	if m.filter == "" {
		return true
	}
	text := strings.ToLower(fmt.Sprint(e.Number, " ", statusOf(e), " ", functionOf(e), " ", e.Watcher))
	return strings.Contains(text, strings.ToLower(m.filter))
}

func indexOf(rows []executions.Execution, id string) int {
	return slices.IndexFunc(rows, func(e executions.Execution) bool { return e.ID == id })
}

// statusOf is the status, or that it is about to end.
func statusOf(e executions.Execution) string {
	if e.CancelRequestedBy != "" && !e.Status.Final() {
		return "ending"
	}
	return string(e.Status)
}

func functionOf(e executions.Execution) string {
	text := e.Request.Function.String()
	if e.Request.Kind == events.KindBuild {
		text = "build " + text
	}
	if b := e.Request.Batch; b != nil {
		text += fmt.Sprintf(" #%d", b.Index)
	}
	return text
}

// elapsed is how long it waits, runs or ran.
func (m Model) elapsed(e executions.Execution) string {
	from, to := e.StartedAt, m.now
	if e.Status == executions.Queued || from.IsZero() {
		from = e.RequestedAt
	}
	if e.Status.Final() {
		to = e.EndedAt
	}
	d := max(0, to.Sub(from)).Truncate(time.Second)
	switch {
	case d >= 24*time.Hour:
		return fmt.Sprintf("%dd %02dh", d/(24*time.Hour), d/time.Hour%24)
	case d >= time.Hour:
		return fmt.Sprintf("%d:%02d:%02d", d/time.Hour, d/time.Minute%60, d/time.Second%60)
	}
	return fmt.Sprintf("%d:%02d", d/time.Minute, d/time.Second%60)
}
