package watcher

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/nats-io/nats.go"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/services/api"
	"github.com/hermes-serverless/hermes/services/watcher/input"
)

// openFeed makes the stdin of an interactive attempt.
func (w *Watcher) openFeed(a *attempt) (*os.File, error) {
	reader, writer, err := newInputPipe()
	if err != nil {
		return nil, err
	}
	f := input.New(reader, writer, filepath.Join(w.scratch(), a.sandboxID()+".given"), w.InputSilence)
	a.setFeed(f)
	return f.Reader(), nil
}

// takeInput answers pieces of the input of attempts that are held here.
func (w *Watcher) takeInput() (unsubscribe func(), err error) {
	sub, err := w.Conn.Subscribe(api.InputSubject(w.Name), func(m *nats.Msg) {
		var piece api.RunInput
		if err := json.Unmarshal(m.Data, &piece); err != nil {
			w.Log.Warn("a piece of input cannot be read", "err", err)
			return
		}
		var reply api.RunInputReply
		if a := w.held.get(piece.AttemptRef); a != nil {
			if f := a.input(); f != nil {
				reply.Known = true
				reply.Offset, reply.Closed = f.Take(piece.Offset, piece.Data, piece.End)
			}
		}
		raw, err := json.Marshal(reply)
		if err == nil {
			err = m.Respond(raw)
		}
		if err != nil {
			w.Log.Warn("cannot answer a piece of input", "execution", piece.ID, "err", err)
		}
	})
	if err != nil {
		return nil, fmt.Errorf("listen for input: %w", err)
	}
	return func() { _ = sub.Unsubscribe() }, nil
}

// given ends the input of an interactive attempt and says what it was; nil of any other.
func (w *Watcher) given(a *attempt) *events.Given {
	f := a.input()
	if f == nil {
		return nil
	}
	return f.Given(w.storing, w.put)
}

// put stores content that can be read again.
func (w *Watcher) put(ctx context.Context, blob events.Blob, r io.ReadSeeker) error {
	return persist(ctx, fetchFor, permanentContent, func() error {
		if _, err := r.Seek(0, io.SeekStart); err != nil {
			return err
		}
		return w.Blobs.Put(ctx, blob, r)
	})
}
