// Package get reads single stored messages and small batches of them without a consumer, in one
// round trip.
//
// Two paths differ in what they promise. The leader's answer is the truth at the time of the
// call. A direct answer is cheaper and may come from a replica that is a little behind: use it
// where an older answer is harmless or is noticed.
package get

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

var (
	// ErrNone: no message matches.
	ErrNone = errors.New("no message matches")
	// ErrTooMany: a Snapshot would be larger than one answer.
	ErrTooMany = errors.New("more subjects match than one answer holds")
)

// MaxSubjects is the most subjects that one Snapshot answers.
const MaxSubjects = 1024

// maxBytes bounds one answer, so that the client's pending limit is never near.
const maxBytes = 8 << 20

// timeout bounds one call however late the context's deadline is: an answer that a failing server
// took along never comes.
const timeout = 5 * time.Second

// LeaderLast returns the last message of the subject (wildcards allowed), as the stream's leader
// knows it, or ErrNone.
func LeaderLast(ctx context.Context, js jetstream.JetStream, stream, subject string) (*jetstream.RawStreamMsg, error) {
	return leader(ctx, js, stream, map[string]any{"last_by_subj": subject})
}

// LeaderNext returns the first message of the subject (wildcards allowed) at or behind the
// sequence, as the stream's leader knows it, or ErrNone.
func LeaderNext(ctx context.Context, js jetstream.JetStream, stream, subject string, sequence uint64) (*jetstream.RawStreamMsg, error) {
	return leader(ctx, js, stream, map[string]any{"next_by_subj": subject, "seq": max(sequence, 1)})
}

func leader(ctx context.Context, js jetstream.JetStream, stream string, query map[string]any) (*jetstream.RawStreamMsg, error) {
	ctx, cancel := withTimeout(ctx)
	defer cancel()
	body, err := json.Marshal(query)
	if err != nil {
		return nil, err
	}
	msg, err := js.Conn().RequestWithContext(ctx, APISubject(js, "STREAM.MSG.GET."+stream), body)
	if err != nil {
		return nil, fmt.Errorf("get %s of stream %s: %w", body, stream, err)
	}
	var answer struct {
		Error   *jetstream.APIError `json:"error"`
		Message *struct {
			Subject  string    `json:"subject"`
			Sequence uint64    `json:"seq"`
			Header   []byte    `json:"hdrs"`
			Data     []byte    `json:"data"`
			Time     time.Time `json:"time"`
		} `json:"message"`
	}
	if err := json.Unmarshal(msg.Data, &answer); err != nil {
		return nil, fmt.Errorf("get %s of stream %s: %w", body, stream, err)
	}
	if answer.Error != nil {
		if answer.Error.ErrorCode == jetstream.JSErrCodeMessageNotFound {
			return nil, ErrNone
		}
		return nil, fmt.Errorf("get %s of stream %s: %w", body, stream, answer.Error)
	}
	if answer.Message == nil {
		return nil, fmt.Errorf("get %s of stream %s: the answer has no message", body, stream)
	}
	m := answer.Message
	raw := &jetstream.RawStreamMsg{Subject: m.Subject, Sequence: m.Sequence, Data: m.Data, Time: m.Time}
	if len(m.Header) > 0 {
		if raw.Header, err = nats.DecodeHeadersMsg(m.Header); err != nil {
			return nil, fmt.Errorf("get %s of stream %s: headers: %w", body, stream, err)
		}
	}
	return raw, nil
}

// One returns the last message of a literal subject by direct get, or ErrNone.
func One(ctx context.Context, js jetstream.JetStream, stream, subject string) (*jetstream.RawStreamMsg, error) {
	ctx, cancel := withTimeout(ctx)
	defer cancel()
	msg, err := js.Conn().RequestWithContext(ctx, APISubject(js, "DIRECT.GET."+stream+"."+subject), nil)
	if err != nil {
		return nil, fmt.Errorf("get %s of stream %s: %w", subject, stream, err)
	}
	raw, _, err := parse(msg)
	if err != nil && !errors.Is(err, ErrNone) {
		return nil, fmt.Errorf("get %s of stream %s: %w", subject, stream, err)
	}
	return raw, err
}

// Next returns up to limit messages of the filter (one subject or a wildcard; empty is the whole
// stream, and cheaper than ">") from the sequence on, in order, and whether the replica that answered has more: those that did not fit into the
// limit or into one answer. To go on until there are none would be to chase a busy stream for ever.
func Next(ctx context.Context, js jetstream.JetStream, stream, filter string, sequence uint64, limit int) (messages []*jetstream.RawStreamMsg, more bool, err error) {
	return next(ctx, js, stream, filter, limit, map[string]any{"seq": max(sequence, 1)})
}

