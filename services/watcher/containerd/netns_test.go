package containerd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// The tests of the network play in a network namespace of their own, which is the machine to them:
//
//	sandbox ── hermes-network ── machine ── veth ── outside
//
// so that they can have any address they like, and the real machine's network stays as it is.

// insideEnv is set in the process that has the namespace.
const insideEnv = "HERMES_TEST_NETNS"

// The addresses of the two ends of the veth, and a port on which everything listens.
const (
	machine4, machine6 = "203.0.113.1", "2001:db8:113::1"
	outside4, outside6 = "203.0.113.2", "2001:db8:113::2"
	port               = "7777"
)

// alone runs a test or benchmark of this binary again, in a new network namespace. The caller goes
// on, with true, when this is the process that has it.
func alone(t testing.TB, args ...string) bool {
	t.Helper()
	if os.Getenv(insideEnv) != "" {
		return true
	}
	libexec := needContainers(t)
	if libexec.Network == "" {
		if os.Getenv(requiredEnv) != "" {
			t.Fatalf("%s is missing: run deployments/build.sh", NetworkName)
		}
		t.Skipf("%s is missing", NetworkName)
	}
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe", append([]string{"-test.v", "-test.timeout=9m"}, args...)...)
	cmd.Env = append(os.Environ(), insideEnv+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	out, err := cmd.CombinedOutput()
	fmt.Printf("in a network namespace:\n%s", out) // not Log, which shows ten lines of a benchmark
	if err != nil {
		t.Error(err)
	}
	return false
}

// outsideWorld is what lies beyond the machine.
type outsideWorld struct {
	t  testing.TB
	do chan func()
}

// newOutside connects the machine to another, which has all of these addresses beside its own.
func newOutside(t testing.TB, addresses ...string) *outsideWorld {
	t.Helper()
	o := &outsideWorld{t: t, do: make(chan func())}
	namespace := make(chan int)
	go func() {
		runtime.LockOSThread()
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			panic(err)
		}
		fd, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			panic(err)
		}
		namespace <- fd
		for f := range o.do {
			f()
		}
	}()
	t.Cleanup(func() { close(o.do) })
	fd := <-namespace
	defer unix.Close(fd)
	check(t, up("lo"))
	check(t, netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "out0"}, PeerName: "out1", PeerNamespace: netlink.NsFd(fd)}))
	t.Cleanup(func() { check(t, remove("out0")) })
	check(t, configure("out0", machine4+"/24", machine6+"/64"))
	o.in(func() error { return errors.Join(up("lo"), configure("out1", outside4+"/24", outside6+"/64")) })
	for _, a := range addresses {
		o.in(func() error { return addAddress("out1", hostPrefix(a)) })
		check(t, addRouteTo(hostPrefix(a), "out0"))
	}
	return o
}

// in runs f in the outside's namespace.
func (o *outsideWorld) in(f func() error) {
	o.t.Helper()
	done := make(chan error)
	o.do <- func() { done <- f() }
	check(o.t, <-done)
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func up(name string) error {
	link, err := netlink.LinkByName(name)
	if err != nil {
		return err
	}
	return netlink.LinkSetUp(link)
}

func remove(name string) error {
	link, err := netlink.LinkByName(name)
	if err != nil {
		return err
	}
	return netlink.LinkDel(link)
}

func configure(name string, addresses ...string) error {
	for _, a := range addresses {
		if err := addAddress(name, netip.MustParsePrefix(a)); err != nil {
			return err
		}
	}
	return up(name)
}

func addAddress(name string, prefix netip.Prefix) error {
	link, err := netlink.LinkByName(name)
	if err != nil {
		return err
	}
	addr, err := netlink.ParseAddr(prefix.String())
	if err != nil {
		return err
	}
	if prefix.Addr().Is6() {
		addr.Flags = unix.IFA_F_NODAD
	}
	return netlink.AddrAdd(link, addr)
}

func addRouteTo(prefix netip.Prefix, name string) error {
	link, err := netlink.LinkByName(name)
	if err != nil {
		return err
	}
	to := &net.IPNet{IP: prefix.Addr().AsSlice(), Mask: net.CIDRMask(prefix.Bits(), prefix.Addr().BitLen())}
	route := &netlink.Route{LinkIndex: link.Attrs().Index, Dst: to, Scope: netlink.SCOPE_LINK}
	if prefix.Addr().Is6() {
		route.Scope = netlink.SCOPE_UNIVERSE
	}
	return netlink.RouteAdd(route)
}

func hostPrefix(address string) netip.Prefix {
	addr := netip.MustParseAddr(address)
	return netip.PrefixFrom(addr, addr.BitLen())
}

// answerText is what every server of the tests says.
const answerText = "here I am\n"

// serveAll answers every TCP connection in the calling thread's namespace, and every datagram to one
// of the addresses: who comes over UDP hears of somebody else first.
func serveAll(t testing.TB, addresses ...string) error {
	listener, err := net.Listen("tcp", ":"+port)
	if err != nil {
		return err
	}
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				_, _ = conn.Write([]byte(answerText))
				_, _ = io.Copy(conn, conn)
			}()
		}
	}()
	for _, address := range addresses {
		if err := serveDatagrams(t, address); err != nil {
			return err
		}
	}
	return nil
}

func serveDatagrams(t testing.TB, address string) error {
	packets, err := net.ListenPacket("udp", net.JoinHostPort(address, port))
	if err != nil {
		return err
	}
	intruder, err := net.ListenPacket("udp", net.JoinHostPort(address, "0"))
	if err != nil {
		return errors.Join(err, packets.Close())
	}
	t.Cleanup(func() { _ = errors.Join(packets.Close(), intruder.Close()) })
	go func() {
		buffer := make([]byte, 65536)
		for {
			_, from, err := packets.ReadFrom(buffer)
			if err != nil {
				return
			}
			_, _ = intruder.WriteTo([]byte("intruder\n"), from)
			_, _ = packets.WriteTo([]byte(answerText), from)
		}
	}()
	return nil
}

