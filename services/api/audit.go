package api

import (
	"context"
	"strings"

	"github.com/hermes-serverless/hermes/events"
)

// Recorder writes into the audit what the operator did, or tried to do.
type Recorder func(ctx context.Context, by string, act events.OperatorActed) error

// HandleAudited is HandleAdmin for an operation whose successes are events already: it has its failures
// recorded. about says what it is done to.
func HandleAudited[Request, Reply any](s *Server, record Recorder, op string, about func(Request) string, h func(context.Context, string, Request) (Reply, error)) error {
	return HandleAdmin(s, op, func(ctx context.Context, who string, ask Request) (Reply, error) {
		reply, err := h(ctx, who, ask)
		if err == nil {
			return reply, nil
		}
		failed := events.OperatorActed{Action: op, About: Clip(about(ask)), Failed: InternalError}
		if e, known := AsError(err); known {
			failed.Failed = e.Name
		}
		if recordErr := record(context.WithoutCancel(ctx), who, failed); recordErr != nil {
			s.log.Error("what the operator did in vain is not in the audit", "op", op, "err", recordErr)
		}
		return reply, err
	})
}

// Clip keeps what somebody sent from filling an answer, a log or an event.
func Clip(text string) string {
	if len(text) > events.MaxNameBytes {
		return strings.ToValidUTF8(text[:events.MaxNameBytes], "") + "…"
	}
	return text
}
