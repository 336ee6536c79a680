package network

import (
	"errors"
	"fmt"
	"net/netip"
)

// ErrRefused: the sandbox may not reach this address.
var ErrRefused = errors.New("this address is out of a function's reach")

// Reach says what a sandbox with a network may reach. An address of the machine itself is out of
// reach whatever it says, unless Self is set.
type Reach struct {
	// Refuse are networks that are out of reach, Allow parts of them that are not after all.
	Refuse []netip.Prefix `json:"refuse"`
	Allow  []netip.Prefix `json:"allow,omitempty"`
	// Resolvers are the machine's DNS servers. Port 53 of each of Nameservers is one of them,
	// wherever it is, and nothing else is.
	Resolvers []netip.Addr `json:"resolvers,omitempty"`
	// Self lets the machine's own addresses be reached. Only tests set it, to see that what they
	// attack is there.
	Self bool `json:"self,omitempty"`
}

// Refused are the networks that no function reaches unless the operator allows it: the machine's
// loopback, private and link-local networks, the clouds' metadata, and what is no single machine's.
// Of IPv6 all that is not global is refused, and what carries IPv4 addresses.
func Refused() []netip.Prefix {
	var list []netip.Prefix
	for _, text := range []string{
		"0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8",
		"168.63.129.16/32", // Azure's WireServer; the other clouds' are link-local
		"169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24", "192.0.2.0/24", "192.168.0.0/16", "198.18.0.0/15",
		"224.0.0.0/4", "240.0.0.0/4",
		"::/3", "2001::/32", "2002::/16", "4000::/2", "8000::/1",
	} {
		list = append(list, netip.MustParsePrefix(text))
	}
	return list
}

// Check refuses an address by its network. An IPv4 address in IPv6's clothes is that IPv4 address.
func (r Reach) Check(addr netip.Addr) error {
	addr = addr.Unmap()
	if !addr.IsValid() || addr.Zone() != "" {
		return fmt.Errorf("%s: %w", addr, ErrRefused)
	}
	if !contains(r.Allow, addr) && contains(r.Refuse, addr) {
		return fmt.Errorf("%s: %w", addr, ErrRefused)
	}
	return nil
}

func contains(networks []netip.Prefix, addr netip.Addr) bool {
	for _, network := range networks {
		if network.Contains(addr) {
			return true
		}
	}
	return false
}

// Nameservers are where a sandbox asks its questions: as many as a resolver of C libraries knows.
func Nameservers() []netip.Addr {
	first := netip.AddrFrom4([4]byte{192, 0, 2, 53})
	return []netip.Addr{first, first.Next(), first.Next().Next()}
}

// Resolver is the DNS server that a sandbox means by an address and a port; ok is false when it
// means none. Then the address is as good as any other.
func (r Reach) Resolver(to netip.AddrPort) (resolver netip.AddrPort, ok bool) {
	if to.Port() != 53 || len(r.Resolvers) == 0 {
		return netip.AddrPort{}, false
	}
	for i, nameserver := range Nameservers() {
		if nameserver == to.Addr() {
			return netip.AddrPortFrom(r.Resolvers[i%len(r.Resolvers)], 53), true
		}
	}
	return netip.AddrPort{}, false
}

// ParseAllowed reads what the operator allows in spite of Refused: networks, or single addresses.
func ParseAllowed(texts []string) ([]netip.Prefix, error) {
	var list []netip.Prefix
	for _, text := range texts {
		prefix, err := netip.ParsePrefix(text)
		if addr, failed := netip.ParseAddr(text); failed == nil && addr.Zone() == "" {
			prefix, err = netip.PrefixFrom(addr, addr.BitLen()), nil
		}
		if err != nil || prefix != prefix.Masked() || prefix.Addr().Is4In6() {
			return nil, fmt.Errorf("%q is no network such as 10.1.0.0/16 and no address such as 10.1.2.3", text)
		}
		list = append(list, prefix)
	}
	return list, nil
}
