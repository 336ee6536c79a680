package manifest

import (
	"encoding/json"
	"fmt"
	"math"
	"time"

	"github.com/dustin/go-humanize"
)

const (
	// minMemoryBytes keeps "512" (meant as MiB) from becoming a limit under which nothing starts.
	minMemoryBytes = 6 << 20
	// minTmpBytes is a page, and keeps "256" from being taken as bytes.
	minTmpBytes    = 4 << 10
	minOutputBytes = 1 << 10
	// The largest values that this file can say; what an instance allows is less.
	maxSizeBytes = 1 << 50
	maxCPUs      = 100_000
	maxPIDs      = 1 << 22 // as the kernel has it
	maxTimeout   = 10 * 365 * 24 * time.Hour
)

func readTimeout(m *Manifest, raw json.RawMessage) error {
	timeout, err := readDuration(raw)
	if err != nil {
		return err
	}
	if timeout < time.Millisecond || timeout > maxTimeout {
		return fmt.Errorf("%s must be from 1ms to %s", raw, maxTimeout)
	}
	m.Config.Limits.TimeoutMillis = timeout.Milliseconds()
	return nil
}

// readDuration reads a time, written with units or in seconds as a number, of any size.
func readDuration(raw json.RawMessage) (time.Duration, error) {
	switch kindOf(raw) {
	case "a string":
		s, err := text(raw)
		if err != nil {
			return 0, err
		}
		d, err := time.ParseDuration(s)
		if err != nil {
			return 0, fmt.Errorf(`%q must be a duration, like "10m" or "1h30m"`, s)
		}
		return d, nil
	case "a number":
		seconds, err := number(raw)
		if err != nil {
			return 0, err
		}
		return time.Duration(min(seconds, 2*maxTimeout.Seconds()) * float64(time.Second)), nil
	}
	return 0, fmt.Errorf(`must be a duration like "10m", or seconds as a number; is %s`, kindOf(raw))
}

func readMemory(m *Manifest, raw json.RawMessage) (err error) {
	m.Config.Limits.MemoryBytes, err = readSize(raw, minMemoryBytes)
	return err
}

func readTmp(m *Manifest, raw json.RawMessage) (err error) {
	m.Config.Limits.TmpBytes, err = readSize(raw, minTmpBytes)
	return err
}

func readOutput(m *Manifest, raw json.RawMessage) (err error) {
	m.Config.Limits.OutputBytes, err = readSize(raw, minOutputBytes)
	return err
}

func readResults(m *Manifest, raw json.RawMessage) (err error) {
	m.Config.Limits.ResultsBytes, err = readSize(raw, minTmpBytes)
	return err
}

// readSize reads whole bytes, written with a unit or as a number.
func readSize(raw json.RawMessage, least uint64) (int64, error) {
	var size float64
	switch kindOf(raw) {
	case "a string":
		s, err := text(raw)
		if err != nil {
			return 0, err
		}
		parsed, err := humanize.ParseBytes(s)
		if err != nil {
			return 0, fmt.Errorf(`%q must be a size, like "512MiB" or "2GiB"`, s)
		}
		size = float64(parsed)
	case "a number":
		var err error
		if size, err = number(raw); err != nil {
			return 0, err
		}
	default:
		return 0, fmt.Errorf(`must be a size like "512MiB", or bytes as a number; is %s`, kindOf(raw))
	}
	if size < float64(least) || size > maxSizeBytes || size != math.Trunc(size) {
		return 0, fmt.Errorf("%s must be whole bytes from %s to %s", raw, humanize.IBytes(least), humanize.IBytes(maxSizeBytes))
	}
	return int64(size), nil
}

func readCPUs(m *Manifest, raw json.RawMessage) error {
	if kindOf(raw) != "a number" {
		return fmt.Errorf("must be a number, like 2 or 0.5; is %s", kindOf(raw))
	}
	cpus, err := number(raw)
	if err != nil {
		return err
	}
	if cpus < 0.01 || cpus > maxCPUs {
		return fmt.Errorf("%s must be from 0.01 to %d", raw, maxCPUs)
	}
	m.Config.Limits.CPUMillis = int64(math.Round(cpus * 1000))
	return nil
}

func readPIDs(m *Manifest, raw json.RawMessage) error {
	if kindOf(raw) != "a number" {
		return fmt.Errorf("must be a number, like 256; is %s", kindOf(raw))
	}
	pids, err := number(raw)
	if err != nil {
		return err
	}
	if pids < 1 || pids > maxPIDs || pids != math.Trunc(pids) {
		return fmt.Errorf("%s must be a whole number from 1 to %d", raw, maxPIDs)
	}
	m.Config.Limits.PIDs = int64(pids)
	return nil
}

func number(raw json.RawMessage) (float64, error) {
	var f float64
	if err := json.Unmarshal(raw, &f); err != nil {
		return 0, fmt.Errorf("%s is not a number that can be used", raw)
	}
	return f, nil
}
