package containerd

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// counters are the open files in which the kernel counts what a sandbox's limits did. They are
// opened once, so that reading them at a command's end costs microseconds.
type counters struct {
	oom, peak, pids *os.File
}

// counted is one reading.
type counted struct {
	oomKills, pidsRefused int64
	peakBytes             int64
}

func openCounters(root cgroupRoot, path string) (*counters, error) {
	memory, pids := root.folder("memory", path), root.folder("pids", path)
	oomName, peakName := "memory.oom_control", "memory.max_usage_in_bytes"
	if root.unified {
		oomName, peakName = "memory.events", "memory.peak"
	}
	c := &counters{}
	var err error
	if c.oom, err = os.Open(filepath.Join(memory, oomName)); err != nil {
		return nil, fmt.Errorf("open the counter of the memory limit: %w", err)
	}
	// Kernels before 5.19 have no peak in version 2, and old ones no pids.events: then it is 0.
	c.peak, _ = os.Open(filepath.Join(memory, peakName))
	c.pids, _ = os.Open(filepath.Join(pids, "pids.events"))
	return c, nil
}

func (c *counters) read() counted {
	peak, _ := strconv.ParseInt(strings.TrimSpace(readAtStart(c.peak)), 10, 64)
	return counted{
		oomKills:    field(readAtStart(c.oom), "oom_kill"),
		pidsRefused: field(readAtStart(c.pids), "max"),
		peakBytes:   peak,
	}
}

func (c *counters) close() error {
	var errs []error
	for _, f := range []*os.File{c.oom, c.peak, c.pids} {
		if f != nil {
			errs = append(errs, f.Close())
		}
	}
	return errors.Join(errs...)
}

// readAtStart reads a kernel file anew; it is empty when the file or its cgroup is not there.
func readAtStart(f *os.File) string {
	if f == nil {
		return ""
	}
	var buffer [512]byte
	n, _ := f.ReadAt(buffer[:], 0)
	return string(buffer[:n])
}

// field is the number behind a name in lines of "name number", 0 when there is none.
func field(text, name string) int64 {
	for line := range strings.Lines(text) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		if key == name {
			n, _ := strconv.ParseInt(value, 10, 64)
			return n
		}
	}
	return 0
}
