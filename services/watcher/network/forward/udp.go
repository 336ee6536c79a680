package forward

import (
	"context"
	"net"
	"sync"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"
	"gvisor.dev/gvisor/pkg/waiter"
)

const (
	// udpIdle ends a conversation in which nothing is said any more.
	udpIdle = 60 * time.Second
	// maxDatagram is the largest that there is.
	maxDatagram = 64 << 10
)

// acceptUDP begins a conversation with its first datagram. False has the sender told that nobody
// listens there. The socket is connected: nobody but who was spoken to can answer.
func (f *Forwarder) acceptUDP(r *udp.ForwarderRequest) (handled bool) {
	to, err := f.destination(r.ID())
	if err != nil {
		return false
	}
	give, ok := take(f.udp)
	if !ok {
		return true // lost, as datagrams are
	}
	var queue waiter.Queue
	endpoint, failure := r.CreateEndpoint(&queue)
	if failure != nil {
		give()
		return true
	}
	inside := gonet.NewUDPConn(&queue, endpoint)
	go func() {
		defer give()
		defer inside.Close()
		outside, err := dial(context.Background(), "udp", to)
		if err != nil {
			return
		}
		defer outside.Close()
		converse(inside, outside)
	}()
	return true
}

// converse hands datagrams on in both directions until neither has come for a while.
func converse(a, b net.Conn) {
	var both sync.WaitGroup
	extend := func() {
		until := time.Now().Add(udpIdle)
		_ = a.SetReadDeadline(until)
		_ = b.SetReadDeadline(until)
	}
	extend()
	one := func(to, from net.Conn) {
		buffer := make([]byte, maxDatagram)
		for {
			n, err := from.Read(buffer)
			if err != nil {
				break
			}
			extend()
			_, _ = to.Write(buffer[:n]) // one that cannot be sent is lost, as datagrams are
		}
		_ = a.Close()
		_ = b.Close()
	}
	both.Go(func() { one(a, b) })
	both.Go(func() { one(b, a) })
	both.Wait()
}