// serveNames is a DNS server that knows one answer to every question: the address outside.
func serveNames(t testing.TB, address string) {
	t.Helper()
	packets, err := net.ListenPacket("udp", address)
	check(t, err)
	t.Cleanup(func() { _ = packets.Close() })
	go func() {
		buffer := make([]byte, 512)
		for {
			n, from, err := packets.ReadFrom(buffer)
			if err != nil {
				return
			}
			_, _ = packets.WriteTo(namesAnswer(buffer[:n]), from)
		}
	}()
}

// namesAnswer turns a question into its answer: A is outside4, everything else is nothing.
func namesAnswer(question []byte) []byte {
	end := 12
	for end < len(question) && question[end] != 0 {
		end += int(question[end]) + 1
	}
	if end+5 > len(question) {
		return nil
	}
	answer := append([]byte{}, question[:end+5]...)
	answer[2], answer[3] = 0x81, 0x80
	answer[10], answer[11] = 0, 0 // no EDNS
	if question[end+2] != 1 {
		return answer
	}
	answer[7] = 1
	ip := netip.MustParseAddr(outside4).As4()
	answer = append(answer, 0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4)
	return append(answer, ip[:]...)
}

// ---- the other side: this binary as a function ----

// probeEnv makes the test binary a function that attacks: "kind address".
const probeEnv = "HERMES_TEST_PROBE"

// runProbe prints "reached: …" or "refused: …".
func runProbe(what string) {
	kind, address, _ := strings.Cut(what, " ")
	text, err := probe(kind, address)
	if err != nil {
		fmt.Println("refused:", err)
		return
	}
	fmt.Printf("reached: %s\n", strings.TrimSpace(text))
}

func probe(kind, address string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), probeTimeout)
	defer cancel()
	network, trick, _ := strings.Cut(kind, "+")
	dialer := net.Dialer{}
	switch trick {
	case "":
	case "device":
		dialer.Control = func(_, _ string, conn syscall.RawConn) (err error) {
			failed := conn.Control(func(fd uintptr) { err = unix.BindToDevice(int(fd), "tun0") })
			return errors.Join(err, failed)
		}
	case "pktinfo":
		return probePktinfo(address)
	case "listen":
		return probeListen(ctx, address)
	case "raw":
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_TCP)
		if err == nil {
			err = unix.Close(fd)
		}
		return "a raw socket", err
	case "packet":
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW, 0)
		if err == nil {
			err = unix.Close(fd)
		}
		return "a packet socket", err
	case "ping":
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, unix.IPPROTO_ICMP)
		if err == nil {
			err = unix.Close(fd)
		}
		return "a socket for pings", err
	case "get", "put":
		took, err := load(trick)
		return took.String(), err
	case "name":
		found, err := net.DefaultResolver.LookupHost(ctx, address)
		return strings.Join(found, " "), err
	default:
		return "", errors.New("no such trick")
	}
	conn, err := dialer.DialContext(ctx, network, address)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	return converse(ctx, conn)
}

// converse says a word and returns the first that is said.
func converse(ctx context.Context, conn net.Conn) (string, error) {
	deadline, _ := ctx.Deadline()
	_ = conn.SetDeadline(deadline)
	if _, err := conn.Write([]byte("hello\n")); err != nil {
		return "", err
	}
	buffer := make([]byte, 64)
	n, err := conn.Read(buffer)
	if n > 0 {
		err = nil
	}
	return string(buffer[:n]), err
}

// probePktinfo names the interface with the datagram, past the routes.
func probePktinfo(address string) (string, error) {
	to, err := netip.ParseAddrPort(address)
	if err != nil {
		return "", err
	}
	tun, err := net.InterfaceByName("tun0")
	if err != nil {
		return "", err
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	if err != nil {
		return "", err
	}
	defer unix.Close(fd)
	info := unix.PktInfo4(&unix.Inet4Pktinfo{Ifindex: int32(tun.Index)})
	if err := unix.Sendmsg(fd, []byte("hello\n"), info, &unix.SockaddrInet4{Port: int(to.Port()), Addr: to.Addr().As4()}, 0); err != nil {
		return "", err
	}
	patience := unix.NsecToTimeval(int64(probeTimeout))
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &patience); err != nil {
		return "", err
	}
	buffer := make([]byte, 64)
	n, err := unix.Read(fd, buffer)
	return string(buffer[:max(n, 0)]), err
}

// probeListen waits for somebody to come in.
func probeListen(ctx context.Context, address string) (string, error) {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return "", err
	}
	context.AfterFunc(ctx, func() { _ = listener.Close() })
	fmt.Println("listening")
	conn, err := listener.Accept()
	if err != nil {
		return "", err
	}
	defer conn.Close()
	return converse(ctx, conn)
}

// localRoute makes a network the machine's own without giving it an address of it.
func localRoute(network string) error {
	link, err := netlink.LinkByName("lo")
	if err != nil {
		return err
	}
	_, to, err := net.ParseCIDR(network)
	if err != nil {
		return err
	}
	return netlink.RouteAdd(&netlink.Route{
		LinkIndex: link.Attrs().Index, Dst: to, Type: unix.RTN_LOCAL, Table: unix.RT_TABLE_LOCAL, Scope: netlink.SCOPE_HOST,
	})
}
