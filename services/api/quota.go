package api

import (
	"fmt"
	"strconv"
	"time"

	"github.com/dustin/go-humanize"

	"github.com/hermes-serverless/hermes/projections/quotas"
)

// OpQuota asks what the caller uses of their quota.
const OpQuota = "quota" // QuotaRequest → Quotas

// OpUserQuota shows a user's quota to the operator, and sets it.
const OpUserQuota = "user.quota" // UserQuota → Quotas

// QuotaRequest asks for the caller's own.
type QuotaRequest struct{}

// UserQuota asks for a user's. What Set names is changed first.
type UserQuota struct {
	User string `json:"user"`
	// Set has figures by name, in the words of events.UserQuotaSet: 0 for the default,
	// events.QuotaUnbounded, events.QuotaNothing, seconds of GPUs and thousandths of a core.
	Set map[string]int64 `json:"set,omitempty"`
}

// Quotas are what a user uses and may, one for each figure, in a fixed order.
type Quotas struct {
	User   string  `json:"user"`
	Quotas []Quota `json:"quotas"`
}

// Quota is one figure.
type Quota struct {
	Name string `json:"name"`
	// Unit is what Used and Limit count.
	Unit string `json:"unit"`
	// Used is null for requests a second, of which nobody keeps a count.
	Used *float64 `json:"used"`
	// Limit is null where there is none.
	Limit *float64 `json:"limit"`
	// IsDefault: the limit is everybody's.
	IsDefault bool `json:"isDefault"`
	// Frees says when what is used becomes free, FreesAt at what time if that is known.
	Frees   string    `json:"frees"`
	FreesAt time.Time `json:"freesAt,omitzero"`
}

// FreesIn says when what is used becomes free, as of now.
func (q Quota) FreesIn(now time.Time) string {
	if q.FreesAt.IsZero() {
		return q.Frees
	}
	return q.Frees + ", in " + hoursAndMinutes(max(0, q.FreesAt.Sub(now)))
}

// QuotaUnit is what QuotaAmount counts.
func QuotaUnit(f quotas.Figure) string {
	switch f {
	case quotas.Concurrent, quotas.Queued:
		return "executions"
	case quotas.CPU:
		return "cores"
	case quotas.Memory, quotas.Stored:
		return "bytes"
	case quotas.GPUs:
		return "GPUs"
	case quotas.GPUTime:
		return "GPU-seconds a day"
	case quotas.Output:
		return "bytes a day"
	}
	return "requests a second"
}

// QuotaAmount is an amount in the unit that people are shown.
func QuotaAmount(f quotas.Figure, n int64) float64 {
	switch f {
	case quotas.CPU:
		return float64(n) / 1000
	case quotas.GPUTime:
		return float64(n) / 1e6
	}
	return float64(n)
}

// QuotaText says a number of QuotaAmount's.
func QuotaText(unit string, n float64) string {
	switch unit {
	case "bytes", "bytes a day":
		return humanize.IBytes(uint64(max(n, 0)))
	case "GPU-seconds a day":
		return strconv.FormatFloat(n, 'f', 0, 64)
	}
	return strconv.FormatFloat(n, 'f', -1, 64)
}

func quotaText(f quotas.Figure, n int64) string { return QuotaText(QuotaUnit(f), QuotaAmount(f, n)) }

// QuotaFrees says when what is used becomes free.
func QuotaFrees(f quotas.Figure) string {
	switch f {
	case quotas.Queued:
		return "when an execution starts or is cancelled"
	case quotas.GPUTime, quotas.Output:
		return "at 00:00 UTC"
	case quotas.Stored:
		return "when versions of functions are deleted, and when executions with large inputs end"
	case quotas.Rate:
		return "within a second"
	}
	return "when an execution ends"
}

// what says of a bound what it is of.
func whatOf(f quotas.Figure) string {
	switch f {
	case quotas.Concurrent:
		return "executions at once"
	case quotas.Queued:
		return "executions in the queue"
	case quotas.CPU:
		return "cores in use"
	case quotas.Memory:
		return "of memory in use"
	case quotas.GPUs:
		return "GPUs in use"
	case quotas.GPUTime:
		return "GPU-seconds a day"
	case quotas.Stored:
		return "of stored bundles, artifacts and inputs"
	case quotas.Output:
		return "of output a day"
	}
	return "requests a second"
}

// QuotaExceededError says which bound is in the way, how much is used of it, and when it frees up.
func QuotaExceededError(user string, o quotas.Over, now time.Time) *Error {
	limit := fmt.Sprintf("%s %s", quotaText(o.Figure, o.Limit), whatOf(o.Figure))
	if o.Never {
		ask := "this"
		if o.Asked > 0 {
			ask = fmt.Sprintf("%s asked for", quotaText(o.Figure, o.Asked))
		}
		e := Errorf(LimitReached, QuotaExceeded, "%s may have %s, and %s can never fit", user, limit, ask).
			WithHint("%s", neverHint(o.Figure))
		e.Never = true
		return e
	}
	asked := ""
	if o.Asked > 0 {
		asked = fmt.Sprintf(", and %s more asked for", quotaText(o.Figure, o.Asked))
	}
	return Errorf(LimitReached, QuotaExceeded, "%s may have %s: %s used%s", user, limit, quotaText(o.Figure, o.Used), asked).
		WithHint("it frees up %s; `hermes quota` shows yours", frees(o.Figure, now))
}

// QuotaWaitText says what an execution in the queue waits for.
func QuotaWaitText(o quotas.Over, now time.Time) string {
	limit := fmt.Sprintf("%s %s", quotaText(o.Figure, o.Limit), whatOf(o.Figure))
	if o.Never {
		return fmt.Sprintf("your quota: you may have %s, which it can never fit; cancel it, or ask the operator", limit)
	}
	asked := ""
	if o.Asked > 0 {
		asked = fmt.Sprintf(", %s asked for", quotaText(o.Figure, o.Asked))
	}
	return fmt.Sprintf("your quota: you may have %s (%s used%s); it frees up %s", limit, quotaText(o.Figure, o.Used), asked, frees(o.Figure, now))
}

// RateExceededError says how long to wait for the next request.
func RateExceededError(user string, perSecond int64, wait time.Duration) *Error {
	return Errorf(LimitReached, QuotaExceeded, "%s asks more often than the %d requests a second that they may", user, perSecond).
		WithHint("ask again in %s", max(wait.Round(time.Millisecond), time.Millisecond))
}

func frees(f quotas.Figure, now time.Time) string {
	text := QuotaFrees(f)
	if f == quotas.GPUTime || f == quotas.Output {
		text += ", in " + hoursAndMinutes(quotas.NextDay(now).Sub(now))
	}
	return text
}

// hoursAndMinutes rounds up: at that time it is over.
func hoursAndMinutes(d time.Duration) string {
	minutes := int64((d + time.Minute - 1) / time.Minute)
	return fmt.Sprintf("%dh%02dm", minutes/60, minutes%60)
}

func neverHint(f quotas.Figure) string {
	switch f {
	case quotas.CPU, quotas.Memory:
		return fmt.Sprintf("ask for less by %q in hermes.config.json, or ask the operator for more", f)
	case quotas.GPUs, quotas.GPUTime:
		return "use fewer GPUs, or ask the operator for more"
	case quotas.Stored:
		return "send less, or ask the operator for more"
	}
	return "ask the operator for more"
}
