// Package network gives a sandbox a way out: connections that it opens to the outside, and nothing
// that comes in.
//
// The sandbox's network namespace gets one TUN device. What the sandbox sends is read from it by a
// process of its own, hermes-network (package forward), which ends TCP and UDP there and opens a
// socket of the host for each connection that Reach allows. So what can be reached is decided outside
// the sandbox, for each connection anew, by code that holds no privilege: the process runs under a
// host user that nothing else runs under, in namespaces and a cgroup of its own, in an empty folder.
package network

import (
	"bufio"
	"io"
	"net/netip"
	"strings"
)

// The sandbox's side. All of it is of networks that are documentation (RFC 5737) or nobody's (RFC
// 4193), so that it hides nothing that is somewhere.
const (
	device  = "tun0"
	address = "192.0.2.2/32"
	// address6 is in a network of the fixed random number that RFC 4193 asks for.
	address6 = "fd68:6572:6d65::2/128"
	// MTU is the largest packet between the sandbox and its process: each costs two copies and
	// two calls of the kernel, however large it is.
	MTU = 65520
)

// ResolvConf is a sandbox's /etc/resolv.conf.
func ResolvConf() string {
	var text strings.Builder
	for _, nameserver := range Nameservers() {
		text.WriteString("nameserver " + nameserver.String() + "\n")
	}
	return text.String()
}

// ReadResolvers reads the DNS servers out of a resolv.conf.
func ReadResolvers(conf io.Reader) ([]netip.Addr, error) {
	var list []netip.Addr
	lines := bufio.NewScanner(conf)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) < 2 || fields[0] != "nameserver" {
			continue
		}
		if addr, err := netip.ParseAddr(fields[1]); err == nil {
			list = append(list, addr)
		}
	}
	return list, lines.Err()
}
