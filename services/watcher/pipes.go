package watcher

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// pipeBytes is the capacity asked for of an output pipe, so that a function seldom waits for its reader.
const pipeBytes = 1 << 20

// newPipe returns a pipe whose read end can be waited for with a deadline and whose write end is a
// plain blocking descriptor: os.Pipe's would be non-blocking for the command too.
func newPipe() (r, w *os.File, err error) {
	fds, err := halfBlocking(0)
	if err != nil {
		return nil, nil, err
	}
	// Refused where the user's pipes have used up their share of memory: then it stays small.
	_, _ = unix.FcntlInt(uintptr(fds[1]), unix.F_SETPIPE_SZ, pipeBytes)
	return os.NewFile(uintptr(fds[0]), "output"), os.NewFile(uintptr(fds[1]), "output"), nil
}

// newInputPipe is the other way round: its read end is a plain blocking descriptor, for the command.
func newInputPipe() (r, w *os.File, err error) {
	fds, err := halfBlocking(1)
	if err != nil {
		return nil, nil, err
	}
	return os.NewFile(uintptr(fds[0]), "input"), os.NewFile(uintptr(fds[1]), "input"), nil
}

// halfBlocking makes a pipe of which this end, 0 or 1, does not block.
func halfBlocking(end int) (fds [2]int, err error) {
	if err := unix.Pipe2(fds[:], unix.O_CLOEXEC); err != nil {
		return fds, fmt.Errorf("make a pipe: %w", err)
	}
	if err := unix.SetNonblock(fds[end], true); err != nil {
		return fds, errors.Join(err, unix.Close(fds[0]), unix.Close(fds[1]))
	}
	return fds, nil
}

// outputPipes are the pipes of stdout and stderr.
type outputPipes struct{ outR, outW, errR, errW *os.File }

func newOutputPipes() (*outputPipes, error) {
	var p outputPipes
	var err error
	if p.outR, p.outW, err = newPipe(); err != nil {
		return nil, err
	}
	if p.errR, p.errW, err = newPipe(); err != nil {
		return nil, errors.Join(err, p.outR.Close(), p.outW.Close())
	}
	return &p, nil
}

func (p *outputPipes) closeWriters() {
	_ = p.outW.Close()
	_ = p.errW.Close()
}

// fullPipe returns the read end of a pipe that holds data and has no writer. The data must fit
// into the kernel's buffer of at least a page.
func fullPipe(data []byte) (*os.File, error) {
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_CLOEXEC); err != nil {
		return nil, fmt.Errorf("make a pipe: %w", err)
	}
	r, w := os.NewFile(uintptr(fds[0]), "input"), os.NewFile(uintptr(fds[1]), "input")
	_, err := w.Write(data)
	if err := errors.Join(err, w.Close()); err != nil {
		return nil, errors.Join(err, r.Close())
	}
	return r, nil
}