// Since is Next from the first message that was stored at this moment or later.
func Since(ctx context.Context, js jetstream.JetStream, stream, filter string, moment time.Time, limit int) (messages []*jetstream.RawStreamMsg, more bool, err error) {
	return next(ctx, js, stream, filter, limit, map[string]any{"start_time": moment.UTC()})
}

func next(ctx context.Context, js jetstream.JetStream, stream, filter string, limit int, query map[string]any) ([]*jetstream.RawStreamMsg, bool, error) {
	query["batch"], query["max_bytes"] = limit, maxBytes
	if filter != "" {
		query["next_by_subj"] = filter
	}
	messages, end, err := batch(ctx, js, stream, query)
	return messages, end.pending > 0, err
}

// Snapshot returns the last message of every subject that matches one of the filters, in order of
// sequence, as they stood together at one moment: no atomic batch is seen in part. More than one
// answer holds (MaxSubjects, 8 MiB) are ErrTooMany.
func Snapshot(ctx context.Context, js jetstream.JetStream, stream string, filters []string) ([]*jetstream.RawStreamMsg, error) {
	messages, end, err := batch(ctx, js, stream, map[string]any{"multi_last": filters, "max_bytes": maxBytes})
	if err == nil && end.pending > 0 {
		err = ErrTooMany
	}
	return messages, err
}

// APISubject puts the JetStream API's prefix (or domain) of the connection before an API name.
func APISubject(js jetstream.JetStream, name string) string {
	switch o := js.Options(); {
	case o.APIPrefix != "":
		return strings.TrimSuffix(o.APIPrefix, ".") + "." + name
	case o.Domain != "":
		return "$JS." + o.Domain + ".API." + name
	}
	return "$JS.API." + name
}

// end is what the message that closes a batch says.
type end struct {
	pending uint64
}

// batch returns the whole answer, or an error: an answer that was cut is never passed off as whole.
func batch(ctx context.Context, js jetstream.JetStream, stream string, query map[string]any) ([]*jetstream.RawStreamMsg, end, error) {
	ctx, cancel := withTimeout(ctx)
	defer cancel()
	body, err := json.Marshal(query)
	if err != nil {
		return nil, end{}, err
	}
	nc := js.Conn()
	inbox := nc.NewRespInbox()
	sub, err := nc.SubscribeSync(inbox)
	if err != nil {
		return nil, end{}, err
	}
	defer func() { _ = sub.Unsubscribe() }()
	if err := nc.PublishRequest(APISubject(js, "DIRECT.GET."+stream), inbox, body); err != nil {
		return nil, end{}, fmt.Errorf("get %s of stream %s: %w", body, stream, err)
	}
	var messages []*jetstream.RawStreamMsg
	for {
		msg, err := sub.NextMsgWithContext(ctx)
		if err != nil {
			return nil, end{}, fmt.Errorf("get %.200s of stream %s, after %d messages: %w", body, stream, len(messages), err)
		}
		raw, closing, err := parse(msg)
		switch {
		case errors.Is(err, ErrNone):
			return messages, end{}, nil
		case err != nil:
			return nil, end{}, fmt.Errorf("get %.200s of stream %s: %w", body, stream, err)
		case closing != nil:
			return messages, *closing, nil
		}
		messages = append(messages, raw)
	}
}

// parse reads one message of a direct answer: a stored message, the end of a batch, or an error.
func parse(msg *nats.Msg) (*jetstream.RawStreamMsg, *end, error) {
	h := msg.Header
	switch status := h.Get("Status"); status {
	case "":
	case "204":
		pending, _ := strconv.ParseUint(h.Get("Nats-Num-Pending"), 10, 64)
		return nil, &end{pending: pending}, nil
	case "404":
		return nil, nil, ErrNone
	case "413":
		return nil, nil, ErrTooMany
	case "503":
		return nil, nil, nats.ErrNoResponders
	default:
		return nil, nil, fmt.Errorf("status %s %s", status, h.Get("Description"))
	}
	sequence, err := strconv.ParseUint(h.Get(jetstream.SequenceHeader), 10, 64)
	if err != nil {
		return nil, nil, fmt.Errorf("answer without a sequence: %w", err)
	}
	at, err := time.Parse(time.RFC3339Nano, h.Get(jetstream.TimeStampHeaer))
	if err != nil {
		return nil, nil, fmt.Errorf("answer without a time: %w", err)
	}
	return &jetstream.RawStreamMsg{
		Subject: h.Get(jetstream.SubjectHeader), Sequence: sequence, Header: h, Data: msg.Data, Time: at,
	}, nil, nil
}

func withTimeout(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, timeout)
}
