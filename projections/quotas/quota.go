// Package quotas folds the events of executions and functions into what each user uses, and says
// what an operator's bounds still leave them.
//
// What is in use now and what a day has taken come from the log alone. Requests a second leave no
// event; their bound is here and counted at the edge of the API.
package quotas

import (
	"fmt"
	"strings"

	"github.com/hermes-serverless/hermes/events"
)

// Figure is one of the things that a quota bounds.
type Figure int

// The figures, in the order in which they are shown. Concurrent, CPU, Memory and GPUs are held by
// what has been given a place; what would exceed one waits. What would exceed another is refused.
const (
	// Concurrent executions hold a place on a watcher.
	Concurrent Figure = iota
	// Queued executions were accepted and have not started.
	Queued
	// CPU is in thousandths of a core.
	CPU
	// Memory is in bytes.
	Memory
	// GPUs are devices, or parts of one.
	GPUs
	// GPUTime is held GPUs times microseconds, of a day in UTC.
	GPUTime
	// Stored is the bytes of different bundles, artifacts and inputs that the user's functions and
	// live executions name.
	Stored
	// Output is the bytes that the executions which ended on a day in UTC printed.
	Output
	// Rate is requests a second.
	Rate
	// Figures is how many there are.
	Figures
)

var names = [Figures]string{"concurrent", "queued", "cpus", "memory", "gpus", "gpu-seconds", "stored", "output", "rate"}

// String is the figure's name in flags, tables and errors.
func (f Figure) String() string { return names[f] }

// All returns the figures in their order.
func All() []Figure {
	all := make([]Figure, Figures)
	for i := range all {
		all[i] = Figure(i)
	}
	return all
}

// Find returns the figure of that name.
func Find(name string) (Figure, bool) {
	for f, known := range names {
		if known == name {
			return Figure(f), true
		}
	}
	return 0, false
}

// Amounts is a number for each figure, in its unit.
type Amounts [Figures]int64

// Add returns the sums.
func (a Amounts) Add(b Amounts) Amounts {
	for f := range a {
		a[f] += b[f]
	}
	return a
}

// Nothing is a limit that allows none of a figure.
const Nothing = -1

// Limits are the most of each figure: 0 is no bound, Nothing none at all.
type Limits Amounts

// Most is a figure's bound, and whether it has one.
func (l Limits) Most(f Figure) (most int64, bounded bool) {
	return max(l[f], 0), l[f] != 0
}

const microsPerSecond = 1_000_000

// Resolve returns what holds for a user: what the operator set for them, the defaults for the rest.
func Resolve(set events.UserQuotaSet, defaults Limits) Limits {
	l := defaults
	for f, n := range chosen(set) {
		switch {
		case n == events.QuotaUnbounded:
			l[f] = 0
		case n == events.QuotaNothing:
			l[f] = Nothing
		case n > 0 && Figure(f) == GPUTime:
			l[f] = min(n, maxGPUSeconds) * microsPerSecond
		case n > 0:
			l[f] = n
		}
	}
	return l
}

// maxGPUSeconds keeps a sum of microseconds far from the end of its numbers.
const maxGPUSeconds = 1 << 40

// chosen is what an event says of each figure, as it says it.
func chosen(set events.UserQuotaSet) Amounts {
	return Amounts{
		Concurrent: int64(set.ConcurrentExecutions), Queued: int64(set.QueuedExecutions), CPU: set.CPUMillis, Memory: set.MemoryBytes,
		GPUs: int64(set.GPUs), GPUTime: set.GPUSecondsPerDay, Stored: set.StoredBytes, Output: set.OutputBytesPerDay, Rate: set.RequestsPerSecond,
	}
}

// IsSet reports whether the operator has set the figure for this user.
func IsSet(set events.UserQuotaSet, f Figure) bool { return chosen(set)[f] != 0 }

// Words says what the operator has set, as flags would: "queued=5 gpus=0". Figures are in the units of
// events.UserQuotaSet.
func Words(set events.UserQuotaSet) string {
	var words []string
	for f, n := range chosen(set) {
		switch {
		case n == events.QuotaUnbounded:
			words = append(words, Figure(f).String()+"=unlimited")
		case n == events.QuotaNothing:
			words = append(words, Figure(f).String()+"=0")
		case n != 0:
			words = append(words, fmt.Sprint(Figure(f), "=", n))
		}
	}
	return strings.Join(words, " ")
}

// With returns the event with one figure changed, in the words of events.UserQuotaSet: seconds, not
// microseconds, 0 for the default.
func With(set events.UserQuotaSet, f Figure, n int64) events.UserQuotaSet {
	switch f {
	case Concurrent:
		set.ConcurrentExecutions = int(n)
	case Queued:
		set.QueuedExecutions = int(n)
	case CPU:
		set.CPUMillis = n
	case Memory:
		set.MemoryBytes = n
	case GPUs:
		set.GPUs = int(n)
	case GPUTime:
		set.GPUSecondsPerDay = n
	case Stored:
		set.StoredBytes = n
	case Output:
		set.OutputBytesPerDay = n
	case Rate:
		set.RequestsPerSecond = n
	}
	return set
}

// Within lowers the limits of an execution, where nobody asked for them, to its user's quota: else
// what the operator gives by default would be more than the user may ever have.
func Within(l Limits, limits events.Limits) events.Limits {
	if most, bounded := l.Most(CPU); bounded && most > 0 {
		limits.CPUMillis = min(limits.CPUMillis, most)
	}
	if most, bounded := l.Most(Memory); bounded && most > 0 {
		limits.MemoryBytes = min(limits.MemoryBytes, most)
	}
	return limits
}
