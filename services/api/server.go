package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"
)

// maxConcurrent bounds the requests that one endpoint works on at once; more wait in the connection.
const maxConcurrent = 256

// requestTimeout bounds the work on one request; the longest are those that wait on purpose.
const requestTimeout = 60 * time.Second

const (
	// refuseAfter is when those are refused who ask more than they may, maxLate how many such refusals are
	// remembered.
	refuseAfter = time.Second
	maxLate     = 8192
)

// Server answers operations on a connection, as a NATS micro service: `nats micro` lists it.
type Server struct {
	svc  micro.Service
	conn *nats.Conn
	log  *slog.Logger
	// ctx ends when Stop has waited for the requests in work.
	ctx    context.Context
	cancel context.CancelFunc
	work   sync.WaitGroup
	// limit refuses a user's request before anything is done for it; nil: none.
	limit func(user string) error
	// readOnly is the answer to whoever would change something; nil: they may.
	readOnly error
	// asks and waits are whose requests of users are worked on.
	asks, waits *Turns
	pace        *pace
	// late is how many refusals are still to be told.
	late atomic.Int64
}

// NewServer starts a service without endpoints. name is letters, digits and '-'; version is semver.
func NewServer(nc *nats.Conn, name, version, description string, log *slog.Logger) (*Server, error) {
	svc, err := micro.AddService(nc, micro.Config{Name: name, Version: version, Description: description})
	if err != nil {
		return nil, fmt.Errorf("start the service %s: %w", name, err)
	}
	s := &Server{svc: svc, conn: nc, log: log, pace: processPace}
	s.asks, s.waits = newTurns(askTurns, s.pace, asked), newTurns(waitTurns, s.pace, waited)
	s.ctx, s.cancel = context.WithCancel(context.Background())
	return s, nil
}

// Limit has f asked about the user of each request, before anything else is done for it: its error is
// the answer. It is called before the endpoints are added, and f must not wait.
func (s *Server) Limit(f func(user string) error) { s.limit = f }

// ReadOnly has everything but what only looks refused by this error. It is called before the endpoints
// are added; nil changes nothing.
func (s *Server) ReadOnly(why error) { s.readOnly = why }

// looks are the operations that change nothing.
var looks = []string{
	OpInfo, OpFunctionList, OpFunctionInspect, OpExecutionList, OpExecutionInspect, OpExecutionWait, OpExecutionOutput,
	OpExecutionHistory, OpEvents, "admin-" + OpEvents,
}

// Stop takes no more requests and waits for the ones in work.
func (s *Server) Stop() error {
	err := s.svc.Stop()
	s.work.Wait()
	s.cancel()
	return err
}

// RawHandler answers a request with a message of its own making. caller is the name in the
// subject: a user, or a watcher.
type RawHandler func(ctx context.Context, caller string, raw []byte) (nats.Header, []byte, error)

// userSubjects begin the subjects of users' requests.
const userSubjects = "hermes.api."

// HandleUser answers an operation of users.
func HandleUser[Request, Reply any](s *Server, op string, h func(context.Context, string, Request) (Reply, error)) error {
	return s.Handle(op, userSubjects+"*."+op, JSON(h))
}

// HandleUserWait answers an operation of users that waits for something to happen: many of one user may
// be at work, for they do nothing.
func HandleUserWait[Request, Reply any](s *Server, op string, h func(context.Context, string, Request) (Reply, error)) error {
	return s.handleInTurn(op, userSubjects+"*."+op, s.waits, JSON(h))
}

// HandleWatcher answers an operation of watchers.
func HandleWatcher[Request, Reply any](s *Server, op string, h func(context.Context, string, Request) (Reply, error)) error {
	return s.Handle("watch-"+op, "hermes.watch.*."+op, JSON(h))
}

// HandleLogin answers an operation of clients that have not logged in; the caller is their key.
func HandleLogin[Request, Reply any](s *Server, op string, h func(context.Context, string, Request) (Reply, error)) error {
	return s.Handle("login-"+op, "hermes.login.*."+op, JSON(h))
}

