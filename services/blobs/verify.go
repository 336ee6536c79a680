package blobs

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"

	"github.com/hermes-serverless/hermes/events"
)

// MismatchError: content is not what its digest and size say.
type MismatchError struct {
	Want events.Blob
	// Got is what came; its digest is empty when there was more than Want.SizeBytes.
	Got events.Blob
}

// Error implements error.
func (e *MismatchError) Error() string {
	switch {
	case e.Got.Digest == "":
		return fmt.Sprintf("the content is longer than the %d bytes that it should have", e.Want.SizeBytes)
	case e.Got.SizeBytes != e.Want.SizeBytes:
		return fmt.Sprintf("the content has %d bytes and should have %d", e.Got.SizeBytes, e.Want.SizeBytes)
	}
	return fmt.Sprintf("the content is %s and should be %s", e.Got.Digest, e.Want.Digest)
}

// verifier passes on what it reads, and ends with a *MismatchError in place of io.EOF when that
// was not the blob.
type verifier struct {
	r    io.Reader
	want events.Blob
	hash hash.Hash
	n    int64
}

func newVerifier(r io.Reader, want events.Blob) *verifier {
	return &verifier{r: r, want: want, hash: sha256.New()}
}

func (v *verifier) Read(p []byte) (int, error) {
	n, err := v.r.Read(p)
	v.n += int64(n)
	v.hash.Write(p[:n])
	if v.n > v.want.SizeBytes {
		return 0, &MismatchError{Want: v.want, Got: events.Blob{SizeBytes: v.n}}
	}
	if !errors.Is(err, io.EOF) {
		return n, err
	}
	got := events.Blob{Digest: "sha256:" + hex.EncodeToString(v.hash.Sum(nil)), SizeBytes: v.n}
	if got != v.want {
		return 0, &MismatchError{Want: v.want, Got: got}
	}
	return n, io.EOF
}

// endingReader ends with the context's error.
type endingReader struct {
	ctx context.Context
	r   io.Reader
}

func (e *endingReader) Read(p []byte) (int, error) {
	if err := e.ctx.Err(); err != nil {
		return 0, err
	}
	return e.r.Read(p)
}
