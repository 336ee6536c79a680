// Package forward is the process between a sandbox and the network: it takes the packets of one TUN
// device and opens a socket of the host for each TCP connection and each UDP conversation in them
// that network.Reach allows. Whatever else is in them ends here.
//
// The TCP/IP that a sandbox's packets are read with is gVisor's, written for hostile ones and in a
// language in which a mistake is no way out.
package forward

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/link/fdbased"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv6"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"

	"github.com/hermes-serverless/hermes/services/watcher/network"
)

const (
	// maxTCP and maxUDP bound a sandbox's connections: the machine has as few ports and files for
	// all as for one.
	maxTCP = 512
	maxUDP = 128
	// dialTimeout is when a host that does not answer is given up.
	dialTimeout = 30 * time.Second
	// bufferBytes bound what one connection holds in one direction.
	defaultBufferBytes = 256 << 10
	maxBufferBytes     = 2 << 20

	nic = 1
)

// Forwarder serves one device.
type Forwarder struct {
	reach network.Reach
	stack *stack.Stack
	// isSelf reports whether an address is one of the machine's own.
	isSelf   func(netip.Addr) (bool, error)
	tcp, udp chan struct{} // a place for each connection
}

// Start serves a device until the process ends. The device stays open.
func Start(tun *os.File, reach network.Reach) (*Forwarder, error) {
	routes, err := openRoutes()
	if err != nil {
		return nil, err
	}
	f := &Forwarder{
		reach: reach, isSelf: routes.isSelf,
		tcp: make(chan struct{}, maxTCP), udp: make(chan struct{}, maxUDP),
		stack: stack.New(stack.Options{
			NetworkProtocols:   []stack.NetworkProtocolFactory{ipv4.NewProtocol, ipv6.NewProtocol},
			TransportProtocols: []stack.TransportProtocolFactory{tcp.NewProtocol, udp.NewProtocol},
		}),
	}
	if err := f.tune(); err != nil {
		return nil, err
	}
	f.stack.SetTransportProtocolHandler(tcp.ProtocolNumber, tcp.NewForwarder(f.stack, 0, maxTCP, f.acceptTCP).HandlePacket)
	f.stack.SetTransportProtocolHandler(udp.ProtocolNumber, udp.NewForwarder(f.stack, f.acceptUDP).HandlePacket)
	return f, f.attach(tun)
}

func (f *Forwarder) tune() error {
	sack := tcpip.TCPSACKEnabled(true)
	receive := tcpip.TCPReceiveBufferSizeRangeOption{Min: 4 << 10, Default: defaultBufferBytes, Max: maxBufferBytes}
	send := tcpip.TCPSendBufferSizeRangeOption{Min: 4 << 10, Default: defaultBufferBytes, Max: maxBufferBytes}
	for _, option := range []tcpip.SettableTransportProtocolOption{&sack, &receive, &send} {
		if err := f.stack.SetTransportProtocolOption(tcp.ProtocolNumber, option); err != nil {
			return fmt.Errorf("set %T: %s", option, err)
		}
	}
	return nil
}

// attach makes the stack every address there is, at the other end of the device.
func (f *Forwarder) attach(tun *os.File) error {
	link, err := fdbased.New(&fdbased.Options{
		FDs: []int{int(tun.Fd())}, MTU: network.MTU,
		RXChecksumOffload: true, // the other end is a kernel, which has just computed them
	})
	if err != nil {
		return fmt.Errorf("open the device: %w", err)
	}
	if err := f.stack.CreateNIC(nic, link); err != nil {
		return fmt.Errorf("attach the device: %s", err)
	}
	if err := f.stack.SetPromiscuousMode(nic, true); err != nil {
		return fmt.Errorf("take all packets: %s", err)
	}
	if err := f.stack.SetSpoofing(nic, true); err != nil {
		return fmt.Errorf("answer from all addresses: %s", err)
	}
	f.stack.SetRouteTable([]tcpip.Route{
		{Destination: header.IPv4EmptySubnet, NIC: nic}, {Destination: header.IPv6EmptySubnet, NIC: nic},
	})
	return nil
}

// destination is where a connection really goes to, or why it goes nowhere.
func (f *Forwarder) destination(id stack.TransportEndpointID) (netip.AddrPort, error) {
	addr, ok := netip.AddrFromSlice(id.LocalAddress.AsSlice())
	if !ok {
		return netip.AddrPort{}, fmt.Errorf("%s is no address: %w", id.LocalAddress, network.ErrRefused)
	}
	to := netip.AddrPortFrom(addr.Unmap(), id.LocalPort)
	if resolver, ok := f.reach.Resolver(to); ok {
		return resolver, nil
	}
	if err := f.reach.Check(to.Addr()); err != nil {
		return to, err
	}
	if f.reach.Self {
		return to, nil
	}
	// Asked for each connection: a machine's addresses come and go.
	self, err := f.isSelf(to.Addr())
	if err == nil && self {
		err = fmt.Errorf("%s is the machine's own: %w", to.Addr(), network.ErrRefused)
	}
	return to, err
}

func dial(ctx context.Context, kind string, to netip.AddrPort) (net.Conn, error) {
	dialer := net.Dialer{Timeout: dialTimeout}
	return dialer.DialContext(ctx, kind, to.String())
}

// take takes one of the places; ok is false when there is none.
func take(places chan struct{}) (give func(), ok bool) {
	select {
	case places <- struct{}{}:
		return func() { <-places }, true
	default:
		return nil, false
	}
}
