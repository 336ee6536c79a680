package backup

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hermes-serverless/hermes/events/streams/get"
)

// tailFile has what was stored in a bucket or store while its snapshot was made. A snapshot is of the
// messages up to a sequence that are still there when it comes to them: what replaced one of them in
// between is in none.
const tailFile = "tail.jsonl"

// tailPage is how many messages one request brings.
const tailPage = 200

// stored is a message of a tail.
type stored struct {
	Subject string      `json:"subject"`
	Header  nats.Header `json:"header,omitempty"`
	Data    []byte      `json:"data,omitempty"`
}

// copyTail writes what a stream has behind a sequence, to its end.
func copyTail(ctx context.Context, js jetstream.JetStream, stream string, last uint64, file string) (err error) {
	f, err := os.OpenFile(file, os.O_CREATE|os.O_WRONLY|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	w := bufio.NewWriter(f)
	defer func() { err = errors.Join(err, w.Flush(), f.Close()) }()
	encoder := json.NewEncoder(w)
	for more := true; more; {
		var messages []*jetstream.RawStreamMsg
		if messages, more, err = get.Next(ctx, js, stream, "", last+1, tailPage); err != nil {
			return err
		}
		for _, m := range messages {
			if err := encoder.Encode(stored{Subject: m.Subject, Header: m.Header, Data: m.Data}); err != nil {
				return err
			}
			last = m.Sequence
		}
	}
	return nil
}

// restoreTail stores a tail behind what was restored.
func restoreTail(ctx context.Context, js jetstream.JetStream, stream, file string) error {
	f, err := os.Open(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	for decoder := json.NewDecoder(bufio.NewReader(f)); ; {
		var one stored
		if err := decoder.Decode(&one); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return fmt.Errorf("%w: %s: %w", ErrDamaged, file, err)
		}
		m := nats.NewMsg(one.Subject)
		m.Data = one.Data
		for key, values := range one.Header {
			if !slices.Contains(ofThen, key) {
				m.Header[key] = values
			}
		}
		if _, err := js.PublishMsg(ctx, m, jetstream.WithExpectStream(stream)); err != nil {
			return fmt.Errorf("store %s: %w", one.Subject, err)
		}
	}
}

// ofThen are headers for the moment in which a message was stored first, and what an answer says of it.
var ofThen = []string{
	nats.MsgIdHdr, nats.ExpectedLastMsgIdHdr, nats.ExpectedLastSeqHdr, nats.ExpectedLastSubjSeqHdr, nats.ExpectedStreamHdr,
	jetstream.StreamHeader, jetstream.SequenceHeader, jetstream.TimeStampHeaer, jetstream.SubjectHeader, jetstream.LastSequenceHeader,
	"Nats-Num-Pending", "Nats-UpTo-Sequence",
}
