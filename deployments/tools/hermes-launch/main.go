// Command hermes-launch starts containers as runc does, with runc's own library, but many of them
// with one process: a container costs one exec (that of its init) instead of three.
//
// It reads requests from stdin and writes a reply to each to stdout, both JSON, one a line. Its
// containers are its children; it reaps one only when it is asked to, so that a process id that it
// has told stays that container's until then. It ends with its stdin.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"sync"

	"github.com/opencontainers/runc/libcontainer"
	"github.com/opencontainers/runc/libcontainer/exeseal"
	_ "github.com/opencontainers/runc/libcontainer/nsenter" // becomes a container's first stages before Go starts
	"golang.org/x/sys/unix"
)

// request asks for one thing: that a container is started, or that one is reaped.
type request struct {
	Seq   uint64 `json:"seq"`
	Start *start `json:"start,omitempty"`
	// Reap is the process id of a container that has ended.
	Reap int `json:"reap,omitempty"`
}

// reply has the sequence number of its request.
type reply struct {
	Seq uint64 `json:"seq"`
	PID int    `json:"pid,omitempty"`
	// Status is the wait status of what was reaped.
	Status uint32 `json:"status,omitempty"`
	Error  string `json:"error,omitempty"`
}

func init() {
	if len(os.Args) > 1 && os.Args[1] == "init" {
		libcontainer.Init() // the last stage inside a container; it does not return
	}
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "hermes-launch:", err)
		os.Exit(1)
	}
}

func run() error {
	if err := sealSelf(); err != nil {
		return fmt.Errorf("seal this program: %w", err)
	}
	s := server{out: json.NewEncoder(os.Stdout)}
	defer s.work.Wait()
	in := json.NewDecoder(bufio.NewReader(os.Stdin))
	for in.More() {
		var r request
		if err := in.Decode(&r); err != nil {
			return fmt.Errorf("read a request: %w", err)
		}
		s.work.Go(func() { s.answer(r) })
	}
	return nil
}

// sealSelf executes this program again from a sealed copy in memory. A container's first process
// is this program for a moment, and must find nothing behind /proc/self/exe that it could
// overwrite (CVE-2019-5736). Sealed once, it need not be for every container. Where memory must not
// be executed (vm.memfd_noexec=2) the copy is a file that libcontainer does not know for one: it then
// seals another for each container, and this must not try for ever.
func sealSelf() error {
	if exeseal.IsSelfExeCloned() || slices.Contains(os.Args, copied) {
		return nil
	}
	self, err := os.Open("/proc/self/exe")
	if err != nil {
		return err
	}
	info, err := self.Stat()
	if err != nil {
		return err
	}
	sealed, err := exeseal.CloneBinary(self, info.Size(), "hermes-launch", os.TempDir())
	if err != nil {
		return err
	}
	return unix.Exec(fmt.Sprintf("/proc/self/fd/%d", sealed.Fd()), append(os.Args, copied), os.Environ())
}

// copied is the argument of the copy.
const copied = "copied"

type server struct {
	work sync.WaitGroup
	mu   sync.Mutex
	out  *json.Encoder
}

func (s *server) answer(r request) {
	answer := reply{Seq: r.Seq}
	var err error
	switch {
	case r.Start != nil:
		answer.PID, err = r.Start.do()
	case r.Reap > 0:
		answer.Status, err = reap(r.Reap)
	default:
		err = fmt.Errorf("request %d asks for nothing that is known", r.Seq)
	}
	if err != nil {
		answer.Error = err.Error()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.out.Encode(answer) != nil {
		os.Exit(1) // nobody listens any more
	}
}

func reap(pid int) (uint32, error) {
	var status unix.WaitStatus
	for {
		if _, err := unix.Wait4(pid, &status, 0, nil); err != unix.EINTR {
			return uint32(status), err
		}
	}
}
