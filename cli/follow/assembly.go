package follow

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"slices"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/services/api"
)

// maxAheadBytes bounds the chunks kept while one before them is missing. More are let go: they
// are fetched again once the gap is filled.
const maxAheadBytes = 8 << 20

// assembly puts the chunks of one attempt in order, each byte once, and sums them up.
type assembly struct {
	write func(api.Chunk) error

	attempt int
	// start is where it begins, next the offset of the first byte that has not been written.
	start, next              int64
	stdoutBytes, stderrBytes int64
	sum                      hash.Hash
	// end is what the watcher says it sent in all; nil until it has said so.
	end *api.OutputEnd

	// ahead are chunks after a gap, by offset.
	ahead      []api.Chunk
	aheadBytes int
}

func newAssembly(write func(api.Chunk) error) *assembly {
	return &assembly{write: write, sum: sha256.New()}
}

// begin leaves out what an attempt (0: the first that there will be) printed before the offset.
func (a *assembly) begin(attempt int, offset int64) {
	a.attempt, a.start, a.next = attempt, offset, offset
}

// skip leaves out what comes before the offset.
func (a *assembly) skip(to int64) { a.start, a.next = to, to }

// restart begins with a later attempt: what an attempt printed has nothing to do with another's.
func (a *assembly) restart(attempt int) {
	if a.attempt > 0 {
		*a = *newAssembly(a.write)
	}
	a.attempt = attempt
}

// take accepts a chunk in any order, any number of times. Chunks of earlier attempts are ignored;
// one of a later attempt restarts the assembly. The error is the writer's.
func (a *assembly) take(c api.Chunk) error {
	if c.Attempt < a.attempt {
		return nil
	}
	if c.Attempt > a.attempt {
		a.restart(c.Attempt)
	}
	if c.Stream == api.End {
		if end, err := c.End(); err == nil {
			a.end = &end
		}
		return nil
	}
	if c.Offset > a.next {
		a.keep(c)
		return nil
	}
	if err := a.append(c); err != nil {
		return err
	}
	return a.drain()
}

// append writes what of the chunk has not been written.
func (a *assembly) append(c api.Chunk) error {
	seen := a.next - c.Offset
	if seen >= int64(len(c.Data)) {
		return nil
	}
	c.Offset, c.Data = a.next, c.Data[seen:]
	if err := a.write(c); err != nil {
		return err
	}
	a.sum.Write(c.Data)
	a.next += int64(len(c.Data))
	if c.Stream == api.Stderr {
		a.stderrBytes += int64(len(c.Data))
	} else {
		a.stdoutBytes += int64(len(c.Data))
	}
	return nil
}

func (a *assembly) keep(c api.Chunk) {
	at, there := slices.BinarySearchFunc(a.ahead, c.Offset, func(kept api.Chunk, offset int64) int {
		return cmp.Compare(kept.Offset, offset)
	})
	if there && len(a.ahead[at].Data) >= len(c.Data) || a.aheadBytes+len(c.Data) > maxAheadBytes {
		return
	}
	a.aheadBytes += len(c.Data)
	a.ahead = slices.Insert(a.ahead, at, c)
}

func (a *assembly) drain() error {
	for len(a.ahead) > 0 && a.ahead[0].Offset <= a.next {
		c := a.ahead[0]
		a.ahead = a.ahead[1:]
		a.aheadBytes -= len(c.Data)
		if err := a.append(c); err != nil {
			return err
		}
	}
	return nil
}

// gap says whether something is known to be missing.
func (a *assembly) gap() bool {
	return len(a.ahead) > 0 || a.end != nil && a.next < a.end.StdoutBytes+a.end.StderrBytes
}

// holds says whether the whole output of the attempt has been written.
func (a *assembly) holds(attempt int, whole events.Output) bool {
	total := whole.StdoutBytes + whole.StderrBytes
	return total == 0 || a.attempt == attempt && a.next >= total
}

// verify compares what was written with what the terminal event says was printed. Of what does not
// begin with the beginning only the length can be compared.
func (a *assembly) verify(whole events.Output) error {
	if total := whole.StdoutBytes + whole.StderrBytes; a.start > 0 {
		if a.next != max(total, a.start) {
			return corrupt(fmt.Sprintf("%d bytes arrived, %d were printed", a.next, total))
		}
		return nil
	}
	if a.next == 0 && whole.StdoutBytes+whole.StderrBytes == 0 {
		return nil
	}
	sum := hex.EncodeToString(a.sum.Sum(nil))
	switch {
	case a.stdoutBytes != whole.StdoutBytes || a.stderrBytes != whole.StderrBytes:
		return corrupt(fmt.Sprintf("%d bytes of stdout and %d of stderr arrived, %d and %d were printed",
			a.stdoutBytes, a.stderrBytes, whole.StdoutBytes, whole.StderrBytes))
	case sum != whole.SHA256:
		return corrupt(fmt.Sprintf("its SHA-256 is %s, that of what was printed is %s", sum, whole.SHA256))
	}
	return nil
}

func corrupt(detail string) error {
	return api.Errorf(api.Internal, OutputCorrupt, "the output that was shown is not what the execution printed").
		WithDetail(detail).WithHint("`hermes execution logs` reads it again; if this stays, tell the operator")
}
