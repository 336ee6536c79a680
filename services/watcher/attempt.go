package watcher

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/services/api"
	"github.com/hermes-serverless/hermes/services/watcher/input"
)

// cause is why Hermes ends an attempt; the first one counts.
type cause int

const (
	none        cause = iota
	cancelled         // the orchestrator asked for it
	timedOut          // the limit of time is used up
	outputLimit       // the limit of output is used up
	shutdown          // the watcher ends and its grace period is over
	leaseLost         // the watcher cannot prove any more that it lives
	gpuFailed         // a GPU that it holds failed
	gpuMemory         // it took too much of a shared GPU
	gpuIdle           // it did not use its GPUs
)

// urgent causes leave the command no time to end by itself.
func (c cause) urgent() bool {
	return c == outputLimit || c == leaseLost || c == gpuFailed || c == gpuMemory
}

// attempt is one attempt that this watcher holds: from its request's arrival until its report is
// taken, or it turns out to be somebody else's.
type attempt struct {
	api.RunRequest
	arrived time.Time
	// suffix makes the name of its sandbox nobody else's.
	suffix string
	// halted is closed at the first cause, rushed at the first urgent one.
	halted, rushed chan struct{}
	// outdated: its version is not what it was when it was asked for, and nothing is kept for others like it.
	outdated atomic.Bool

	mu     sync.Mutex
	cause  cause
	detail string // of the cause, for people
	exited bool
	// feed is the stdin of an interactive attempt, once it is made.
	feed *input.Feed
}

func newAttempt(r api.RunRequest, arrived time.Time) *attempt {
	a := &attempt{
		RunRequest: r, arrived: arrived, suffix: rand.Text()[:8],
		halted: make(chan struct{}), rushed: make(chan struct{}),
	}
	a.outdated.Store(r.Outdated)
	return a
}

// halt asks for the attempt's end. When its commands have ended only the output's limit still
// counts: the excess may be found in what they left in the pipes.
func (a *attempt) halt(c cause) { a.haltBecause(c, "") }

// haltBecause is halt with more to say of the cause.
func (a *attempt) haltBecause(c cause, detail string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.exited && c != outputLimit {
		return
	}
	if a.cause == none {
		a.cause, a.detail = c, detail
		close(a.halted)
	}
	if c.urgent() {
		select {
		case <-a.rushed:
		default:
			close(a.rushed)
		}
	}
}

// why is the first cause, or none.
func (a *attempt) why() cause {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.cause
}

// details are what is to be said of the cause.
func (a *attempt) details() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.detail
}

// exit says that no command runs any more.
func (a *attempt) exit() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.exited = true
}

func (a *attempt) setFeed(f *input.Feed) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.feed = f
}

// input is nil if the attempt takes none while it runs, or not yet.
func (a *attempt) input() *input.Feed {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.feed
}

// closeInput is for an attempt that takes no input any more.
func (a *attempt) closeInput() {
	if f := a.input(); f != nil {
		f.Close()
	}
}

// sandboxID is unique on the machine, also when another user has made the same execution id.
func (a *attempt) sandboxID() string { return a.ID + "-" + strconv.Itoa(a.Attempt) + "-" + a.suffix }

// parseRequest reads a run request. Its error says that the message will never be a good one.
func parseRequest(m *nats.Msg, watcher string) (api.RunRequest, error) {
	var r api.RunRequest
	d := json.NewDecoder(bytes.NewReader(m.Data))
	d.DisallowUnknownFields()
	if err := d.Decode(&r); err != nil {
		return r, fmt.Errorf("run request cannot be read: %w", err)
	}
	if err := checkRef(r.AttemptRef); err != nil {
		return r, fmt.Errorf("run request: %w", err)
	}
	if want := events.RunSubject(watcher, r.Owner, r.ID); m.Subject != want {
		return r, fmt.Errorf("run request for %s came on %s", want, m.Subject)
	}
	switch k := r.Request.Kind; {
	case k != events.KindRun && k != events.KindBuild:
		return r, fmt.Errorf("run request %s: unknown kind %q", r.ID, k)
	case r.Request.Limits.TimeoutMillis <= 0 || r.Request.Limits.OutputBytes <= 0:
		return r, fmt.Errorf("run request %s: limits %+v are not complete", r.ID, r.Request.Limits)
	case r.Request.Interactive && (k != events.KindRun || r.Attempt != 1 || r.Request.Input.Blob != nil || len(r.Request.Input.Inline) > 0):
		return r, fmt.Errorf("run request %s: only the first attempt of a run, without an input, can be interactive", r.ID)
	case r.Request.Network != "" && r.Request.Network != events.NetworkOutbound:
		return r, fmt.Errorf("run request %s: unknown network %q", r.ID, r.Request.Network)
	}
	return r, nil
}

func checkRef(ref api.AttemptRef) error {
	if ref.Attempt < 1 {
		return errors.New("attempt must be 1 or more")
	}
	return errors.Join(events.CheckExecutionID(ref.ID), events.CheckUserName(ref.Owner))
}
