package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/hermes-serverless/hermes/cli/follow"
	"github.com/hermes-serverless/hermes/services/api"
)

// detachTime is how long a detach waits for the output to let go of a pipe that nobody reads.
const detachTime = 500 * time.Millisecond

// viewer shows an execution to a person and heeds their interrupts.
type viewer struct {
	app    *app
	client *api.Client
	ref    api.ExecutionRef
	live   *follow.Live
	// fromStart is for an execution that has run before the subscription.
	fromStart bool
	// from is where its output is shown from.
	from position
	// until is how long the execution may still not be there.
	until time.Time
	// write takes the output.
	write func(api.Chunk) error
	// typing sends stdin to an interactive execution; nil otherwise.
	typing *typing

	answers chan string
	asked   bool
}

func (a *app) newViewer(client *api.Client, id string) *viewer {
	return &viewer{
		app: a, client: client, ref: api.ExecutionRef{ID: id},
		write: splitOutput(a.streams.Out, a.streams.Err), answers: make(chan string, 1),
	}
}

// subscribe begins to listen. It comes before the request that makes the execution, so that
// nothing of its output is missed.
func (v *viewer) subscribe() (err error) {
	v.live, err = follow.Subscribe(v.client, v.ref.ID)
	return err
}

func (v *viewer) close() { v.live.Close() }

// watchNew makes an execution by a request, and hands its output over until it has ended.
func (v *viewer) watchNew(ctx context.Context, request func() (api.Accepted, error)) (api.Execution, error) {
	if err := v.subscribe(); err != nil {
		return api.Execution{}, err
	}
	defer v.close()
	accepted, err := request()
	if err != nil {
		return api.Execution{}, err
	}
	v.ref.MinSequence = accepted.Sequence
	if v.typing != nil {
		defer v.typing.forward(ctx)()
	}
	return v.watch(ctx, true)
}

type watched struct {
	exec api.Execution
	err  error
}

// watch shows the output until the execution has ended. An interrupt ends the watching; where
// asks is true, a person is first asked what they want.
func (v *viewer) watch(ctx context.Context, asks bool) (api.Execution, error) {
	signals, stop := v.app.notify()
	defer stop()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ended := make(chan watched, 1)
	go func() {
		e, err := follow.Follow(ctx, follow.Options{
			Source: follow.Execution{Client: v.client, Ref: v.ref, Live: v.live, Until: v.until},
			Live:   v.live.Messages, Reconnected: v.live.Reconnected, FromStart: v.fromStart, After: v.ref.MinSequence,
			Attempt: v.from.attempt, From: v.from.offset,
			Write: v.write, Note: v.app.note,
		})
		ended <- watched{e, err}
	}()
	for {
		select {
		case w := <-ended:
			return w.exec, w.err
		case signal := <-signals:
			if !asks || v.asked || signal != os.Interrupt || !v.app.streams.Interactive() {
				if v.asked {
					fmt.Fprintln(v.app.streams.Err) // behind the question
				}
				return v.detach(cancel, ended, asks)
			}
			v.ask()
		case answer := <-v.answers:
			v.asked = false
			switch strings.ToLower(strings.TrimSpace(answer)) {
			case "c", "cancel":
				v.cancel(ctx)
			case "d", "detach", "eof":
				return v.detach(cancel, ended, asks)
			default:
				v.app.note("watching on")
			}
		}
	}
}

// ask reads the answer elsewhere: meanwhile the output goes on, and a second interrupt is heard.
func (v *viewer) ask() {
	v.asked = true
	const question = "c: cancel it, d: detach and let it run, anything else: go on watching? "
	if v.typing != nil && v.typing.answer(v.answers) {
		fmt.Fprint(v.app.streams.Err, "\n"+question)
		return
	}
	v.app.askAside(question, v.answers)
}

// askAside asks a person, and reads their answer elsewhere.
func (a *app) askAside(question string, answers chan<- string) {
	fmt.Fprint(a.streams.Err, "\n"+question)
	go func() {
		line, err := bufio.NewReader(a.streams.In).ReadString('\n')
		answer := strings.ToLower(strings.TrimSpace(line))
		if err != nil && answer == "" {
			answer = "eof"
		}
		answers <- answer
	}()
}

func (v *viewer) cancel(ctx context.Context) {
	_, err := api.Call[api.Execution](ctx, v.client, api.OpExecutionCancel, v.ref)
	var e *api.Error
	switch {
	case errors.As(err, &e) && e.Name == api.ProcessFinished:
	case err != nil:
		v.app.note("it could not be cancelled: %s", describe(err).Message)
	default:
		v.app.note("it is being cancelled")
	}
}

// detach stops watching and says how to come back.
func (v *viewer) detach(stop context.CancelFunc, ended <-chan watched, hint bool) (api.Execution, error) {
	stop()
	var w watched
	select {
	case w = <-ended:
	case <-time.After(detachTime):
	}
	if hint && v.app.human() {
		ctx, cancel := context.WithTimeout(context.Background(), detachTime)
		defer cancel()
		w.exec = v.app.numbered(ctx, v.client, w.exec)
		id := name(w.exec, v.ref.ID)
		v.app.note("detached; it goes on")
		fmt.Fprintf(v.app.streams.Err, "→ `hermes execution logs %s -f` shows it again, `hermes execution cancel %s` ends it\n", id, id)
	}
	return w.exec, &exitError{code: exitCancelled}
}
