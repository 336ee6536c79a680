package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"
)

// lineMillis is the time between two lines: long enough for each to travel alone.
const lineMillis = 50

// lines is how long printed lines took to the client.
type lines struct {
	Way string `json:"way"`
	quantiles
}

// followLines has the probe print the time, and compares it with the time when the client reads
// it. Both are of the same machine's clock.
func (b *bench) followLines(ctx context.Context, in *instance, ssh *sshServer) error {
	input := fmt.Sprintf("lines %d %d\n", b.options.lines, lineMillis)
	ways := map[string]*exec.Cmd{commandName: in.command(ctx, input)}
	if ssh != nil {
		ways[sshKeptName] = ssh.command(ctx, strings.NewReader(input), b.program)
	}
	var errs []error
	for name, cmd := range ways {
		var delays []time.Duration
		_, err := b.read(cmd, func(r io.Reader, _ time.Time) error {
			for scan := bufio.NewScanner(r); scan.Scan(); {
				now := time.Now()
				nanos, err := strconv.ParseInt(scan.Text(), 10, 64)
				if err != nil {
					return fmt.Errorf("the line %q is no time", scan.Text())
				}
				delays = append(delays, now.Sub(time.Unix(0, nanos)))
			}
			return nil
		})
		if err == nil && len(delays) != b.options.lines {
			err = fmt.Errorf("%d of %d lines arrived", len(delays), b.options.lines)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", name, err))
			continue
		}
		b.report.Lines = append(b.report.Lines, lines{name, newQuantiles(delays)})
	}
	return errors.Join(errs...)
}

// bulk is how fast much output reaches a file of the client.
type bulk struct {
	Way   string `json:"way"`
	Bytes int64  `json:"bytes"`
	// Seconds is from the first byte to the last, the median of bulkRounds.
	Seconds float64 `json:"seconds"`
}

const bulkRounds = 3

// bulkOutput compares much output of a run with `cat` of as much over ssh.
func (b *bench) bulkOutput(ctx context.Context, in *instance, ssh *sshServer) error {
	if ssh == nil {
		return errors.New("there is no ssh to compare with")
	}
	size, content := b.bulk, b.path("content")
	if err := writeBytes(content, size); err != nil {
		return err
	}
	defer os.Remove(content)
	took := map[string][]time.Duration{}
	for range bulkRounds {
		for name, cmd := range map[string]*exec.Cmd{
			commandName: in.command(ctx, fmt.Sprintf("bytes %d\n", size)),
			sshKeptName: ssh.command(ctx, nil, "cat", content),
		} {
			d, err := b.toFile(cmd, size)
			if err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			took[name] = append(took[name], d)
			time.Sleep(hermesSettle)
		}
	}
	for name, durations := range took {
		b.report.Bulk = append(b.report.Bulk, bulk{name, size, quantile(sorted(durations), 0.5).Seconds()})
	}
	return nil
}

// toFile copies a command's stdout into a file and returns the time from the first byte to the last.
func (b *bench) toFile(cmd *exec.Cmd, size int64) (time.Duration, error) {
	file, err := os.Create(b.path("received"))
	if err != nil {
		return 0, err
	}
	defer func() { _ = file.Close(); _ = os.Remove(file.Name()) }()
	var took time.Duration
	_, err = b.read(cmd, func(r io.Reader, _ time.Time) error {
		var one [1]byte
		if _, err := io.ReadFull(r, one[:]); err != nil {
			return err
		}
		start := time.Now()
		if _, err := file.Write(one[:]); err != nil {
			return err
		}
		n, err := io.Copy(file, r)
		took = time.Since(start)
		if err == nil && n+1 != size {
			err = fmt.Errorf("%d of %d bytes arrived", n+1, size)
		}
		return err
	})
	return took, err
}

func writeBytes(path string, size int64) error {
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	_, err = io.CopyN(file, xs{}, size)
	return errors.Join(err, file.Close())
}

// xs is what the probe prints.
type xs struct{}

func (xs) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = 'x'
	}
	return len(p), nil
}
