package containerd

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hermes-serverless/hermes/services/watcher/sandbox"
)

// The conversation with hermes-init, one packet a message, native byte order, fields as in the C
// structs request and reply. The watcher sends start (with three descriptors), signal and kill; the
// init says ready once, and for every start either failed, or started and later ended.
const (
	protocolVersion = 1

	requestStart  = 1
	requestSignal = 2
	requestKill   = 3

	replyReady   = 1
	replyStarted = 2
	replyFailed  = 3
	replyEnded   = 4

	requestBytes = 7 * 4
	replyBytes   = 4*4 + 8

	// inlineBytes of strings travel in the packet; more in a file, as packets are limited.
	inlineBytes = 64 << 10
	// stringsBytes is more than any kernel takes: its limit is 6 MiB, and usually 2.
	stringsBytes = 16 << 20
)

// Where a start failed.
const (
	atRequest = 1
	atFork    = 2
	atDir     = 3
	atFind    = 4
	atExec    = 5
)

var errInitProtocol = errors.New("hermes-init does not keep the protocol; build it again with deployments/setup.sh")

type reply struct {
	kind, seq, a, b uint32
	cpu             time.Duration
}

func decodeReply(packet []byte) (reply, error) {
	if len(packet) != replyBytes {
		return reply{}, fmt.Errorf("reply of %d bytes, want %d: %w", len(packet), replyBytes, errInitProtocol)
	}
	order := binary.NativeEndian
	return reply{
		kind: order.Uint32(packet), seq: order.Uint32(packet[4:]),
		a: order.Uint32(packet[8:]), b: order.Uint32(packet[12:]),
		cpu: time.Duration(order.Uint64(packet[16:])) * time.Microsecond,
	}, nil
}

func encodeRequest(kind, seq uint32, more ...uint32) []byte {
	packet := make([]byte, 0, requestBytes)
	for _, word := range append([]uint32{kind, seq}, more...) {
		packet = binary.NativeEndian.AppendUint32(packet, word)
	}
	return packet[:requestBytes] // what was not given is 0
}

func encodeSignal(seq uint32, signal syscall.Signal) []byte {
	return encodeRequest(requestSignal, seq, 0, 0, 0, 0, uint32(signal))
}

// startMessage is one start request: the packet and the descriptors that go with it.
type startMessage struct {
	packet []byte
	rights []byte
	file   *os.File // the strings, when they are too many for the packet
}

// encodeStart makes the message. The command's files must stay open until it is sent.
func encodeStart(seq uint32, cmd sandbox.Command) (startMessage, error) {
	text := stringsOf(cmd)
	if len(text) > stringsBytes {
		return startMessage{}, fmt.Errorf("%w: arguments and environment take %d bytes: %w", sandbox.ErrNotExecutable, len(text), syscall.E2BIG)
	}
	// Fd makes the description blocking, as the command expects its standard files to be.
	fds := []int{int(cmd.Stdin.Fd()), int(cmd.Stdout.Fd()), int(cmd.Stderr.Fd())}
	message := startMessage{}
	inFile := uint32(0)
	if len(text) > inlineBytes {
		file, err := memoryFile(text)
		if err != nil {
			return startMessage{}, err
		}
		message.file, inFile = file, 1
		fds = append(fds, int(file.Fd()))
	}
	message.packet = encodeRequest(requestStart, seq, uint32(len(cmd.Args)), uint32(len(cmd.Env)), uint32(len(text)), inFile)
	if inFile == 0 {
		message.packet = append(message.packet, text...)
	}
	message.rights = syscall.UnixRights(fds...)
	runtime.KeepAlive(cmd)
	return message, nil
}

func (m startMessage) close() {
	if m.file != nil {
		_ = m.file.Close()
	}
}

// stringsOf is the search path, the arguments and the environment, each with a NUL behind it.
func stringsOf(cmd sandbox.Command) []byte {
	var text strings.Builder
	for _, list := range [][]string{{cmd.Path()}, cmd.Args, cmd.Env} {
		for _, s := range list {
			text.WriteString(s)
			text.WriteByte(0)
		}
	}
	return []byte(text.String())
}

func memoryFile(content []byte) (*os.File, error) {
	fd, err := unix.MemfdCreate("hermes-start", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("make a file for the command's arguments: %w", err)
	}
	file := os.NewFile(uintptr(fd), "hermes-start")
	if _, err := file.Write(content); err != nil {
		return nil, errors.Join(fmt.Errorf("write the command's arguments: %w", err), file.Close())
	}
	return file, nil
}

// startError is what a failed start means.
func startError(where, code uint32) error {
	errno := syscall.Errno(code)
	switch where {
	case atFind:
		return fmt.Errorf("%w: %w", sandbox.ErrNotFound, errno)
	case atExec:
		return fmt.Errorf("%w: %w", sandbox.ErrNotExecutable, errno)
	case atDir:
		return fmt.Errorf("enter %s: %w", sandbox.FunctionDir, errno)
	case atFork:
		return fmt.Errorf("%w: fork: %w", sandbox.ErrUnavailable, errno)
	case atRequest:
		if errno == syscall.EBUSY {
			return sandbox.ErrBusy
		}
		return fmt.Errorf("%w: prepare the start: %w", sandbox.ErrUnavailable, errno)
	}
	return fmt.Errorf("start failed at %d with %w: %w", where, errno, errInitProtocol)
}
