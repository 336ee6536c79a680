package output

import (
	"crypto/sha256"
	"encoding/hex"
	"hash"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/services/api"
)

// sum adds up the chunks that are stored, in order.
type sum struct {
	digest hash.Hash
	total  events.Output
}

func newSum() sum { return sum{digest: sha256.New()} }

func (s *sum) add(stream string, data []byte) {
	s.digest.Write(data)
	s.total.Chunks++
	if stream == api.Stderr {
		s.total.StderrBytes += int64(len(data))
		return
	}
	s.total.StdoutBytes += int64(len(data))
}

func (s *sum) output() events.Output {
	o := s.total
	o.SHA256 = hex.EncodeToString(s.digest.Sum(nil))
	return o
}