// HandleAdmin answers an operation of the operator.
func HandleAdmin[Request, Reply any](s *Server, op string, h func(context.Context, string, Request) (Reply, error)) error {
	return s.Handle("admin-"+op, "hermes.admin.*."+op, JSON(h))
}

// JSON makes a RawHandler of a typed one. A field that the request does not have is refused: it
// would be an option that the user believes in and nobody heeds.
func JSON[Request, Reply any](h func(context.Context, string, Request) (Reply, error)) RawHandler {
	return func(ctx context.Context, caller string, raw []byte) (nats.Header, []byte, error) {
		var request Request
		d := json.NewDecoder(bytes.NewReader(raw))
		d.DisallowUnknownFields()
		if err := d.Decode(&request); err != nil {
			return nil, nil, Errorf(Invalid, InvalidArguments, "the request cannot be read: %v", err).
				WithHint("client and server may be of different versions")
		}
		reply, err := h(ctx, caller, request)
		if err != nil {
			return nil, nil, err
		}
		body, err := json.Marshal(reply)
		return nil, body, err
	}
}

// Handle answers requests on the subject, whose third token is the caller. The name is for
// `nats micro`. Users' requests are worked on in their turn.
func (s *Server) Handle(name, subject string, h RawHandler) error {
	if strings.HasPrefix(subject, userSubjects) {
		return s.handleInTurn(name, subject, s.asks, h)
	}
	places := make(chan struct{}, maxConcurrent)
	h = s.unlessReadOnly(name, h)
	handler := micro.HandlerFunc(func(r micro.Request) {
		places <- struct{}{}
		s.work.Add(1)
		go func() {
			defer func() { <-places; s.work.Done() }()
			s.answer(r, name, h)
		}()
	})
	return s.addEndpoint(name, subject, handler)
}

// handleInTurn answers what a user asks when it is their turn; what they ask beyond all measure it refuses.
func (s *Server) handleInTurn(name, subject string, t *Turns, h RawHandler) error {
	h = s.unlessReadOnly(name, h)
	return s.addEndpoint(name, subject, micro.HandlerFunc(func(r micro.Request) {
		caller := callerOf(r)
		if s.limit != nil {
			if err := s.limit(caller); err != nil {
				s.refuseInTurn(r, name, caller, err)
				return
			}
		}
		s.work.Add(1)
		taken := t.Take(caller, len(r.Data()), func() {
			defer s.work.Done()
			s.answer(r, name, h)
		})
		if !taken {
			defer s.work.Done()
			s.refuseInTurn(r, name, caller, Errorf(LimitReached, TooManyRequests, "%s has too many requests that are not answered yet: at most %d may wait, and all of them may have %d MiB",
				caller, t.waiting, t.bytes>>20).WithHint("wait for answers before you ask more"))
		}
	}))
}

// unlessReadOnly is the handler, or the one that says why nothing can be changed.
func (s *Server) unlessReadOnly(name string, h RawHandler) RawHandler {
	if s.readOnly == nil || slices.Contains(looks, name) {
		return h
	}
	return func(context.Context, string, []byte) (nats.Header, []byte, error) { return nil, nil, s.readOnly }
}

func (s *Server) addEndpoint(name, subject string, handler micro.HandlerFunc) error {
	endpoint := strings.ReplaceAll(name, ".", "-")
	if err := s.svc.AddEndpoint(endpoint, handler, micro.WithEndpointSubject(subject)); err != nil {
		return fmt.Errorf("answer on %s: %w", subject, err)
	}
	return nil
}

func (s *Server) answer(r micro.Request, name string, h RawHandler) {
	caller := callerOf(r)
	header, body, err := s.guarded(r, caller, name, h)
	if err == nil {
		s.respond(r.Reply(), name, caller, header, body)
		return
	}
	s.refuse(r, name, caller, err)
}

func callerOf(r micro.Request) string {
	if tokens := strings.SplitN(r.Subject(), ".", 4); len(tokens) > 2 {
		return tokens[2]
	}
	return ""
}

