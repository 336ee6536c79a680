package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"
	"github.com/oklog/ulid/v2"

	"github.com/hermes-serverless/hermes/events"
)

// DefaultTimeout bounds a request whose context has no deadline of its own.
const DefaultTimeout = 10 * time.Second

// NewID returns a new ULID: unique, and in the order of time.
func NewID() string { return ulid.Make().String() }

// Subject is where a user asks for an operation.
func Subject(user, op string) string { return "hermes.api." + user + "." + op }

// InboxPrefix is the only place where a user's replies may go.
func InboxPrefix(user string) string { return "_INBOX_" + user }

// UserOfInbox is the inverse of InboxPrefix: a NATS context's inbox prefix says whose it is.
func UserOfInbox(prefix string) (string, error) {
	user, ok := strings.CutPrefix(prefix, "_INBOX_")
	if !ok || events.CheckUserName(user) != nil {
		return "", fmt.Errorf("inbox prefix %q is not a Hermes user's", prefix)
	}
	return user, nil
}

// Client asks as one user.
type Client struct {
	nc   *nats.Conn
	user string
	// subject is where a user asks for an operation.
	subject func(user, op string) string
}

// NewClient returns a client for the connection of this user.
func NewClient(nc *nats.Conn, user string) *Client {
	return &Client{nc: nc, user: user, subject: Subject}
}

// NewOperator returns a client for the connection of the operator, who is known by that name. It is
// for the operations that operators have (HandleAdmin).
func NewOperator(nc *nats.Conn, name string) *Client {
	return &Client{nc: nc, user: name, subject: AdminSubject}
}

// User is who asks.
func (c *Client) User() string { return c.user }

// Conn is the connection, for subscriptions.
func (c *Client) Conn() *nats.Conn { return c.nc }

// OutputSubject matches the output of one of the user's executions, on whichever watcher it runs.
func (c *Client) OutputSubject(id string) string { return events.OutputSubject("*", c.user, id) }

// Call sends a request and decodes the reply. Its error is an *Error, or the context's.
func Call[Reply any](ctx context.Context, c *Client, op string, request any) (Reply, error) {
	var reply Reply
	m, err := c.request(ctx, op, request)
	if err != nil {
		return reply, err
	}
	return reply, decodeReply(m, &reply)
}

// Ask sends a request on any subject and decodes the reply, as Call does.
func Ask[Reply any](ctx context.Context, nc *nats.Conn, subject string, request any) (Reply, error) {
	var reply Reply
	raw, err := json.Marshal(request)
	if err != nil {
		return reply, fmt.Errorf("encode the request on %s: %w", subject, err)
	}
	err = ask(ctx, nc, subject, raw, &reply)
	return reply, err
}

// Output returns a page of stored output and the chunks in it.
func (c *Client) Output(ctx context.Context, ask ExecutionOutput) (OutputPage, []Chunk, error) {
	var page OutputPage
	m, err := c.request(ctx, OpExecutionOutput, ask)
	if err != nil {
		return page, nil, err
	}
	if err := json.Unmarshal([]byte(m.Header.Get(HeaderPage)), &page); err != nil {
		return page, nil, Errorf(Internal, InternalError, "the server's page of output cannot be read: %v", err)
	}
	chunks, err := page.Chunks(m.Data)
	if err != nil {
		return page, nil, Errorf(Internal, InternalError, "%v", err)
	}
	return page, chunks, nil
}

// Upload sends content, unless the server has it. It reads blob.SizeBytes from r; progress (may
// be nil) hears how many bytes have been taken.
func (c *Client) Upload(ctx context.Context, blob events.Blob, r io.Reader, progress func(int64)) error {
	if progress == nil {
		progress = func(int64) {}
	}
	return upload(ctx, c.nc, Subject(c.user, OpBlobBegin), blob, r, progress)
}

// UploadArtifact is a watcher's Upload.
func UploadArtifact(ctx context.Context, nc *nats.Conn, watcher string, blob events.Blob, r io.Reader) error {
	return upload(ctx, nc, WatchSubject(watcher, OpBlobBegin), blob, r, func(int64) {})
}

// upload begins on the subject, and sends the parts where the server says.
func upload(ctx context.Context, nc *nats.Conn, begin string, blob events.Blob, r io.Reader, progress func(int64)) error {
	raw, err := json.Marshal(BlobBegin{blob})
	if err != nil {
		return fmt.Errorf("encode the request for an upload: %w", err)
	}
	var upload BlobUpload
	if err := ask(ctx, nc, begin, raw, &upload); err != nil {
		return err
	}
	if upload.Have {
		progress(blob.SizeBytes)
		return nil
	}
	part := make([]byte, upload.PartBytes)
	for sent := int64(0); ; {
		n, err := io.ReadFull(r, part[:min(int64(len(part)), blob.SizeBytes-sent)])
		if err != nil && !errors.Is(err, io.EOF) {
			return fmt.Errorf("read what is to be uploaded: %w", err)
		}
		var taken BlobProgress
		if err := ask(ctx, nc, upload.Subject, part[:n], &taken); err != nil {
			return err
		}
		sent += int64(n)
		progress(sent)
		if taken.Done {
			return nil
		}
		if n == 0 {
			return Errorf(Internal, InternalError, "the server wants more than the %d bytes of the upload", blob.SizeBytes)
		}
	}
}

// ask sends raw bytes and decodes the reply.
func ask(ctx context.Context, nc *nats.Conn, subject string, raw []byte, reply any) error {
	m, err := Request(ctx, nc, subject, raw)
	if err != nil {
		return err
	}
	return decodeReply(m, reply)
}

func (c *Client) request(ctx context.Context, op string, request any) (*nats.Msg, error) {
	raw, err := json.Marshal(request)
	if err != nil {
		return nil, fmt.Errorf("encode the request %s: %w", op, err)
	}
	return Request(ctx, c.nc, c.subject(c.user, op), raw)
}

// Request sends raw bytes to a service and returns its answer, or the *Error that it answered with.
func Request(ctx context.Context, nc *nats.Conn, subject string, raw []byte) (*nats.Msg, error) {
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, DefaultTimeout)
		defer cancel()
	}
	m, err := nc.RequestWithContext(ctx, subject, raw)
	switch {
	case errors.Is(err, nats.ErrNoResponders):
		return nil, unavailable(nc, "no Hermes service answers")
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, nats.ErrTimeout):
		return nil, unavailable(nc, "the server did not answer in time")
	case errors.Is(err, context.Canceled):
		return nil, err
	case err != nil:
		return nil, unavailable(nc, err.Error())
	}
	if m.Header.Get(micro.ErrorCodeHeader) != "" {
		return nil, decodeError(m.Data)
	}
	return m, nil
}

func unavailable(nc *nats.Conn, what string) *Error {
	return Errorf(Unavailable, ServerUnavailable, "%s at %s", what, nc.ConnectedUrlRedacted()).
		WithHint("is hermesd running there? On its machine, `hermesd doctor` tells what is wrong")
}

func decodeReply(m *nats.Msg, reply any) error {
	if err := json.Unmarshal(m.Data, reply); err != nil {
		return Errorf(Internal, InternalError, "the server's answer cannot be read: %v", err).
			WithHint("client and server may be of different versions: compare `hermes version` with `hermes remote info`")
	}
	return nil
}
