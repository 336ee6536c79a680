package orchestrator

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/projections/executions"
	"github.com/hermes-serverless/hermes/services/api"
)

const (
	// startWithin is how long a piece of input waits for its execution's start; the client asks again.
	startWithin = 2 * time.Second
	// handOverWithin bounds a piece's way to the watcher and its answer's way back.
	handOverWithin = 2 * time.Second
)

// input hands a piece of its input to one of the user's executions: to the watcher that the log says
// runs it, which takes it only for an attempt that it holds.
func (s *Service) input(ctx context.Context, user string, ask api.ExecutionInput) (api.InputTaken, error) {
	if err := checkPiece(s.Policy, ask); err != nil {
		return api.InputTaken{}, err
	}
	e, err := s.running(ctx, user, ask.ID)
	if err != nil {
		return api.InputTaken{}, err
	}
	if err := decideInput(e, ask.ID); err != nil {
		return api.InputTaken{}, err
	}
	if e.Status == executions.Queued {
		return api.InputTaken{Offset: ask.Offset, Waiting: true}, nil
	}
	return s.handOver(ctx, e, ask)
}

func (s *Service) handOver(ctx context.Context, e executions.Execution, ask api.ExecutionInput) (api.InputTaken, error) {
	raw, err := json.Marshal(api.RunInput{
		AttemptRef: api.AttemptRef{Owner: e.Owner, ID: e.ID, Attempt: e.Attempt},
		Offset:     ask.Offset, Data: ask.Data, End: ask.End,
	})
	if err != nil {
		return api.InputTaken{}, fmt.Errorf("encode a piece of input: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, handOverWithin)
	defer cancel()
	m, err := api.Request(ctx, s.Conn, api.InputSubject(e.Watcher), raw)
	if err != nil {
		return api.InputTaken{}, api.Errorf(api.Unavailable, api.ServerUnavailable, "the watcher %s, which runs execution %s, does not answer", e.Watcher, label(e)).
			WithHint("try again")
	}
	var reply api.RunInputReply
	if err := json.Unmarshal(m.Data, &reply); err != nil {
		return api.InputTaken{}, fmt.Errorf("read the answer of watcher %s: %w", e.Watcher, err)
	}
	if !reply.Known { // it has ended, and its report is on its way
		return api.InputTaken{Offset: ask.Offset, Closed: true}, nil
	}
	return api.InputTaken{Offset: reply.Offset, Closed: reply.Closed}, nil
}

// running is what is known of an execution of the user's, once it has started if that is soon. What
// a leader in this process knows is enough: the watcher decides.
func (s *Service) running(ctx context.Context, user, id string) (executions.Execution, error) {
	if l := s.leader.Load(); l != nil {
		if e, ok := l.live(key{owner: user, id: id}); ok && e.Status == executions.Running {
			return e, nil
		}
	}
	e, err := s.fold(ctx, user, id)
	if err != nil || e.Status != executions.Queued || !e.Request.Interactive {
		return e, err
	}
	within, cancel := context.WithTimeout(ctx, startWithin)
	defer cancel()
	defer context.AfterFunc(s.ending, cancel)()
	return s.until(within, user, id, func(e executions.Execution) bool { return e.Status != executions.Queued })
}

// live is an execution that has not ended, as the leader knows it.
func (l *leader) live(k key) (executions.Execution, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if e := l.state.execs[k]; e != nil {
		return e.exec, true
	}
	return executions.Execution{}, false
}

func checkPiece(policy Policy, ask api.ExecutionInput) error {
	if err := checkIDs(ask.ID); err != nil {
		return err
	}
	switch {
	case ask.Offset < 0:
		return api.Errorf(api.Invalid, api.InvalidArguments, "offset %d: must not be negative", ask.Offset)
	case len(ask.Data) > api.MaxInputPiece:
		return api.Errorf(api.Invalid, api.InvalidArguments, "a piece of input has at most %d bytes, this one %d", api.MaxInputPiece, len(ask.Data))
	case ask.Offset > policy.MaxInputBytes-int64(len(ask.Data)):
		return api.Errorf(api.LimitReached, api.InputTooLarge, "an input has at most %d bytes, and this one would have more", policy.MaxInputBytes).
			WithHint("send less, or ask the operator to raise the limit")
	}
	return nil
}

// decideInput refuses input for what does not take any while it runs.
func decideInput(e executions.Execution, id string) error {
	switch {
	case e.Status == "":
		return api.Errorf(api.NotFound, api.NoSuchRun, "you have no execution %s", id).WithHint("`hermes execution list` shows yours")
	case !e.Request.Interactive:
		return api.Errorf(api.State, api.InvalidArguments, "execution %s takes no input while it runs", label(e)).
			WithHint("`hermes function run -i` starts one that does")
	case e.Status.Final():
		return api.Errorf(api.State, api.ProcessFinished, "execution %s has ended: %s", label(e), e.Status)
	}
	return nil
}

// givenTo is the input of an interactive execution that has ended, for one that repeats it.
func givenTo(e executions.Execution) (events.Input, error) {
	again := "give it again: --input FILE"
	switch {
	case !e.Status.Final():
		return events.Input{}, api.Errorf(api.State, api.NotEnded, "execution %s has not ended: what it is given is not all known yet", label(e)).
			WithHint("wait for its end: hermes execution wait %s", label(e))
	case e.Status == executions.Lost:
		return events.Input{}, api.Errorf(api.NotFound, api.NoSuchBlob, "what execution %s was given was lost with its watcher", label(e)).WithHint("%s", again)
	case e.Given == nil:
		return events.Input{}, nil // it never ran
	case e.Given.Cut != "":
		return events.Input{}, api.Errorf(api.NotFound, api.NoSuchBlob, "what execution %s was given is not known: %s", label(e), e.Given.Cut).WithHint("%s", again)
	}
	return e.Given.Input, nil
}

// reportedGiven is what a watcher says that an execution was given, if that can be.
func reportedGiven(state executions.Execution, given *events.Given) *events.Given {
	if given == nil || !state.Request.Interactive {
		return nil
	}
	blob := given.Input.Blob
	if len(given.Input.Inline) > events.MaxInlineInputBytes || blob != nil && events.CheckDigest(blob.Digest) != nil {
		return &events.Given{Bytes: given.Bytes, Cut: cannotBe}
	}
	return given
}