// refuse answers with what a user may know of the error.
func (s *Server) refuse(r micro.Request, name, caller string, err error) {
	header, body := s.refusal(name, caller, err)
	s.respond(r.Reply(), name, caller, header, body)
}

// refuseInTurn refuses at once who asks within measure, and later who does not: else they would ask
// again at once, and refusing them would take the process's time.
func (s *Server) refuseInTurn(r micro.Request, name, caller string, err error) {
	now := time.Now()
	s.pace.charge(caller, refusalCosts, now)
	// Not the request itself is kept until later: its data would stay in memory.
	reply := r.Reply()
	if reply == "" {
		return // nobody hears of it
	}
	if s.pace.wait(caller, now) == 0 {
		s.refuse(r, name, caller, err)
		return
	}
	if s.late.Add(1) > maxLate {
		s.late.Add(-1)
		return // who asks so much does not hear of it
	}
	time.AfterFunc(refuseAfter, func() {
		defer s.late.Add(-1)
		header, body := s.refusal(name, caller, err)
		s.respond(reply, name, caller, header, body)
	})
}

// refusal is the answer that says what a user may know of the error.
func (s *Server) refusal(name, caller string, err error) (nats.Header, []byte) {
	e, ok := AsError(err)
	switch {
	case ok:
	case errors.Is(err, context.Canceled):
		// It came in while the service was stopping.
		e = Errorf(Unavailable, ServerUnavailable, "the server is stopping").WithHint("try again")
	default:
		s.log.Error("request failed", "op", name, "caller", caller, "err", err)
		e = publicError(err)
	}
	raw, _ := json.Marshal(e)
	header := nats.Header{
		micro.ErrorHeader:     {strings.Join(strings.Fields(e.Message), " ")},
		micro.ErrorCodeHeader: {string(e.Kind)},
	}
	return header, raw
}

// respond is not the request's own: that keeps an error in the request, which micro reads when the
// handler has returned, and this runs beside it. A request that wants no answer gets none.
func (s *Server) respond(reply, name, caller string, header nats.Header, body []byte) {
	if reply == "" {
		return
	}
	err := s.conn.PublishMsg(&nats.Msg{Subject: reply, Header: header, Data: body})
	if err != nil && !errors.Is(err, nats.ErrConnectionClosed) {
		s.log.Warn("cannot answer", "op", name, "caller", caller, "err", err)
	}
}

// guarded turns a panic into an internal error: one bad request must not end the server.
func (s *Server) guarded(r micro.Request, caller, name string, h RawHandler) (header nats.Header, body []byte, err error) {
	defer func() {
		if p := recover(); p != nil {
			s.log.Error("panic", "op", name, "caller", caller, "panic", p, "stack", string(debug.Stack()))
			err = Errorf(Internal, InternalError, "the server failed on this request")
		}
	}()
	ctx, cancel := context.WithTimeout(s.ctx, requestTimeout)
	defer cancel()
	return h(context.WithValue(ctx, hostKey{}, hostOf(r)), caller, r.Data())
}

type hostKey struct{}

// ClientHost is the address that the request came from, where the account of the caller tells it;
// empty elsewhere. The server writes it, not the client.
func ClientHost(ctx context.Context) string {
	host, _ := ctx.Value(hostKey{}).(string)
	return host
}

func hostOf(r micro.Request) string {
	var info struct {
		Host string `json:"host"`
	}
	if raw := r.Headers().Get("Nats-Request-Info"); raw != "" {
		_ = json.Unmarshal([]byte(raw), &info) // the server's own; without it nobody is told apart
	}
	return info.Host
}

// publicError says of an unforeseen error only what a user may know.
func publicError(err error) *Error {
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, nats.ErrTimeout) || errors.Is(err, nats.ErrNoResponders) {
		return Errorf(Unavailable, ServerUnavailable, "the server could not finish the request in time").WithHint("try again")
	}
	return Errorf(Internal, InternalError, "the server failed on this request").
		WithHint("the operator finds the reason in hermesd's log")
}
