package forward

import (
	"context"
	"io"
	"net"
	"sync"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/waiter"
)

// copyBytes is how much is copied at once.
const copyBytes = 64 << 10

// acceptTCP answers one SYN, on a goroutine of its own: a connection is accepted when the real one
// is, and reset otherwise.
func (f *Forwarder) acceptTCP(r *tcp.ForwarderRequest) {
	give, ok := take(f.tcp)
	if !ok {
		r.Complete(true)
		return
	}
	defer give()
	to, err := f.destination(r.ID())
	if err != nil {
		r.Complete(true)
		return
	}
	outside, err := dial(context.Background(), "tcp", to)
	if err != nil {
		r.Complete(true)
		return
	}
	defer outside.Close()
	var queue waiter.Queue
	endpoint, failure := r.CreateEndpoint(&queue)
	if failure != nil {
		r.Complete(true)
		return
	}
	r.Complete(false)
	endpoint.SocketOptions().SetKeepAlive(true)
	relay(insideTCP{gonet.NewTCPConn(&queue, endpoint), endpoint}, outsideTCP{outside.(*net.TCPConn)})
}

// stream is one end of a connection.
type stream interface {
	io.ReadWriteCloser
	CloseWrite() error
	// abort closes it with a reset: what was said is not all there was to say.
	abort()
}

type insideTCP struct {
	*gonet.TCPConn
	endpoint tcpip.Endpoint
}

func (c insideTCP) abort() { c.endpoint.Abort() }

type outsideTCP struct{ *net.TCPConn }

func (c outsideTCP) abort() {
	_ = c.SetLinger(0)
	_ = c.Close()
}

// relay copies in both directions until both are at their end, or one of them breaks.
func relay(a, b stream) {
	var both sync.WaitGroup
	both.Go(func() { copyOne(a, b) })
	both.Go(func() { copyOne(b, a) })
	both.Wait()
	_ = a.Close()
	_ = b.Close()
}

func copyOne(to, from stream) {
	// Not io.Copy: what it takes for a shortcut allocates for each call.
	buffer := make([]byte, copyBytes)
	for {
		n, err := from.Read(buffer)
		if n > 0 {
			if _, failed := to.Write(buffer[:n]); failed != nil {
				from.abort()
				to.abort()
				return
			}
		}
		if err == io.EOF {
			_ = to.CloseWrite()
			return
		}
		if err != nil {
			from.abort()
			to.abort()
			return
		}
	}
}
