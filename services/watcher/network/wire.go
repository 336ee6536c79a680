package network

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// The process is spoken to over a socket that keeps packets apart, its descriptor ControlFD. It gets
// one packet, a Reach as JSON with the device as a descriptor, and answers with an empty object, or
// with why it cannot serve. It ends when the socket is closed at the other end, however that comes.
const (
	// ControlFD is the process's end of the socket.
	ControlFD = 3
	// maxPacketBytes is room for thousands of networks.
	maxPacketBytes = 128 << 10
)

// answer is what the process says.
type answer struct {
	Failure string `json:"failure,omitempty"`
}

// Receive waits for what the process is to do. It is called by the process. The error is io.EOF
// when there will be nothing to do.
func Receive(control int) (Reach, *os.File, error) {
	packet := make([]byte, maxPacketBytes)
	rights := make([]byte, unix.CmsgSpace(4))
	n, m, flags, _, err := unix.Recvmsg(control, packet, rights, unix.MSG_CMSG_CLOEXEC)
	switch {
	case err != nil:
		return Reach{}, nil, fmt.Errorf("receive: %w", err)
	case n == 0 && m == 0:
		return Reach{}, nil, errEnded
	case flags&(unix.MSG_TRUNC|unix.MSG_CTRUNC) != 0:
		return Reach{}, nil, errors.New("what was received is too long")
	}
	messages, err := unix.ParseSocketControlMessage(rights[:m])
	if err != nil || len(messages) != 1 {
		return Reach{}, nil, errors.Join(errors.New("no device was received"), err)
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil || len(fds) != 1 {
		return Reach{}, nil, errors.Join(errors.New("no device was received"), err)
	}
	tun := os.NewFile(uintptr(fds[0]), device)
	var reach Reach
	if err := json.Unmarshal(packet[:n], &reach); err != nil {
		return Reach{}, nil, errors.Join(fmt.Errorf("read what may be reached: %w", err), tun.Close())
	}
	return reach, tun, nil
}

// errEnded: the other end is closed.
var errEnded = errors.New("the sandbox is gone")

// Answer tells the other end that the process serves, or why it does not.
func Answer(control int, failure error) error {
	var a answer
	if failure != nil {
		a.Failure = failure.Error()
	}
	packet, err := json.Marshal(a)
	if err != nil {
		return err
	}
	return unix.Send(control, packet, unix.MSG_NOSIGNAL)
}
