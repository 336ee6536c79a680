package containerd

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/hermes-serverless/hermes/services/watcher/sandbox"
)

// counters are the open files in which the kernel counts what a sandbox's limits did. They are
// opened once, so that reading them at a command's end costs microseconds.
type counters struct {
	oom, peak, pids, cpu *os.File
	cpuUnit              time.Duration // of the number in cpu
	folders              []writable
}

// counted is one reading.
type counted struct {
	oomKills, pidsRefused int64
	peakBytes             int64
	// heldBytes of the peak had been there before the counting began.
	heldBytes int64
	// stale: the peak is an earlier command's until a higher one replaces it.
	stale bool
	// cpu is of every process that ever was in the sandbox; 0 where the kernel does not count it.
	cpu  time.Duration
	full sandbox.Full
}

func openCounters(root cgroupRoot, path string, folders []writable) (*counters, error) {
	memory, pids, cpu := root.folder("memory", path), root.folder("pids", path), root.folder("cpuacct", path)
	oomName, peakName, cpuName := "memory.oom_control", "memory.max_usage_in_bytes", "cpuacct.usage"
	c := &counters{cpuUnit: time.Nanosecond, folders: folders}
	if root.unified {
		oomName, peakName, cpuName = "memory.events", "memory.peak", "cpu.stat"
		c.cpuUnit = time.Microsecond
	}
	var err error
	if c.oom, err = os.Open(filepath.Join(memory, oomName)); err != nil {
		return nil, errors.Join(fmt.Errorf("open the counter of the memory limit: %w", err), closeWritables(folders))
	}
	c.cpu, _ = os.Open(filepath.Join(cpu, cpuName)) // without it the init's own count has to do
	// Kernels before 5.19 have no peak in version 2, and old ones no pids.events: then it is 0.
	// Before 6.12 version 2's cannot be set back, and is not to be opened for it.
	peak := filepath.Join(memory, peakName)
	if c.peak, err = os.OpenFile(peak, os.O_RDWR, 0); err != nil {
		c.peak, _ = os.Open(peak)
	}
	c.pids, _ = os.Open(filepath.Join(pids, "pids.events"))
	return c, nil
}

func (c *counters) read() counted {
	return counted{
		oomKills:    field(readAtStart(c.oom), "oom_kill"),
		pidsRefused: field(readAtStart(c.pids), "max"),
		peakBytes:   number(readAtStart(c.peak)),
		cpu:         time.Duration(c.cpuCount()) * c.cpuUnit,
		full:        fullOf(c.folders),
	}
}

// restart begins to count anew. What the sandbox holds now, mostly files that were read in it, is no
// longer part of the peak.
func (c *counters) restart() counted {
	stale := true
	if c.peak != nil {
		_, err := c.peak.WriteAt([]byte("0"), 0)
		stale = err != nil
	}
	now := c.read()
	if now.stale = stale; !stale {
		now.heldBytes = now.peakBytes
	}
	return now
}

// peakSince is the peak of a command that began at before; 0 if it cannot be told.
func (now counted) peakSince(before counted) int64 {
	if before.stale && now.peakBytes <= before.peakBytes {
		return 0
	}
	return max(0, now.peakBytes-before.heldBytes)
}

// cpuCount reads "NUMBER" of version 1, or the line "usage_usec NUMBER" of version 2.
func (c *counters) cpuCount() int64 {
	text := readAtStart(c.cpu)
	if c.cpuUnit == time.Microsecond {
		return field(text, "usage_usec")
	}
	return number(text)
}

func number(text string) int64 {
	n, _ := strconv.ParseInt(strings.TrimSpace(text), 10, 64)
	return n
}

func (c *counters) close() error {
	errs := []error{closeWritables(c.folders)}
	for _, f := range []*os.File{c.oom, c.peak, c.pids, c.cpu} {
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
			return number(value)
		}
	}
	return 0
}
