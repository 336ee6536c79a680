package quotas

import (
	"time"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/projections/executions"
	"github.com/hermes-serverless/hermes/projections/functions"
)

// Book is the fold of the logs of executions and functions into what each user uses. It takes the
// records of each log in their order; one that comes again changes nothing, and one that cannot
// follow what came before it is refused by an *events.ImpossibleError and changes nothing either. It
// has no lock and no clock.
type Book struct {
	users     map[string]*account
	functions map[string]functions.Function
	// executions is the last record of the executions' log that was taken.
	executions uint64
}

// NewBook returns an empty one.
func NewBook() *Book {
	return &Book{users: map[string]*account{}, functions: map[string]functions.Function{}}
}

// account is one user's.
type account struct {
	// live are the executions that have not ended.
	live map[string]executions.Execution
	// onGPUs are the ids of those that run with some.
	onGPUs map[string]bool
	// held is what they hold, and what is stored.
	held Amounts
	// blobs are what is stored, by digest.
	blobs map[string]*stored
	// day is that of the latest event; gpuMicros and outputBytes are what ended attempts took of it.
	day                    time.Time
	gpuMicros, outputBytes int64
}

type stored struct {
	bytes int64
	names int
}

func (b *Book) account(user string) *account {
	a := b.users[user]
	if a == nil {
		a = &account{live: map[string]executions.Execution{}, onGPUs: map[string]bool{}, blobs: map[string]*stored{}}
		b.users[user] = a
	}
	return a
}

// Load puts in an execution that lives as of the sequence from which on the log is then taken. It
// is for a book that does not begin with the log.
func (b *Book) Load(e executions.Execution) {
	b.account(e.Owner).put(e)
	b.executions = max(b.executions, e.Sequence)
}

// Skip says that the executions' log has been taken up to the sequence.
func (b *Book) Skip(sequence uint64) { b.executions = max(b.executions, sequence) }

// Executions is the sequence of the executions' log up to which it has been taken.
func (b *Book) Executions() uint64 { return b.executions }

// Execution takes the next record of the executions' log.
func (b *Book) Execution(r events.Record) error {
	if r.Sequence <= b.executions {
		return nil
	}
	b.executions = r.Sequence
	owner, id, err := events.ParseExecutionSubject(r.Subject)
	if err != nil {
		return err
	}
	if _, forgotten := r.Data.(events.ExecutionsForgotten); forgotten {
		delete(b.users, owner)
		return nil
	}
	before := b.users[owner].find(id)
	after, err := executions.Fold(before, r)
	if err != nil {
		return err
	}
	a := b.account(owner)
	a.turn(r.Time)
	a.drop(before)
	if before.Status == executions.Running && after.Status != executions.Running {
		a.gpuMicros += gpuMicros(before, a.day, r.Time)
	}
	if after.Status.Final() {
		if Day(r.Time).Equal(a.day) {
			a.outputBytes += after.Output.StdoutBytes + after.Output.StderrBytes
		}
		return nil
	}
	a.put(after)
	return nil
}

func (a *account) find(id string) executions.Execution {
	if a == nil {
		return executions.Execution{}
	}
	return a.live[id]
}

// Knows reports whether the execution lives.
func (b *Book) Knows(owner, id string) bool { return b.users[owner].find(id).Status != "" }

// put adds a live execution.
func (a *account) put(e executions.Execution) {
	// What no figure needs is not kept twice.
	e.Request.Input.Inline, e.Request.Args, e.Request.Env = nil, nil, nil
	a.live[e.ID] = e
	if e.Status == executions.Running && e.Request.GPUs > 0 {
		a.onGPUs[e.ID] = true
	}
	a.held = a.held.Add(holds(e))
	for _, blob := range Blobs(e.Request) {
		a.name(blob)
	}
}

// drop undoes put; what does not exist is not there.
func (a *account) drop(e executions.Execution) {
	if e.Status == "" {
		return
	}
	delete(a.live, e.ID)
	delete(a.onGPUs, e.ID)
	for f, n := range holds(e) {
		a.held[f] -= n
	}
	for _, blob := range Blobs(e.Request) {
		a.unname(blob)
	}
}

// holds is what a live execution has of its user's quota.
func holds(e executions.Execution) Amounts {
	ask := Ask(e.Request)
	if e.Status == executions.Running {
		ask[Queued] = 0
		return ask
	}
	return Amounts{Queued: 1}
}

// turn begins a new day when an event is of one.
func (a *account) turn(now time.Time) {
	if day := Day(now); day.After(a.day) {
		a.day, a.gpuMicros, a.outputBytes = day, 0, 0
	}
}

// gpuMicros is what a running attempt took since the day began, until now.
func gpuMicros(e executions.Execution, day, now time.Time) int64 {
	if e.StartedAt.After(day) {
		day = e.StartedAt
	}
	return int64(e.Request.GPUs) * max(0, now.Sub(day).Microseconds())
}

// Use is what the user uses now: what ended on an earlier day counts no more.
func (b *Book) Use(user string, now time.Time) Amounts {
	a := b.users[user]
	if a == nil {
		return Amounts{}
	}
	used := a.held
	day := a.day
	if today := Day(now); today.After(day) {
		day = today
	} else {
		used[GPUTime], used[Output] = a.gpuMicros, a.outputBytes
	}
	for id := range a.onGPUs {
		used[GPUTime] += gpuMicros(a.live[id], day, now)
	}
	return used
}
