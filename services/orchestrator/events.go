package orchestrator

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/events/log"
	"github.com/hermes-serverless/hermes/events/streams"
	"github.com/hermes-serverless/hermes/events/streams/get"
	"github.com/hermes-serverless/hermes/projections/executions"
	"github.com/hermes-serverless/hermes/services/api"
)

const (
	// maxEvents bounds one answer, in number; eventBytes in size.
	maxEvents  = 500
	eventBytes = 768 << 10
	// eventsBound is how many events one request looks at before it answers with what it has found.
	eventsBound = 5000
)

// ownStream is a log, and the subjects of one user's events in it. The names of a user's things
// stand behind the user's own in every subject, so that nobody else's can be among them.
type ownStream struct {
	log    log.Log
	stream string
	filter string
}

// ownStreams are an owner's, or api.Everybody's.
func (s *Service) ownStreams(owner string) [2]ownStream {
	return [2]ownStream{
		{s.Executions, streams.Executions, "hermes.execution.*." + owner + ".*"},
		{s.Functions, streams.Functions, events.FunctionSubject(owner, "*")},
	}
}

// eventsCursor is the last sequence of each of the streams that has been looked at.
type eventsCursor [2]uint64

func (c eventsCursor) String() string { return fmt.Sprintf("%d.%d", c[0], c[1]) }

func parseCursor(text string) (c eventsCursor, err error) {
	if _, err = fmt.Sscanf(text, "%d.%d", &c[0], &c[1]); err != nil || c.String() != text {
		return c, api.Errorf(api.Invalid, api.InvalidArguments, "%q is not the cursor of an answer", text)
	}
	return c, nil
}

// events answers a user: with their own, or with others' if they are an operator.
func (s *Service) events(ctx context.Context, user string, ask api.EventsRequest) (api.Events, error) {
	if err := events.CheckUserName(user); err != nil {
		return api.Events{}, api.Errorf(api.Invalid, api.InvalidArguments, "%v", err) // it might be everybody
	}
	if ask.Owner == "" {
		ask.Owner = user
	}
	if ask.Owner != user {
		known, err := s.Views.User(ctx, user)
		if err != nil {
			return api.Events{}, fmt.Errorf("look whether %s is an operator: %w", user, err)
		}
		if !known.Operator || known.Disabled {
			return api.Events{}, api.Errorf(api.Unauthorized, api.NotPermitted, "the events of others are shown to the operator only").
				WithHint("the operator has a context of their own: `hermes --context hermes-operator events --all`")
		}
	}
	return s.ownersEvents(ctx, ask)
}

// allEvents answers the operator.
func (s *Service) allEvents(ctx context.Context, _ string, ask api.EventsRequest) (api.Events, error) {
	if ask.Owner == "" {
		ask.Owner = api.Everybody
	}
	return s.ownersEvents(ctx, ask)
}

// ownersEvents answers with the owner's events behind a cursor, and waits for one if there is none.
func (s *Service) ownersEvents(ctx context.Context, ask api.EventsRequest) (api.Events, error) {
	user := ask.Owner
	own := s.ownStreams(user)
	pick, cursor, err := s.eventsAsked(ctx, user, own, &ask)
	if err != nil {
		return api.Events{}, err
	}
	p := &eventsPage{service: s, pick: pick, most: ask.Limit, known: map[string]executions.Execution{}}
	p.reply.Events = []api.ListedEvent{}
	within, cancel := context.WithTimeout(ctx, min(time.Duration(ask.WaitMillis)*time.Millisecond, maxWait))
	defer cancel()
	defer context.AfterFunc(s.ending, cancel)()
	for {
		if cursor, err = p.fill(ctx, own, cursor); err != nil {
			return api.Events{}, fmt.Errorf("read the events of %s: %w", user, err)
		}
		p.reply.Cursor = cursor.String()
		more := p.reply.More
		if len(p.reply.Events) > 0 || p.looked > eventsBound || !more && within.Err() != nil {
			return p.reply, nil
		}
		if !more {
			awaitAny(within, own, cursor)
		}
	}
}

// eventsAsked checks a request and says where it begins.
func (s *Service) eventsAsked(ctx context.Context, user string, own [2]ownStream, ask *api.EventsRequest) (pick func(api.ListedEvent) bool, cursor eventsCursor, err error) {
	if err := events.CheckUserName(user); err != nil && user != api.Everybody {
		return nil, cursor, api.Errorf(api.Invalid, api.InvalidArguments, "%v", err) // it would be a filter
	}
	if ask.Limit == 0 {
		ask.Limit = maxEvents
	}
	if ask.Limit < 0 || ask.Limit > maxEvents {
		return nil, cursor, api.Errorf(api.Invalid, api.InvalidArguments, "limit %d: must be from 1 to %d", ask.Limit, maxEvents)
	}
	for _, t := range ask.Types {
		if !slices.Contains(events.Types(), t) {
			return nil, cursor, api.Errorf(api.Invalid, api.InvalidArguments, "there is no event type %q", t).
				WithHint("there are %v", events.Types())
		}
	}
	f, err := newFilter(user, api.ExecutionFilter{Function: ask.Function})
	if err != nil {
		return nil, cursor, err
	}
	pick = func(e api.ListedEvent) bool {
		return (len(ask.Types) == 0 || slices.Contains(ask.Types, e.Type)) && f.picksFunction(e.Function)
	}
	if ask.Cursor != "" {
		cursor, err = parseCursor(ask.Cursor)
		return pick, cursor, err
	}
	for i, each := range own {
		if cursor[i], err = s.before(ctx, each, ask.Since); err != nil {
			return nil, cursor, fmt.Errorf("find the events of %s since %s: %w", user, ask.Since, err)
		}
	}
	return pick, cursor, nil
}

