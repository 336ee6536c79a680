package natstest

import (
	"fmt"
	"hash/fnv"
	"net"
	"os"
	"runtime"
	"sync/atomic"
)

var addresses atomic.Int32

// Host is a loopback address that no other test has. On 127.0.0.1 any connection of the machine may take
// a port while the server that had it is down.
func Host() string { return hostOf(fmt.Sprint(os.Getpid(), " ", addresses.Add(1))) }

// hostOf is one for each name.
func hostOf(name string) string {
	if runtime.GOOS != "linux" {
		return "127.0.0.1" // the others have one that works without being set up
	}
	h := fnv.New32a()
	_, _ = h.Write([]byte(name))
	n := h.Sum32()
	return fmt.Sprintf("127.%d.%d.%d", 1+n>>16%250, n>>8%256, 1+n%250)
}

// Address is host:port on a Host of its own, where nobody listens.
func Address() (string, error) {
	l, err := net.Listen("tcp", net.JoinHostPort(Host(), "0"))
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}
