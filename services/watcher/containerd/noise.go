package containerd

import (
	"bytes"
	"io"
)

// noise is what the stock shim writes again and again while it ends, on cgroups version 1: its loop
// does not recognize that its context is over. It says nothing and can be thousands of lines.
var noise = []byte(`msg="cgroups: epoll wait" error=shutdown`)

// quiet passes complete lines on, but for noise. One goroutine writes to it.
type quiet struct {
	to      io.Writer
	partial []byte
}

// Write implements io.Writer. What to refuses is lost: a full disk must not stop containerd.
func (q *quiet) Write(text []byte) (int, error) {
	q.partial = append(q.partial, text...)
	for {
		end := bytes.IndexByte(q.partial, '\n')
		if end < 0 {
			return len(text), nil
		}
		if line := q.partial[:end+1]; !bytes.Contains(line, noise) {
			_, _ = q.to.Write(line)
		}
		q.partial = q.partial[end+1:]
	}
}
