package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
)

// mapRun is a map at work, as the person at the terminal sees it.
type mapRun struct {
	*mapper
	report *mapReport
	ends   <-chan mapEnd
	// leave ends the waiting.
	leave context.CancelFunc

	answers chan string
	// asked: a question stands. left, cancelled: what they chose.
	asked, left, cancelled bool
}

// run works through the inputs, heeds interrupts, and ends with the sum.
func (m *mapper) run(inputs *mapInputs) error {
	ctx, leave := context.WithCancel(m.ctx)
	defer leave()
	defer m.halt()
	signals, stop := m.app.notify()
	defer stop()
	r := &mapRun{mapper: m, report: newMapReport(m), leave: leave, answers: make(chan string, 1)}
	m.progress.begin()
	r.ends = m.start(ctx, inputs)
	for open := true; open && !r.left; {
		var err error
		select {
		case end, more := <-r.ends:
			if open = more; more {
				err = r.took(end)
			}
		case signal := <-signals:
			r.interrupted(signal)
		case answer := <-r.answers:
			r.answered(ctx, answer)
		}
		if err != nil {
			return err
		}
	}
	m.progress.finish()
	return r.finish()
}

// took counts an end, and prints it where each is printed.
func (r *mapRun) took(end mapEnd) error {
	r.progress.add(r.report.add(end))
	if r.app.format != formatJSONLines {
		return nil
	}
	return r.app.printJSON(r.app.executionJSON(end.exec))
}

// interrupted asks what is wanted, where somebody can answer.
func (r *mapRun) interrupted(signal os.Signal) {
	if r.asked || r.cancelled || signal != os.Interrupt || !r.app.streams.Interactive() {
		r.detach()
		return
	}
	r.asked = true
	r.progress.hush(true)
	r.app.askAside("c: cancel the batch, d: detach and let what was accepted go on, anything else: go on? ", r.answers)
}

func (r *mapRun) answered(ctx context.Context, answer string) {
	r.asked = false
	r.progress.hush(false)
	switch answer {
	case "c", "cancel":
		r.cancelled = true
		r.halt()
		r.progress.note("the batch is being cancelled; Ctrl-C leaves it alone")
		go r.cancelAll(ctx)
	case "d", "detach", "eof":
		r.detach()
	default:
		r.progress.note("going on")
	}
}

func (r *mapRun) detach() {
	r.left = true
	r.halt()
	r.leave()
}

// cancelAll cancels until all has ended: a request may have been on its way.
func (r *mapRun) cancelAll(ctx context.Context) {
	for ctx.Err() == nil {
		if _, err := cancelBatch(ctx, r.client, r.batch); err != nil && ctx.Err() == nil {
			r.progress.obstacle(err, "it could not be cancelled yet: %s")
		}
		_ = sleep(ctx, sendPause)
	}
}

// finish prints the sum and makes the error.
func (r *mapRun) finish() error {
	if r.left {
		return r.tellLeft()
	}
	r.report.Inputs = r.accepted.Load()
	r.report.sum(r.mapper)
	var failed error
	if err := r.failed.Load(); err != nil {
		failed = *err
	}
	switch {
	case r.report.Inputs == 0 && failed != nil:
		return failed
	case r.report.Inputs == 0 && !r.cancelled && !r.resumed:
		return r.nothing()
	}
	if err := r.print(); err != nil {
		return err
	}
	switch {
	case failed != nil:
		return r.goOn(failed)
	case r.cancelled:
		return &exitError{code: exitCancelled}
	case r.report.FailedCount > 0 || r.report.IncompleteCount > 0:
		return &exitError{code: exitFailed}
	}
	return nil
}

func (r *mapRun) print() error {
	switch r.app.format {
	case formatJSON:
		return r.app.printJSON(r.report)
	case formatJSONLines:
		return nil
	}
	return r.report.print(r.app)
}

// goOn adds how the rest is sent to what stopped the sending.
func (r *mapRun) goOn(err error) error {
	e := *describe(err)
	if e.Detail == "" && e.Hint != "" {
		e.Detail = e.Hint
	}
	e.Hint = fmt.Sprintf("%d inputs were accepted before; `%s` goes on", r.accepted.Load(), r.again())
	var exit *exitError
	if errors.As(err, &exit) {
		return &exitError{code: exit.code, err: &e}
	}
	return &e
}

// tellLeft says what goes on, and how to come back.
func (r *mapRun) tellLeft() error {
	if !r.app.human() {
		return &exitError{code: exitCancelled}
	}
	if r.cancelled {
		r.app.note("left before all of batch %s had ended", r.batch)
		fmt.Fprintf(r.app.streams.Err, "→ `hermes execution cancel --batch %s` cancels the rest\n", r.batch)
		return &exitError{code: exitCancelled}
	}
	accepted := "1 input was accepted and goes on"
	if n := r.accepted.Load(); n != 1 {
		accepted = fmt.Sprintf("%d inputs were accepted and go on", n)
	}
	r.app.note("detached from batch %s: %s; nothing more is sent", r.batch, accepted)
	fmt.Fprintf(r.app.streams.Err, "→ `%s` goes on, `hermes execution cancel --batch %s` ends it\n", r.again(), r.batch)
	return &exitError{code: exitCancelled}
}