// before is the last sequence of what was stored before the moment; of everything, if it is zero.
func (s *Service) before(ctx context.Context, own ownStream, moment time.Time) (uint64, error) {
	head, err := own.log.Head(ctx, own.filter)
	if err != nil || moment.IsZero() {
		return head, err
	}
	next, _, err := get.Since(ctx, s.JS, own.stream, own.filter, moment, 1)
	if err != nil || len(next) == 0 {
		return head, err
	}
	return next[0].Sequence - 1, nil
}

// awaitAny returns when one of the streams has something behind the cursor, or the context ends.
func awaitAny(ctx context.Context, own [2]ownStream, cursor eventsCursor) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var work sync.WaitGroup
	for i, each := range own {
		work.Go(func() {
			// Whatever it yields, an error too, is for the reader to find.
			for range each.log.Follow(ctx, each.filter, cursor[i]+1) {
				break
			}
			cancel()
		})
	}
	work.Wait()
}

// eventsPage gathers events into an answer.
type eventsPage struct {
	service *Service
	pick    func(api.ListedEvent) bool
	most    int
	reply   api.Events
	bytes   int
	looked  int
	// known are the executions that events were about, by owner and id.
	known map[string]executions.Execution
}

// fill adds what is stored behind the cursor, by time, and returns how far it has come.
func (p *eventsPage) fill(ctx context.Context, own [2]ownStream, cursor eventsCursor) (eventsCursor, error) {
	p.reply.More = false
	var queues [2][]api.Event
	var cut [2]bool
	for i, each := range own {
		for r, err := range each.log.Read(ctx, each.filter, cursor[i]+1) {
			e, err := shownEvent(events.OwnerOf(r.Subject), r, err)
			if err != nil {
				return cursor, err
			}
			// One more than are taken tells whether there are more.
			if queues[i] = append(queues[i], e); len(queues[i]) > maxEvents {
				cut[i] = true
				break
			}
		}
	}
	if n := len(queues[0]); n > 0 {
		p.service.settle(ctx, queues[0][n-1].Sequence)
	}
	for len(queues[0])+len(queues[1]) > 0 {
		i := 0
		if len(queues[0]) == 0 || len(queues[1]) > 0 && queues[1][0].Time.Before(queues[0][0].Time) {
			i = 1
		}
		// What is behind the end of a stream's part may be earlier than what the other has.
		if p.looked++; len(p.reply.Events) == p.most || p.bytes > eventBytes || p.looked > eventsBound || cut[i] && len(queues[i]) == 1 {
			p.reply.More = true
			return cursor, nil
		}
		e := queues[i][0]
		queues[i], cursor[i] = queues[i][1:], e.Sequence
		if err := p.add(ctx, e); err != nil {
			return cursor, err
		}
	}
	return cursor, nil
}

func (p *eventsPage) add(ctx context.Context, e api.Event) error {
	listed := api.ListedEvent{Event: e}
	if owner, name, err := events.ParseFunctionSubject(e.Subject); err == nil {
		var of struct{ Version string }
		_ = json.Unmarshal(e.Data, &of) // of what cannot be read the version is not known
		listed.Function = events.FunctionRef{Owner: owner, Name: name, Version: of.Version}
	} else if owner, id, err := events.ParseExecutionSubject(e.Subject); err == nil {
		about, err := p.execution(ctx, owner, id)
		if err != nil {
			return err
		}
		listed.Number, listed.Function = about.Number, about.Request.Function
	}
	if p.pick(listed) {
		p.bytes += len(e.Data) + len(e.Subject) + 500
		p.reply.Events = append(p.reply.Events, listed)
	}
	return nil
}

// execution is what an event is about. A view that is behind by more than a while knows less.
func (p *eventsPage) execution(ctx context.Context, owner, id string) (executions.Execution, error) {
	if e, ok := p.known[owner+"."+id]; ok {
		return e, nil
	}
	e, err := p.service.Views.ExecutionByID(ctx, owner, id)
	if err != nil {
		return e, err
	}
	p.known[owner+"."+id] = e
	return e, nil
}
