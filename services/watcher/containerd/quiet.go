package containerd

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"strings"
)

// quietShims takes the noise out of what containerd passes on from its shims to os.Stderr. It is for
// a process that does nothing but Serve.
func quietShims() error {
	read, write, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("containerd: filter the shims' log: %w", err)
	}
	stderr := os.Stderr
	os.Stderr = write
	go passOn(stderr, read)
	return nil
}

// passOn copies all lines but the noise. It reads on when it cannot write, so that no shim waits.
func passOn(to io.Writer, from io.Reader) {
	lines := bufio.NewReader(from)
	for {
		line, err := lines.ReadString('\n')
		if line != "" && !isNoise(line) {
			_, _ = io.WriteString(to, line)
		}
		if err != nil {
			return
		}
	}
}

// isNoise knows what the shims of cgroup version 1 say on their way out, hundreds of times each:
// their watch for memory shortage does not know that it has been closed.
func isNoise(line string) bool {
	return strings.Contains(line, `msg="cgroups: epoll wait"`) && strings.Contains(line, "error=shutdown")
}
