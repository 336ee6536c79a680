package cli

import (
	"encoding/base64"
	"unicode/utf8"

	"github.com/hermes-serverless/hermes/services/api"
)

// givenJSON is what an interactive execution was sent while it ran. A small input is there as a text,
// in Base64 if it is none; a large one by its digest.
type givenJSON struct {
	Bytes  int64  `json:"bytes"`
	Text   string `json:"text,omitempty"`
	Base64 string `json:"base64,omitempty"`
	Digest string `json:"digest,omitempty"`
	// Cut says why it is not kept.
	Cut string `json:"cut,omitempty"`
}

func givenOf(e api.Execution) *givenJSON {
	if e.Given == nil {
		return nil
	}
	g := &givenJSON{Bytes: e.Given.Bytes, Cut: e.Given.Cut}
	if blob := e.Given.Input.Blob; blob != nil {
		g.Digest = blob.Digest
	}
	if inline := e.Given.Input.Inline; utf8.Valid(inline) {
		g.Text = string(inline)
	} else {
		g.Base64 = base64.StdEncoding.EncodeToString(inline)
	}
	return g
}

// resultsText says in words what an execution left.
func resultsText(e api.Execution) string {
	r := e.Results
	switch {
	case r == nil:
		return ""
	case r.Files == 0:
		return join(": ", "none", r.Cut)
	}
	return join("; ", countOf(int64(r.Files), "file")+", "+size(r.Bytes), r.Cut)
}

// givenText says in words how much an execution was sent.
func givenText(e api.Execution) string {
	if e.Given == nil {
		return ""
	}
	return join(": ", size(e.Given.Bytes)+" while it ran", e.Given.Cut)
}

// givenBytes is a small input that an execution was sent.
func givenBytes(e api.Execution) []byte {
	if e.Given == nil {
		return nil
	}
	return e.Given.Input.Inline
}
